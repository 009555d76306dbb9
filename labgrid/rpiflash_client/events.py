"""The events of `rpiflash flash --json`: one JSON object a line."""

from __future__ import annotations

import json
from typing import Any

from .text import sanitized

Event = dict[str, Any]

VERSION = 1
"""The version of the events that this client knows. Another one has changed the meaning of an event or a field."""

LONGEST_LINE = 1 << 20
"""Bytes. The longest events, with a sentence of an error, have some thousand."""


class EventError(Exception):
    """A line that is not an event, or events of another version."""


class EventReader:
    """Takes bytes as they come, gives events. New events and new fields are passed on, as docs/json.md asks for."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_started = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with these bytes.

        Raises EventError.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise EventError(f"rpiflash printed a line of more than {LONGEST_LINE} bytes; an event has fewer")
        return [self._event(line) for line in lines]

    def finish(self) -> None:
        """The output has ended.

        Raises EventError where it ended within a line.
        """
        if self._rest:
            raise EventError(f"rpiflash's output ended within a line: {_quoted(self._rest)}")

    def _event(self, line: bytes) -> Event:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise EventError(
                f"{_quoted(line)} is not an event of rpiflash; does a start-up file of the shell there print text?"
            )
        if not self._has_started:
            # Where many targets are refused at once, there is nothing but a summary; it has no version and no targets.
            if event["event"] == "start" and event.get("version") != VERSION:
                raise EventError(
                    f"rpiflash's events have version {sanitized(str(event.get('version')))}, this client knows "
                    f"{VERSION}; bring labgrid-rpiflash and the bench server's rpiflash to the same release"
                )
            if event["event"] not in ("start", "summary", "result"):
                raise EventError(f"rpiflash's first event is {_quoted(line)}; must be start")
            self._has_started = True
        return event


def _quoted(line: bytes) -> str:
    text = sanitized(line.decode(errors="replace").strip())
    return repr(text if len(text) <= 80 else text[:80] + "…")
