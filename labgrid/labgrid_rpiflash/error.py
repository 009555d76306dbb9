"""What goes wrong, as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labgrid.driver.exception import ExecutionError
from labgrid.remote.client import UserError

from rpiflash_client import Event, FlashError, FlashResult

if TYPE_CHECKING:
    from labgrid import Target


class RPiFlashError(ExecutionError, UserError):
    """A target that is not proven, not up or not reset. As a UserError labgrid-client prints it, and nothing else."""

    def __init__(
        self, message: str, *, status: int | None = None, run: str | None = None, result: Event | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """rpiflash's exit status; None where it has none, because the connection was lost."""
        self.run = run
        """The name of the run's record on the bench server."""
        self.result = result
        """rpiflash's last event about the target."""

    def __str__(self) -> str:
        return str(self.msg)

    @classmethod
    def of(cls, failure: FlashError, target: str = "") -> RPiFlashError:
        """Of a flash that failed, with where to read more."""
        record = f"; its record on the bench server is {failure.run}" if failure.run else ""
        return cls(f"{target}{failure}{record}", status=failure.status, run=failure.run, result=failure.result)


class RPiFlashGroupError(RPiFlashError):
    """Some targets of flash_together failed."""

    def __init__(self, errors: dict[Target, RPiFlashError], results: dict[Target, FlashResult]) -> None:
        self.errors = errors
        self.results = results
        """The targets that are proven all the same."""
        status = max((error.status for error in errors.values() if error.status is not None), default=None)
        count = len(errors) + len(results)
        said = "; ".join(f"{target.name}: {error}" for target, error in errors.items())
        super().__init__(f"{len(errors)} of {count} targets failed: {said}", status=status)
