"""Flashes that run on bench servers, any number of them in one loop, without threads."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .events import Event, EventError, EventReader
from .text import last_line, sanitized

CLEAN_UP_SECONDS = 60.0
"""How long rpiflash may take to end once it has to: it releases RESET and removes what it staged."""

KEPT_LOG = 1 << 16
"""Bytes of a flash's log that are kept for the sentence of an error."""

_CONNECTION_LOST = 255
_NOT_FOUND = 127


@dataclass(frozen=True)
class FlashResult:
    """A target that is proven, and up unless it was not waited for."""

    row: str
    """The target, as the flash was told."""
    run: str | None
    """The name of its run record: `rpiflash runs show NAME` on the bench server."""
    image_id: str | None
    """The SHA-256 that follows from the image's content."""
    result: Event
    """rpiflash's last word about it: bytes, written, loaded, flash_seconds, up_seconds."""
    status: int = 0
    """rpiflash's exit status: a result has 0, all others are failures."""


class FlashError(Exception):
    """A target that is not proven, or not up: one sentence."""

    def __init__(
        self, message: str, *, status: int | None = None, run: str | None = None, result: Event | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """rpiflash's exit status; None where it has none, because the connection was lost."""
        self.run = run
        self.result = result


@dataclass
class _Target:
    row: str
    names: set[str] = field(default_factory=set)
    run: str | None = None
    result: Event | None = None


class Flash:
    """One `rpiflash flash … --json --end-with-stdin` of a target or several.

    Its standard input stays open as long as this process wants the flash: where it ends, whichever way, or the
    connection does, rpiflash ends the flash and cleans up.
    """

    def __init__(self, command: Sequence[str], rows: Sequence[str], bench: str) -> None:
        """Starts it.

        command: the words of the whole command, with --json and --end-with-stdin.
        rows: the targets that it flashes, as the command names them.
        bench: the bench server's name, for messages.
        """
        self.bench = bench
        self.image_id: str | None = None
        self.summary: Event | None = None
        self.error: EventError | None = None
        self._targets = [_Target(row, {row.lower()}) for row in rows]
        self._reader = EventReader()
        self._log = b""
        self._seen = False
        self._deadline: float | None = None
        # A session of its own: Ctrl-C in this terminal comes to us, and rpiflash is ended in order.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def end(self) -> None:
        """Ends it; its outputs are still to be read until it has cleaned up."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self._deadline is None:
            self._deadline = time.monotonic() + CLEAN_UP_SECONDS

    def take_output(self, data: bytes) -> list[Event]:
        """The events in what it printed; no bytes are the end. Behind what is not an event nothing is taken."""
        if not data:
            self.end()
        if self.error is not None:
            return []
        try:
            events = self._reader.feed(data)
            if not data:
                self._reader.finish()
        except EventError as error:
            self.error = error
            self.end()
            return []
        for event in events:
            self._note(event)
        return events

    def take_log(self, data: bytes) -> None:
        """What it, or ssh, said on standard error."""
        self._log = (self._log + data)[-KEPT_LOG:]

    def _note(self, event: Event) -> None:
        self._seen = True
        kind = event["event"]
        if kind == "prepared":
            self.image_id = str(event.get("image_id"))
        elif kind == "summary":
            self.summary = event
        target = self._target(event)
        if target is None:
            return
        if kind == "target":
            target.names |= {str(event[key]).lower() for key in ("name", "mac", "ip", "target") if key in event}
        elif kind == "recording":
            target.run = str(event.get("run"))
        elif kind == "result":
            target.result = event

    def _target(self, event: Event) -> _Target | None:
        if len(self._targets) == 1:
            return self._targets[0]
        if "target" not in event:
            return None
        names = {str(event[key]).lower() for key in ("target", "name", "mac", "ip") if key in event}
        return next((target for target in self._targets if target.names & names), None)

    def remaining(self) -> float | None:
        """Seconds that it may still take to end; None where it need not."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def wait(self) -> int | None:
        """Its status, once its outputs have ended; None where it did not end in time, and was killed."""
        # Both outputs have ended, so that it has ended, or does at once.
        try:
            return self.process.wait(max(1.0, self.remaining() or 0.0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def outcomes(self) -> dict[str, FlashResult | FlashError]:
        """How each target ended, once its outputs have ended."""
        status = self.wait()
        return {target.row: self._outcome(target, status) for target in self._targets}

    def _outcome(self, target: _Target, status: int | None) -> FlashResult | FlashError:
        result = target.result
        if self.error is not None:
            return FlashError(f"{self.bench}: {self.error}", run=target.run, result=result)
        one = len(self._targets) == 1
        last = result if one else self.summary
        if status not in range(_NOT_FOUND) and status not in range(_NOT_FOUND + 1, _CONNECTION_LOST):
            return FlashError(self._broken(status), run=target.run, result=result)
        if last is None or last.get("status") != status:
            return FlashError(self._broken(status), status=status, run=target.run, result=result)
        if result is None:
            # All were refused before the first was touched.
            text = str(last.get("error", f"the flash ended with status {status}"))
            return FlashError(sanitized(text), status=status, run=target.run)
        proven = result.get("proven") is True
        if result.get("status") == 0 and proven and (status == 0 or not one):
            return FlashResult(target.row, target.run, self.image_id, result)
        text = str(result.get("error", f"status {result.get('status')}, and not proven; was it a dry run?"))
        failed = result.get("status")
        return FlashError(
            sanitized(text), status=failed if isinstance(failed, int) else None, run=target.run, result=result
        )

    def _broken(self, status: int | None) -> str:
        said = last_line(self._log)
        if status is None:
            return f"rpiflash on {self.bench} did not end within {CLEAN_UP_SECONDS:.0f} s"
        if status == _CONNECTION_LOST:
            if self._seen:
                # ssh does not tell them apart.
                return (
                    f"the connection to {self.bench} was lost, or rpiflash was killed there; the flash ends with it"
                    + (said and f" ({said})")
                )
            return f"cannot reach {self.bench}: {said or 'ssh ended with status 255'}"
        if status == _NOT_FOUND:
            return f"rpiflash was not found on {self.bench}; install its Debian package there" + (said and f" ({said})")
        if status < 0:
            return f"ssh to {self.bench} was ended by signal {-status}; the flash there ends with it"
        return f"rpiflash on {self.bench} ended with status {status} and no result" + (said and f": {said}")


def follow(
    flashes: Sequence[Flash], on_event: Callable[[Flash, Event], None] | None = None
) -> dict[Flash, dict[str, FlashResult | FlashError]]:
    """Reads until all flashes have ended; how each target of each flash ended.

    An exception, also one of on_event or a signal's, ends the flashes, waits until they have cleaned up, and goes on.
    """
    with selectors.DefaultSelector() as selector:
        for flash in flashes:
            assert flash.process.stdout is not None
            assert flash.process.stderr is not None
            selector.register(flash.process.stdout, selectors.EVENT_READ, (flash, True))
            selector.register(flash.process.stderr, selectors.EVENT_READ, (flash, False))
        try:
            _read(selector, on_event)
        except BaseException:
            for flash in flashes:
                flash.end()
            _read(selector, None)
            for flash in flashes:
                flash.wait()
            raise
        finally:
            for flash in flashes:
                flash.end()
                for stream in (flash.process.stdout, flash.process.stderr):
                    assert stream is not None
                    stream.close()
        return {flash: flash.outcomes() for flash in flashes}


def _read(selector: selectors.BaseSelector, on_event: Callable[[Flash, Event], None] | None) -> None:
    """Until every output has ended, or its flash has not done so in time after it had to."""
    while selector.get_map():
        waiting = {key.data[0] for key in selector.get_map().values()}
        limits = [limit for flash in waiting if (limit := flash.remaining()) is not None]
        for key, _ in selector.select(min(limits, default=None)):
            flash, is_output = key.data
            data = os.read(key.fd, 1 << 16)
            if not data:
                selector.unregister(key.fileobj)
            if not is_output:
                flash.take_log(data)
                continue
            for event in flash.take_output(data):
                if on_event is not None:
                    on_event(flash, event)
        for key in list(selector.get_map().values()):
            if key.data[0].remaining() == 0:
                selector.unregister(key.fileobj)
