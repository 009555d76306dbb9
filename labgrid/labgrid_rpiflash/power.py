"""`labgrid-client power cycle`, for targets that nothing else switches."""

from __future__ import annotations

from typing import NoReturn

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol

from ._labgrid import check_active, step
from .driver import RPiFlashDriver
from .error import RPiFlashError


@target_factory.reg_driver
@attr.s(eq=False)
class RPiFlashPowerDriver(Driver, PowerProtocol):
    """A cycle is a reset. A driver that switches power has precedence, and this one does not pretend to be one."""

    bindings = {"flasher": "RPiFlashDriver"}  # noqa: RUF012  labgrid's own way
    priorities = {PowerProtocol: -10}  # noqa: RUF012

    flasher: RPiFlashDriver

    @check_active
    @step()
    def cycle(self) -> None:
        """Resets the target."""
        self.flasher.reset()

    def on(self) -> NoReturn:
        """Refused."""
        self._refuse("on")

    def off(self) -> NoReturn:
        """Refused."""
        self._refuse("off")

    def get(self) -> NoReturn:
        """Refused."""
        self._refuse("get")

    def _refuse(self, action: str) -> NoReturn:
        raise RPiFlashError(
            f"power {action}: rpiflash resets a target and cannot switch its power; use cycle, or a driver of the "
            "switch that it hangs on"
        )
