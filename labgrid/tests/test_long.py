"""What takes long: a process of the chain killed at random moments, and many targets at once. Skipped without a number.

    RPIFLASH_KILLS=50 scripts/labgrid-test -- -s -k any_moment    (a minute or two each)
    RPIFLASH_MANY=16 scripts/labgrid-test -- -s -k beside_one    (QEMU has 1 GiB for each)

RPIFLASH_SEED makes the moments; by default it is the time, which is printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import Lab, within
from test_labgrid import acquired, python, said
from virtual import FLASH_SECONDS, IMAGE, VIRTUAL_TARGET, Pi, bootstrap, environment, until, virtual_lab

KILLS = int(os.environ.get("RPIFLASH_KILLS", "0"))
MANY = int(os.environ.get("RPIFLASH_MANY", "0"))


def processes(lab: Lab, *words: str) -> list[int]:
    """Those of this lab whose command line has all these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (str(lab.folder) in line or f"127.0.0.1:{lab.port}" in line) and all(word in line for word in words):
            found.append(int(folder.name))
    return found


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def virtual_target(pi: Pi, lab: Lab, *words: str) -> None:
    """In the target's network, as its bench server would."""
    command = [f"/proc/{pi.network.process.pid}/ns/net", str(VIRTUAL_TARGET), words[0], str(pi.folder), *words[1:]]
    subprocess.run(["nsenter", f"--net={command[0]}", *command[1:]], env=lab.env, check=True, timeout=300)


@pytest.mark.skipif(KILLS == 0, reason="set RPIFLASH_KILLS to the number of kills")
def test_kill_any_process_at_any_moment(tmp_path: Path) -> None:
    seed = int(os.environ.get("RPIFLASH_SEED", str(int(time.time()))))
    print(f"RPIFLASH_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311
    with virtual_lab(tmp_path, [1]) as (lab, (pi,)):
        victims: dict[str, Callable[[subprocess.Popen[str]], None]] = {
            "client": lambda client: client.kill(),
            "ssh": lambda _: kill(*processes(lab, "ssh_config", "--end-with-stdin")),
            "ssh's master": lambda _: kill(*processes(lab, "ssh_config", "-MN")),
            "sshd": lambda _: kill(int((pi.bench.folder / "sshd.pid").read_text())),
            "rpiflash": lambda _: kill(int((pi.bench.folder / "rpiflash.pid").read_text())),
            "exporter": lambda _: kill(*processes(lab, "labgrid-exporter")),
            "coordinator": lambda _: kill(*processes(lab, "labgrid-coordinator")),
            "target": lambda _: virtual_target(pi, lab, "stop"),
        }
        for number in range(KILLS):
            who = dice.choice(list(victims))
            lab.client("-p", pi.name, "acquire")
            client = bootstrap(lab, environment(lab, pi.name, options='["--full"]'))
            until(client, "asked")
            moment = dice.uniform(0, 20)
            time.sleep(moment)
            victims[who](client)
            said = client.communicate(timeout=FLASH_SECONDS)[0]
            about = f"{number + 1}: {who} killed {moment:.1f} s after it asked: status {client.returncode}\n{said}"
            print(about.splitlines()[0], flush=True)
            # No success without proof, and no end without a sentence.
            assert client.returncode != 0 or "proven=True" in said, about
            assert client.returncode in (0, -signal.SIGKILL) or "labgrid-client: " in said or "Error" in said, about
            assert within(120, lambda: pi.is_clean(lab)), about
            # What the card has boots whole, or not at all.
            virtual_target(pi, lab, "reset")
            virtual_target(pi, lab, "wait", "rpiflash: cannot boot: |rpiflash-demo: up, root is ", "--timeout", "240")
            if who in ("exporter", "coordinator"):
                lab.stop()
                lab.start()
            lab.run_client("-p", pi.name, "release")
        with acquired(lab, pi.name):
            client = bootstrap(lab, environment(lab, pi.name))
            assert "proven=True" in client.communicate(timeout=FLASH_SECONDS)[0]


@pytest.mark.skipif(MANY == 0, reason="set RPIFLASH_MANY to the number of targets, an even one")
def test_many_targets_on_two_servers_beside_one(tmp_path: Path) -> None:
    limit = FLASH_SECONDS * MANY
    with virtual_lab(tmp_path / "two", [MANY // 2, MANY // 2]) as (lab, pis):
        names = [pi.name for pi in pis]
        roles = ["main", *names[1:]]
        code = f"results = flash_together([env.get_target(role) for role in {roles}])\nsay(len(results))\n"
        with acquired(lab, *names):
            begin = time.monotonic()
            assert said(python(lab, environment(lab, *names), code, limit)) == [str(MANY)]
            together = time.monotonic() - begin
    with virtual_lab(tmp_path / "one", [MANY]) as (lab, pis):
        begin = time.monotonic()
        done = pis[0].on_bench(lab, f"rpiflash flash {IMAGE} --all --jobs {MANY} --quiet", limit)
        assert f"{MANY} of {MANY} proven" in done
        alone = time.monotonic() - begin
    print(f"{MANY} targets: {together:.0f} s on two servers by flash_together, {alone:.0f} s on one by rpiflash flash")
