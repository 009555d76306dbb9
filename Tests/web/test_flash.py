"""Real flashes of virtual targets in the pages: U-Boot as a process (the machine sandbox), as root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PROGRAMS, REPOSITORY, Bench, Watched, until
from playwright.sync_api import Browser, Page, expect

BUILD = Path(os.environ.get("RPIFLASH_BUILD", REPOSITORY / "build"))
FLASH_SECONDS = 120
"""A flash takes two; more where packets are lost and the machine has a lot else to do."""


@contextmanager
def sandboxes(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Virtual targets that are flashed at each line on standard input."""
    with subprocess.Popen(
        [str(REPOSITORY / "Tests/web/sandboxes"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdin
        try:
            assert any(line == "ready\n" for line in process.stdout)
            yield process
        finally:
            # It ends with its standard input, also where the test has failed.
            process.stdin.close()
            status = process.wait(FLASH_SECONDS)
    assert status == 0


def flash(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def flashed(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "flashed\n"


@contextmanager
def shown() -> Iterator[Bench]:
    """What `sandboxes` makes, in the pages."""
    folder = BUILD / "sandboxes"
    bench = Bench(folder, targets=0)
    bench.inventory = folder / "all.csv"
    bench.start()
    try:
        yield bench
    finally:
        status = bench.stop()
    assert status == 0


def test_a_real_flash_is_seen_from_start_to_proof(watched: tuple[Page, Watched]) -> None:
    page, seen = watched
    with sandboxes("--loss", "80", "--", "--full", "--label", "seen_by=chromium") as process, shown() as bench:
        page.goto(bench.url)
        state = page.locator(".target .state")
        expect(state).to_have_text("no run so far")
        flash(process)
        states: list[str] = []

        def watch() -> bool:
            text = state.inner_text()
            if not states or states[-1] != text:
                states.append(text)
            return text == "proven"

        until(watch, FLASH_SECONDS)
        flashed(process)
        chunks = [text for text in states if text.startswith("chunk ")]
        assert len(chunks) > 2, states
        numbers = [int(text.split()[1]) for text in chunks]
        assert numbers == sorted(numbers)

        listed = subprocess.run(
            [str(PROGRAMS / "rpiflash"), "runs", "list", "--json", "--runs", str(bench.runs)],
            check=True, capture_output=True, text=True)
        (run,) = json.loads(listed.stdout)["runs"]
        record = run["record"]
        assert record["status"] == 0 and record["labels"] == {"seen_by": "chromium"}
        page.click(".target h2 a")
        expect(page.locator("h1")).to_have_text("camera-1")
        cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
        assert cells[1:6] == [
            "proven", "demo.img", record["by"]["user"], f"{record['proven']['written'] / (1 << 20):.1f} MiB",
            f"{record['timings']['flash']:.1f} s"]
        page.click("tbody a")
        expect(page.locator("h1")).to_have_text("Run of camera-1")
        facts = dict(zip(page.locator("#facts dt").all_inner_texts(), page.locator("#facts dd").all_inner_texts()))
        proven = record["proven"]
        assert facts["proven"] == (
            f"{proven['bytes']} bytes, {proven['written']} written, {proven['loaded']} loaded, {proven['retries']} retries")
        assert facts["content"] == f"SHA-256 {record['image']['id']}"
        events = page.get_by_role("region", name="Events").inner_text()
        assert "proven, " in events and "result, " in events
        console = page.get_by_role("region", name="Console").inner_text()
        assert console.strip() == (bench.runs / run["id"] / "console.log").read_text().strip()[-len(console.strip()):]
        assert "rpiflash: " in console
        report = page.get_by_role("region", name="Report of the target").inner_text()
        assert report.strip() == (bench.runs / run["id"] / "report.txt").read_text().strip()
        assert seen.complaints == []


@pytest.mark.skipif("RPIFLASH_PICTURES" not in os.environ, reason="scripts/web-test --pictures makes them")
def test_picture(browser: Browser) -> None:
    """docs/pictures/web-bench-*.png: eight targets that were flashed before and are being flashed."""
    folder = Path(os.environ["RPIFLASH_PICTURES"])
    with sandboxes("--targets", "8", "--loss", "60", "--", "--full") as process, shown() as bench:
        for _ in range(4):
            flash(process)
            flashed(process)
        page = browser.new_context(viewport={"width": 1180, "height": 648}).new_page()
        page.goto(bench.url)
        expect(page.locator(".counts .proven")).to_have_text("8 proven")
        flash(process)
        done = "[...document.querySelectorAll('progress')].map(one => one.value / one.max)"
        # In the middle: each has begun, and none is done.
        until(lambda: len(page.evaluate(done)) == 8 and min(page.evaluate(done)) > 0.2, FLASH_SECONDS)
        assert bench.process
        # Nothing changes on the page while it is taken.
        bench.process.send_signal(signal.SIGSTOP)
        try:
            assert page.locator("progress").count() == 8
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=folder / f"web-bench-{scheme}.png")
        finally:
            bench.process.send_signal(signal.SIGCONT)
        flashed(process)
