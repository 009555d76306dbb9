"""What a bench server exports for each of its targets."""

from __future__ import annotations

import attr
from labgrid.factory import target_factory
from labgrid.resource.common import NetworkResource


@target_factory.reg_resource
@attr.s(eq=False)
class RPiFlashTarget(NetworkResource):
    """A row of a bench server's inventory.

    The stock exporter passes this class on as it stands in its configuration, and a client that does not know a field
    fails: it keeps these two. Everything else is asked of the bench server with `rpiflash targets --json`.

    Args:
        host (str): the bench server, as ssh takes it: bench1, flash@bench1
        row (str): the target, as the inventory names it: its name, else its MAC or IP address
    """

    row: str = attr.ib(validator=attr.validators.instance_of(str))
