"""The pages in a real browser, with records that are written as a flash writes them."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from http.client import HTTPConnection
from pathlib import Path

import pytest
import records
from axe_playwright_python.sync_playwright import Axe
from conftest import PROGRAMS, Bench, Watched, until
from playwright.sync_api import Browser, Page, expect
from records import Run

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&</pre></script>\u202e\x1b[31m"


def now() -> datetime:
    return datetime.now(timezone.utc)


def card(page: Page, number: int):
    return page.locator(f"#target-{records.mac(number).replace(':', '')}")


def mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def test_a_flash_is_seen_from_its_reset_to_its_proof(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, seen = watched
    page.goto(bench.url)
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("h1")).to_have_text("3 targets")
    expect(card(page, 1).locator(".state")).to_have_text("no run so far")

    run = Run(bench.runs, 1, now())
    expect(card(page, 1).locator(".state")).to_have_text("begins")
    run.event("reset", method="GPIO line 17", attempt=1)
    expect(card(page, 1).locator(".state")).to_have_text("reset")
    run.event("asked", ip="192.168.77.3")
    expect(card(page, 1).locator(".state")).to_have_text("asks for its image")
    for number in range(1, 6):
        run.event("chunk", number=number, count=5, bytes=number << 20, total=5 << 20, seconds_left=6 - number)
        run.event("file", name=f"chunk-{number}", packets=9, repeated=0, window=8)
        expect(card(page, 1).locator(".state")).to_have_text(f"chunk {number} of 5, {6 - number} s left")
        bar = card(page, 1).locator("progress")
        assert (bar.get_attribute("value"), bar.get_attribute("max")) == (str(number), "5")
    expect(page.locator(".counts .running")).to_have_text("1 flashing")
    run.event("waiting", port=22, elapsed_seconds=3)
    expect(card(page, 1).locator(".state")).to_have_text("proven, waiting until it is up")
    run.end(0)
    expect(card(page, 1).locator(".state")).to_have_text("proven")
    expect(page.locator(".counts .proven")).to_have_text("1 proven")
    assert card(page, 1).locator("progress").count() == 0

    # The numbers of the page are the record's.
    page.click(f"text=target-1")
    expect(page.locator("h1")).to_have_text("target-1")
    cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
    proven = run.record["proven"]
    assert cells[1:] == ["proven", "raspios-trixie.img.xz", "alice", mebibytes(proven["written"]), "93.4 s", "10.0 MiB/s"]
    page.click("tbody a")
    expect(page.locator("h1")).to_have_text("Run of target-1")
    facts = dict(zip(page.locator("#facts dt").all_inner_texts(), page.locator("#facts dd").all_inner_texts()))
    assert facts["run"] == run.id
    assert facts["proven"] == f"{proven['bytes']} bytes, {proven['written']} written, {proven['loaded']} loaded, 0 retries"
    assert facts["times"] == "asked after 4.2 s, proven after 93.4 s, up 21.9 s later"
    assert seen.complaints == []
    assert seen.hosts == {f"127.0.0.1:{bench.port}"}


def test_a_new_event_is_on_the_page_within_a_second(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, _ = watched
    run = Run(bench.runs, 0, now())
    page.goto(bench.url)
    expect(page.locator("#live")).to_have_text("live")
    times = []
    for number in range(1, 11):
        begin = time.monotonic()
        run.event("chunk", number=number, count=10)
        until(lambda: card(page, 0).locator(".state").inner_text() == f"chunk {number} of 10")
        times.append(time.monotonic() - begin)
    print(f"\nan event is on the page after {sorted(times)[5]:.2f} s, at most {max(times):.2f} s")
    assert sorted(times)[5] < 1
    run.kill()


def test_a_flash_that_was_killed_and_one_that_failed_are_seen(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, _ = watched
    killed, failed = Run(bench.runs, 0, now()), Run(bench.runs, 1, now())
    page.goto(bench.url)
    expect(page.locator(".counts .running")).to_have_text("2 flashing")
    killed.kill()
    expect(card(page, 0).locator(".state")).to_have_text("killed")
    failed.end(2, error="the target reported FAILED: lost_write", code="lost_write")
    expect(card(page, 1).locator(".state")).to_have_text("2: the target reported FAILED: lost_write")
    expect(card(page, 1).locator(".worn")).to_have_text("it did not hold what was written; replace it")
    expect(page.locator(".counts .failed")).to_have_text("2 failed")


def test_law_7_texts_of_targets_stay_texts(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, seen = watched
    run = Run(bench.runs, 1, now(), image={"path": f"/images/{HOSTILE}"})
    run.record["by"]["user"] = HOSTILE
    run.record["target"]["name"] = HOSTILE
    run.say(HOSTILE)
    run.event("note", text=HOSTILE)
    (run.folder / "report.txt").write_text(HOSTILE + "\n")
    run.end(2, error=HOSTILE, board={"uboot": HOSTILE, "script": 6, "board": HOSTILE}, labels={"job": HOSTILE})
    for name in ("", f"target-{records.mac(1).replace(':', '')}.html", f"run-{run.id}.html"):
        page.goto(bench.url + name)
        expect(page.locator("#live")).to_have_text("live")
        text = page.locator("main").inner_text()
        assert "<img src=x onerror=" in text
        assert "\u202e" not in text and "\x1b" not in text
        assert page.title().startswith("rpiflash")
        assert page.locator("main img, main script").count() == 0
        # While it is watched, too.
        run.say(HOSTILE)
    for kind in ("Console", "Events", "Report of the target"):
        assert "<script>document.title='owned'</script>" in page.get_by_role("region", name=kind).inner_text()
    assert page.title() == "rpiflash: run of target-1"
    assert seen.complaints == []
    page.goto(f"{bench.url}run-{run.id}.console.txt")
    assert page.evaluate("document.contentType") == "text/plain"
    assert page.title() != "owned"


def test_a_page_is_live_again_by_itself_after_a_restart(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, _ = watched
    run = Run(bench.runs, 0, now())
    page.goto(bench.url)
    expect(page.locator("#live")).to_have_text("live")
    assert bench.stop() == 0
    expect(page.locator("#live")).to_have_text("connection lost, trying again")
    expect(page.locator("body")).to_have_class("lost")
    run.event("chunk", number=3, count=5)
    run.say("while nobody looked")
    time.sleep(3)
    bench.start()
    expect(page.locator("#live")).to_have_text("live", timeout=15_000)
    expect(card(page, 0).locator(".state")).to_have_text("chunk 3 of 5")
    expect(page.locator("body")).to_have_class("")
    run.kill()


def test_a_damaged_record_and_a_bad_inventory_are_said_and_cost_nothing_else(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, seen = watched
    good, bad = Run(bench.runs, 0, now()), Run(bench.runs, 1, now())
    good.end(0)
    bad.kill()
    (bad.folder / "run.json").write_text("{" * 100_000)
    page.goto(bench.url)
    expect(card(page, 0).locator(".state")).to_have_text("proven")
    expect(card(page, 1).locator(".state")).to_have_text("its record is damaged")
    page.goto(f"{bench.url}run-{bad.id}.html")
    expect(page.locator(".state")).to_have_text("its record is damaged")
    page.goto(bench.url)
    bench.inventory.write_text("mac,ip,server,gpio\nno,row,at,all\n")
    expect(page.locator(".findings .bad").first).to_contain_text("targets.csv:2:1", timeout=20_000)
    # What is known from runs is still there.
    expect(page.locator(".targets .target")).to_have_count(1)
    assert seen.complaints == []


def test_fifty_watchers_all_see_an_event(bench: Bench, browser: Browser) -> None:
    runs = [Run(bench.runs, number, now()) for number in range(3)]

    def watch(number: int) -> bool:
        connection = HTTPConnection("127.0.0.1", bench.port, timeout=60)
        connection.request("GET", "/index.live")
        answer = connection.getresponse()
        for line in answer:
            if b'"number":49' in line:
                return True
        return False

    with ThreadPoolExecutor(50) as pool:
        watchers = [pool.submit(watch, number) for number in range(50)]
        for number in range(1, 50):
            runs[number % 3].event("chunk", number=number, count=50)
            time.sleep(0.05)
        runs[0].event("chunk", number=49, count=50)
        assert all(watcher.result(60) for watcher in watchers)
    with browser.new_context() as context:
        # And there is room for one more.
        page = context.new_page()
        page.goto(bench.url)
        expect(page.locator("#live")).to_have_text("live")
    for run in runs:
        run.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_everybody_can_read_it(bench: Bench, browser: Browser, scheme: str, width: int) -> None:
    records.past(bench.runs, 2, 6)
    running = Run(bench.runs, 2, now())
    running.event("chunk", number=2, count=5, seconds_left=200)
    running.say("U-Boot 2025.01")
    bench.inventory.write_text(bench.inventory.read_text() + "no row\n")
    last = sorted(path.name for path in bench.runs.iterdir())
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 740}) as context:
        page = context.new_page()
        for name in ("", f"target-{records.mac(1).replace(':', '')}.html", f"run-{last[-2]}.html", f"run-{running.id}.html"):
            page.goto(bench.url + name)
            expect(page.locator("#live")).to_have_text("live")
            found = Axe().run(page).response["violations"]
            assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == [], name
            # Nothing is wider than the window but what can be scrolled.
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            # All of it can be reached with the keyboard.
            links = page.locator("a").count()
            reached = set()
            for _ in range(links + 20):
                page.keyboard.press("Tab")
                reached.add(page.evaluate("document.activeElement.href || ''"))
            assert len(reached - {""}) == len({link.evaluate("a => a.href") for link in page.locator("a").all()})
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(part) for part in back[4:-1].split(",")) < 150) == (scheme == "dark")
    running.kill()


def test_who_reads_the_end_of_a_console_goes_on_there(bench: Bench, watched: tuple[Page, Watched]) -> None:
    page, _ = watched
    run = Run(bench.runs, 0, now())
    for number in range(200):
        run.say(f"line {number}")
    page.goto(f"{bench.url}run-{run.id}.html")
    text = page.get_by_role("region", name="Console")
    text.evaluate("one => one.scrollTop = one.scrollHeight")
    run.say("the last one")
    expect(text).to_contain_text("the last one")
    assert text.evaluate("one => one.scrollTop + one.clientHeight >= one.scrollHeight - 4")
    text.evaluate("one => one.scrollTop = 40")
    run.say("one more")
    expect(text).to_contain_text("one more")
    assert text.evaluate("one => one.scrollTop") == 40
    run.kill()


def test_a_report_shows_the_same_without_a_server(bench: Bench, watched: tuple[Page, Watched], tmp_path: Path) -> None:
    page, seen = watched
    records.past(bench.runs, 2, 4)
    run = Run(bench.runs, 1, now(), labels={"ci_job": "4711"})
    run.say(HOSTILE)
    run.end(0)

    def report(*options: str) -> Path:
        folder = tmp_path / f"report{len(options)}"
        subprocess.run(
            [str(PROGRAMS / "rpiflash"), "runs", "report", "--html", str(folder), "--runs", str(bench.runs), *options],
            check=True, stdout=subprocess.DEVNULL)
        return folder

    every, one = report(), report("--label", "ci_job=4711")
    assert len(list(every.glob("run-*.html"))) == 9 and len(list(one.glob("run-*.html"))) == 1
    page.goto(f"file://{every}/index.html")
    expect(page.locator("h1")).to_have_text("2 targets")
    expect(page.locator("#live")).to_have_text("")
    page.click("text=target-1")
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.locator("svg.rates polyline")).to_have_count(1)
    page.click("tbody a")
    expect(page.locator("h1")).to_have_text("Run of target-1")
    expect(page.get_by_role("region", name="Console")).to_contain_text("<script>")
    static = page.locator("#facts").inner_text()
    page.goto(f"{bench.url}run-{run.id}.html")
    assert page.locator("#facts").inner_text() == static
    page.goto(f"file://{one}/index.html")
    expect(page.locator(".targets .target")).to_have_count(1)
    assert page.title() == "rpiflash: bench"
    assert seen.complaints == []
    data = json.loads((one / "index.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert data["live"] is False
