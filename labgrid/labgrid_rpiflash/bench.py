"""Commands on a bench server, by the ssh connection that labgrid has."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from labgrid.driver.exception import ExecutionError

from rpiflash_client import sanitized

from .error import RPiFlashError

if TYPE_CHECKING:
    from .resource import RPiFlashTarget


def bench_command(bench: RPiFlashTarget, program: str, *words: str) -> list[str]:
    """The whole command. ssh joins its words with blanks, and the shell there takes them apart: each one is quoted.

    Raises RPiFlashError where the bench server cannot be reached.
    """
    line = shlex.join([*shlex.split(program), *words])
    try:
        return [*bench.command_prefix, line]
    except (ExecutionError, OSError, subprocess.SubprocessError) as error:
        raise RPiFlashError(unreachable(bench, error)) from error


def unreachable(bench: RPiFlashTarget, error: Exception) -> str:
    """The sentence for what labgrid's ssh connection raises."""
    return f"cannot reach the bench server {sanitized(bench.host)} by ssh: {sanitized(str(error))}"


def bench_name(bench: RPiFlashTarget) -> str:
    """For messages: without the account."""
    return str(bench.host).rpartition("@")[2]


def labels(bench: RPiFlashTarget, user: str) -> list[str]:
    """Options that put the labgrid user and place into the run's record."""
    values: dict[str, Any] = {"labgrid_user": user}
    place = bench.get_managed_parent()  # type: ignore[no-untyped-call]
    if place is not None:
        values["labgrid_place"] = place.name
    # A value is 256 bytes at most; a name of a place has no limit.
    return [
        word
        for key, value in values.items()
        for word in ("--label", f"{key}={str(value).encode()[:256].decode(errors='ignore')}")
    ]
