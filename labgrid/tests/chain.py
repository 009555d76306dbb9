"""The processes between a pytest and its target's card, found while they run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lab import Lab
from virtual import Pi

KINDS = (
    ("coordinator", "labgrid-coordinator"),
    ("exporter", "labgrid-exporter"),
    ("pytest", "--lg-env"),
    ("rsync", "rsync"),
    ("ssh's master", " -MN "),
    ("ssh", "ssh_config"),
    ("sshd", "sshd"),
    ("target", "u-boot.bin"),
    ("rpiflash", "/rpiflash flash "),
    ("reset_command", "virtual-target"),
)
"""What each process is, by a part of its command line; the first that fits."""


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115  it is no path
    except OSError:
        return ""


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def chain(lab: Lab, pi: Pi) -> dict[str, list[int]]:
    """All of them, by kind: those on the client and around the coordinator, and those in the bench's network."""
    found: dict[str, list[int]] = {}
    keeper = pi.network.process.pid
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        line = _read(pid, "cmdline")
        if _network(pid) == _network(keeper):
            # Not the wire itself: the keeper of the network, its DHCP server.
            if pid == keeper or _parent(pid) == keeper:
                continue
        elif str(lab.folder) not in line + _read(pid, "environ"):
            continue
        for kind, part in KINDS:
            if part in line:
                found.setdefault(kind, []).append(pid)
                break
    return found


def kill(pid: int, number: int) -> None:
    """Unless it has just ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
