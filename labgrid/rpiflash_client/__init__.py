"""rpiflash on another machine: start it, follow its events, judge how it ended. Knows nothing of labgrid.

The command is whatever reaches the bench server, usually ssh. rpiflash's JSON is described in docs/json.md.
"""

from .events import VERSION, Event, EventError
from .flash import Flash, FlashError, FlashResult, follow
from .text import sanitized

__all__ = [
    "VERSION",
    "Event",
    "EventError",
    "Flash",
    "FlashError",
    "FlashResult",
    "follow",
    "sanitized",
]
