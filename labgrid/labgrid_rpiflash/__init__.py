"""labgrid resource, drivers and strategy for rpiflash. In an environment: imports: [labgrid_rpiflash]"""

from rpiflash_client import FlashResult

from .console import RPiFlashConsoleDriver
from .driver import RPiFlashDriver, flash_together
from .error import RPiFlashError, RPiFlashGroupError
from .power import RPiFlashPowerDriver
from .resource import RPiFlashTarget
from .strategy import RPiFlashStrategy, Status

__all__ = [
    "FlashResult",
    "RPiFlashConsoleDriver",
    "RPiFlashDriver",
    "RPiFlashError",
    "RPiFlashGroupError",
    "RPiFlashPowerDriver",
    "RPiFlashStrategy",
    "RPiFlashTarget",
    "Status",
    "flash_together",
]
