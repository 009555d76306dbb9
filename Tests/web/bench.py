"""What the pages cost, with 200 targets and 10,000 runs: until they are seen, in memory, and with 50 watchers.

`make bench-web` calls it, with the program that RPIFLASH_BIN names. It prints lines for docs/performance.md.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path

import records
from conftest import CHROMIUM, Bench
from playwright.sync_api import Page, sync_playwright

TARGETS, EACH, WATCHERS, RUNNING, SECONDS = 200, 50, 50, 30, 30
HERTZ = os.sysconf("SC_CLK_TCK")


def memory(bench: Bench) -> float:
    """Resident memory in MiB."""
    lines = Path(f"/proc/{bench.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def processor(bench: Bench) -> float:
    """Seconds so far."""
    fields = Path(f"/proc/{bench.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def first_paint(page: Page, url: str) -> float:
    """Milliseconds from the request until the targets are painted, as the browser has it."""
    page.goto(url)
    assert page.locator(".target").count() > 0
    page.wait_for_timeout(300)
    return page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")


def say(what: str, times: list[float], unit: str = "ms") -> None:
    print(f"{what}: median {statistics.median(times):.0f} {unit}, at most {max(times):.0f} {unit} ({len(times)} times)")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        bench = Bench(Path(folder), TARGETS)
        records.past(bench.runs, TARGETS, EACH)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
        ready, cold = [], []
        for _ in range(5):
            begin = time.monotonic()
            bench.start()
            ready.append(1000 * (time.monotonic() - begin))
            cold.append(first_paint(page, bench.url))
            bench.stop()
        say(f"{TARGETS} targets, {TARGETS * EACH} runs: the server has read them and listens", ready)
        say("the bench's first page after that", cold)
        bench.start()
        first_paint(page, bench.url)
        say("bench, again", [first_paint(page, bench.url) for _ in range(10)])
        mac = records.mac(7).replace(":", "")
        say(f"a target with {EACH} runs", [first_paint(page, f"{bench.url}target-{mac}.html") for _ in range(10)])
        run = sorted(path.name for path in bench.runs.iterdir())[-1]
        say("a run", [first_paint(page, f"{bench.url}run-{run}.html") for _ in range(10)])
        browser.close()
        print(f"memory: {memory(bench):.0f} MiB")

        stop = threading.Event()

        def watch() -> None:
            connection = HTTPConnection("127.0.0.1", bench.port)
            connection.request("GET", "/index.live")
            answer = connection.getresponse()
            while not stop.is_set() and answer.readline():
                pass
            connection.close()

        watchers = [threading.Thread(target=watch, daemon=True) for _ in range(WATCHERS)]
        for watcher in watchers:
            watcher.start()
        time.sleep(2)
        begin = processor(bench)
        time.sleep(SECONDS)
        print(f"{WATCHERS} watchers, nothing happens: {(processor(bench) - begin) / SECONDS:.2f} of a core, {memory(bench):.0f} MiB")
        runs = [records.Run(bench.runs, number, datetime.now(timezone.utc)) for number in range(RUNNING)]
        begin, end, sizes, number = processor(bench), time.monotonic() + 4 * SECONDS, [], 0
        while time.monotonic() < end:
            number += 1
            for run in runs:
                run.event("chunk", number=number, count=10_000, bytes=number << 20, total=10_000 << 20, seconds_left=99)
                run.say(f"chunk {number}")
            time.sleep(0.25)
            sizes.append(memory(bench))
        quarter = len(sizes) // 4
        print(
            f"{WATCHERS} watchers, {RUNNING} flashes with 4 events a second each, {4 * SECONDS} s: "
            f"{(processor(bench) - begin) / (4 * SECONDS):.2f} of a core; memory {statistics.mean(sizes[:quarter]):.0f} MiB in the "
            f"first quarter, {statistics.mean(sizes[-quarter:]):.0f} MiB in the last"
        )
        stop.set()
        bench.stop()


main()
