"""From whatever is on the card to a shell on what was flashed."""

from __future__ import annotations

import enum
from typing import Any

import attr
from labgrid.factory import target_factory
from labgrid.remote.client import UserError
from labgrid.step import Step
from labgrid.strategy import Strategy, StrategyError

from rpiflash_client import FlashResult

from ._labgrid import step as labgrid_step
from .driver import RPiFlashDriver


class Status(enum.Enum):
    """What is known of the target. There is no `off`: that needs a driver which switches power."""

    unknown = 0
    flashed = 1
    shell = 2


class RPiFlashStrategyError(StrategyError, UserError):
    """One sentence, which labgrid-client prints alone."""

    def __str__(self) -> str:
        return str(self.msg)


@target_factory.reg_driver
@attr.s(eq=False)
class RPiFlashStrategy(Strategy):
    """`flashed`: the driver's image is proven and its system up; `shell`: logged in there."""

    bindings = {"flasher": "RPiFlashDriver", "shell": "CommandProtocol"}  # noqa: RUF012  labgrid's own way
    status: Status = attr.ib(default=Status.unknown, init=False)

    flasher: RPiFlashDriver
    shell: Any

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()  # type: ignore[no-untyped-call]
        self.flashed: FlashResult | None = None
        """What the last flash gave."""

    @labgrid_step(args=["status"])
    def transition(self, status: Status | str, *, step: Step) -> None:  # type: ignore[override]  # labgrid gives step
        """Goes to a status. Where that fails, the strategy stays broken, as labgrid's own do."""
        wanted = _status(status)
        if self.broken is not None:
            raise RPiFlashStrategyError(f"an earlier transition failed: {self.broken}") from self.broken
        if wanted is Status.unknown:
            raise RPiFlashStrategyError("cannot go to the state unknown; the states are flashed and shell")
        if wanted is self.status:
            step.skip("nothing to do")
            return
        try:
            self._go(wanted)
        except Exception as error:
            self.broken = error
            raise RPiFlashStrategyError(f"cannot reach the state {wanted.name}: {error}") from error

    def _go(self, wanted: Status) -> None:
        if wanted is Status.flashed or self.status is Status.unknown:
            self.target.deactivate(self.shell)
            self.status = Status.unknown
            self.target.activate(self.flasher)
            self.flashed = self.flasher.flash()
            self.status = Status.flashed
        if wanted is Status.shell:
            self.target.activate(self.shell)
            self.status = Status.shell

    @labgrid_step(args=["status"])
    def force(self, status: Status | str) -> None:
        """Believes that the target has a status: `labgrid-client -i flashed -s shell` does not flash."""
        wanted = _status(status)
        if wanted is Status.shell:
            self.target.activate(self.shell)
        self.status = wanted


def _status(text: Status | str) -> Status:
    if isinstance(text, Status):
        return text
    try:
        return Status[text]
    except KeyError:
        names = ", ".join(status.name for status in Status)
        raise RPiFlashStrategyError(f"{text!r} is not a state; the states are {names}") from None
