"""Flashes a target, and resets it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attr
from labgrid.driver import Driver
from labgrid.driver.exception import ExecutionError
from labgrid.factory import target_factory
from labgrid.protocol import BootstrapProtocol, ResetProtocol
from labgrid.util.helper import get_user
from labgrid.util.managedfile import ManagedFile

from rpiflash_client import Event, Flash, FlashError, FlashResult, follow, sanitized
from rpiflash_client.text import last_line

from ._labgrid import check_active, step
from .bench import bench_command, bench_name, labels, unreachable
from .error import RPiFlashError, RPiFlashGroupError
from .resource import RPiFlashTarget

if TYPE_CHECKING:
    from labgrid import Target

RESET_SECONDS = 90
"""A row's reset_command has 60 s."""

_TOLD = ("reset", "asked", "proven", "waiting", "warning", "result")


@target_factory.reg_driver
@attr.s(eq=False)
class RPiFlashDriver(Driver, BootstrapProtocol, ResetProtocol):
    """Flashes a target over the network, with `rpiflash flash` on its bench server.

    Args:
        image (str): a key of the environment's images: what flash() takes where it is given no image
        options (list): more options for `rpiflash flash`: ["--customize", "/etc/rpiflash/bench.yaml"]
        command (str): the program on the bench server, in words: "sudo rpiflash"
    """

    bindings = {"bench": "RPiFlashTarget"}  # noqa: RUF012  labgrid's own way
    image: str | None = attr.ib(default=None, validator=attr.validators.optional(attr.validators.instance_of(str)))
    options: list[str] = attr.ib(
        factory=list, validator=attr.validators.deep_iterable(attr.validators.instance_of(str))
    )
    command: str = attr.ib(default="rpiflash", validator=attr.validators.instance_of(str))

    bench: RPiFlashTarget

    @check_active
    @step(args=["image", "options"], result=True)
    def flash(
        self, image: str | None = None, *options: str, on_event: Callable[[Event], None] | None = None
    ) -> FlashResult:
        """Puts an image on the target's card and waits until its system is up.

        image: its path; without one, that of the environment's images which `image` names.
        options: more options for `rpiflash flash`, behind the driver's own.
        on_event: gets every event, as rpiflash's docs/json.md describes them. What it raises ends the flash.

        Raises RPiFlashError where it is not proven, or not up in time.
        """

        def tell(_: Flash, event: Event) -> None:
            _log(self, event)
            if on_event is not None:
                on_event(event)

        flash = self._start(_copy(self._image(image), self.bench), [self.bench.row], options)
        outcome = _follow([flash], tell)[flash][self.bench.row]
        if isinstance(outcome, FlashError):
            raise RPiFlashError.of(outcome)
        return outcome

    @check_active
    @step(args=["image"], result=True)
    def verify(self, image: str | None = None) -> FlashResult:
        """Resets the target and proves that its card has this image, without writing.

        Raises RPiFlashError where the card differs.
        """
        result: FlashResult = self.flash(image, "--verify-only")
        return result

    @check_active
    @step(args=["filename"])
    def load(self, filename: str | None = None) -> None:
        """BootstrapProtocol: `labgrid-client bootstrap IMAGE`."""
        self.flash(filename)

    @check_active
    @step()
    def reset(self) -> None:
        """ResetProtocol: by the row's GPIO line, else its command.

        Raises RPiFlashError.
        """
        command = bench_command(self.bench, self.command, "reset", self.bench.row, "--quiet", "--end-with-stdin")
        # Standard input stays open until it has ended.
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                status = process.wait(RESET_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RPiFlashError(
                    f"rpiflash reset on {bench_name(self.bench)} did not end within {RESET_SECONDS} s"
                ) from None
            finally:
                process.stdin.close()
            said = last_line(process.stderr.read())
        if status != 0:
            raise RPiFlashError(
                said or f"rpiflash reset on {bench_name(self.bench)} ended with status {status}",
                status=status if status in range(127) else None,
            )

    def _image(self, image: str | None) -> str:
        if image is not None:
            return image
        if self.image is None or self.target.env is None:
            raise RPiFlashError(
                "no image: give flash() a path, or RPiFlashDriver an image that the environment's images: has"
            )
        try:
            return str(self.target.env.config.get_image_path(self.image))
        except KeyError as error:
            raise RPiFlashError(f"RPiFlashDriver's image {self.image!r} is not in the environment's images:") from error

    def _start(self, path: str, rows: Sequence[str], options: Sequence[str]) -> Flash:
        """path: the image's, on the bench server."""
        user = f"{get_user()}@{socket.gethostname()}"
        more = [*labels(self.bench, user), *self.options, *options]
        command = bench_command(
            self.bench, self.command, "flash", path, *rows, "--json", "--quiet", "--end-with-stdin", *more
        )
        return Flash(command, rows, bench_name(self.bench))


def flash_together(
    targets: Sequence[Target],
    image: str | None = None,
    *options: str,
    on_event: Callable[[str, Event], None] | None = None,
) -> dict[Target, FlashResult]:
    """One image on many targets, on any number of bench servers, at the same time.

    Each bench server gets one `rpiflash flash` of all its targets: it prepares the image once, and --canary, --jobs and
    --stagger count there. labgrid's steps know no threads, so this is no step: one loop follows all of them.

    targets: each with an RPiFlashDriver; those of one bench server have the same command, options and image.
    options: more options for `rpiflash flash`.
    on_event: gets the bench server's name and every event.

    Raises RPiFlashGroupError where a target is not proven, or not up in time; the others are flashed all the same.
    """
    drivers: dict[Target, Any] = {target: target.get_driver("RPiFlashDriver") for target in targets}
    groups: dict[tuple[str, ...], dict[str, Target]] = {}
    for target, driver in drivers.items():
        key = (driver.bench.host, driver.command, driver._image(image), *driver.options)
        rows = groups.setdefault(key, {})
        if driver.bench.row in rows:
            raise RPiFlashError(f"{target.name} and {rows[driver.bench.row].name} are the same row of a bench server")
        rows[driver.bench.row] = target

    def tell(flash: Flash, event: Event) -> None:
        if on_event is not None:
            on_event(flash.bench, event)

    firsts = {key: drivers[next(iter(rows.values()))] for key, rows in groups.items()}
    # All copies first: while one is made, nobody reads what a flash says, and with a full pipe it would wait.
    paths = {key: _copy(key[2], first.bench) for key, first in firsts.items()}
    flashes: dict[Flash, dict[str, Target]] = {}
    try:
        for key, rows in groups.items():
            flashes[firsts[key]._start(paths[key], list(rows), options)] = rows
    except BaseException:
        for flash in flashes:
            flash.end()
        follow(list(flashes))
        raise
    results: dict[Target, FlashResult] = {}
    errors: dict[Target, RPiFlashError] = {}
    for flash, outcomes in _follow(list(flashes), tell).items():
        for row, outcome in outcomes.items():
            target = flashes[flash][row]
            if isinstance(outcome, FlashResult):
                results[target] = outcome
            else:
                errors[target] = RPiFlashError.of(outcome)
    if errors:
        raise RPiFlashGroupError(errors, results)
    return {target: results[target] for target in targets}


def _follow(
    flashes: Sequence[Flash], on_event: Callable[[Flash, Event], None]
) -> dict[Flash, dict[str, FlashResult | FlashError]]:
    try:
        return follow(flashes, on_event)
    except SystemExit as error:
        # labgrid-client takes SIGTERM as an exit with status 0, and a flash that was ended is no success.
        raise RPiFlashError(
            "interrupted; the flash was ended and cleaned up on its bench server", status=130
        ) from error


def _copy(image: str, bench: RPiFlashTarget) -> str:
    """Brings an image to a bench server; its path there."""
    try:
        file = ManagedFile(image, bench)
        file.sync_to_resource()
        return str(file.get_remote_path())
    except FileNotFoundError as error:
        raise RPiFlashError(f"image {image} not found") from error
    except subprocess.CalledProcessError as error:
        raise RPiFlashError(f"cannot copy {image} to {bench_name(bench)}: {sanitized(str(error))}") from error
    except (ExecutionError, OSError, subprocess.SubprocessError) as error:
        raise RPiFlashError(unreachable(bench, error)) from error


def _log(driver: RPiFlashDriver, event: Event) -> None:
    kind = event["event"]
    if kind == "chunk":
        driver.logger.info("chunk %s of %s", event.get("number"), event.get("count"))
    elif kind in _TOLD:
        said = ", ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "time"))
        driver.logger.info("%s", sanitized(f"{kind}: {said}" if said else kind))
