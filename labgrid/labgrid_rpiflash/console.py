"""What a target says, read only."""

from __future__ import annotations

import os
import select
import subprocess
from typing import NoReturn

import attr
from labgrid.driver import Driver
from labgrid.driver.consoleexpectmixin import ConsoleExpectMixin
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol
from pexpect import TIMEOUT

from .bench import bench_command, bench_name
from .error import RPiFlashError
from .resource import RPiFlashTarget

END_SECONDS = 10


@target_factory.reg_driver
@attr.s(eq=False)
class RPiFlashConsoleDriver(ConsoleExpectMixin, Driver, ConsoleProtocol):
    """`rpiflash console` on the bench server: a target's serial port, or U-Boot's netconsole while it is flashed.

    Lines come whole, and control characters in them as \\x1b. To type, bind a SerialDriver to a port that is not the
    row's console.

    Args:
        command (str): the program on the bench server, in words: "sudo rpiflash"
    """

    bindings = {"bench": "RPiFlashTarget"}  # noqa: RUF012  labgrid's own way
    command: str = attr.ib(default="rpiflash", validator=attr.validators.instance_of(str))
    # ConsoleExpectMixin asks for it.
    txdelay: float = attr.ib(default=0.0, init=False)

    bench: RPiFlashTarget

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()  # type: ignore[no-untyped-call]
        self._process: subprocess.Popen[bytes] | None = None

    def on_activate(self) -> None:
        words = ["console", self.bench.row, "--quiet", "--end-with-stdin"]
        self._process = subprocess.Popen(
            bench_command(self.bench, self.command, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def on_deactivate(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, size: int = 1, timeout: float = 0.0, max_size: int | None = None) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], timeout)
        if not ready:
            raise TIMEOUT(f"the console said nothing within {timeout} s")
        data = os.read(process.stdout.fileno(), max_size or max(size, 1024))
        if not data:
            status = process.wait(END_SECONDS)
            raise RPiFlashError(
                f"rpiflash console on {bench_name(self.bench)} ended with status {status}",
                status=status if status in range(127) else None,
            )
        return data

    def _write(self, data: bytes) -> NoReturn:
        raise RPiFlashError(
            f"cannot type {data!r}: rpiflash only listens to a target's console; bind a SerialDriver to type"
        )
