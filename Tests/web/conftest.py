"""A server of pages, a browser, and what of it tests need.

RPIFLASH_BIN names the folder of rpiflash, RPIFLASH_BUILD that of what make targets make.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import records
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(os.environ.get("RPIFLASH_BIN", REPOSITORY / ".build/debug"))
CHROMIUM = "/usr/bin/chromium"
SECONDS = 30
"""How long anything is waited for that has to come; it comes within one."""


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


class Bench:
    """A folder with an inventory and records, and a server that shows them."""

    def __init__(self, folder: Path, targets: int = 3) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.runs.mkdir(exist_ok=True)
        self.inventory = folder / "targets.csv"
        if targets:
            records.inventory(self.inventory, targets)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        """Starts the server; once more on the same port."""
        self.process = subprocess.Popen(
            [str(PROGRAMS / "rpiflash"), "web", "--listen", f"127.0.0.1:{self.port or free_port()}",
             "--inventory", str(self.inventory), "--runs", str(self.runs), *options],
            stderr=subprocess.PIPE, text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"the bench is at http://127.0.0.1:([0-9]+)/", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"rpiflash web did not start: {self.process.wait()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.start()
    yield bench
    if bench.process is not None and bench.process.poll() is None:
        assert bench.stop() == 0


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root there is no sandbox of its own; it sees only pages of this test.
        with playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
            yield browser


class Watched:
    """What a page complained about: errors, refused contents, requests to anywhere else."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        context.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def follow(self, page: Page) -> Page:
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))
        return page


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, Watched]]:
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        watched = Watched(context)
        yield watched.follow(context.new_page()), watched
