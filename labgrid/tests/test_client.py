"""The client without labgrid and without ssh: what it makes of what rpiflash prints, and of how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rpiflash_client import VERSION, Event, EventError, Flash, FlashError, FlashResult, follow
from rpiflash_client import flash as flash_module
from rpiflash_client.events import LONGEST_LINE, EventReader

FAKE = Path(__file__).parent / "fake-rpiflash"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def start(*rows: str) -> Flash:
    words = [sys.executable, str(FAKE), "flash", "os.img", *rows, "--json", "--quiet", "--end-with-stdin"]
    return Flash(words, rows, "bench1")


def outcome(*rows: str) -> FlashResult | FlashError:
    flash = start(*rows)
    return follow([flash])[flash][rows[0]]


def ended(log: Path, timeout: float = 5) -> list[list[object]]:
    """How the fake's flashes ended."""
    deadline = time.monotonic() + timeout
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found = [line for line in lines if line[0] == "ended"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


@pytest.mark.usefixtures("log")
class TestOutcome:
    def test_a_proven_target_has_its_run_image_and_numbers(self) -> None:
        result = outcome("camera-1")
        assert isinstance(result, FlashResult)
        assert (result.row, result.run, result.image_id) == ("camera-1", "20261129-1500-camera-1", "ab" * 32)
        assert result.result["written"] == 4096

    @pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 7, 8, 9, 130])
    def test_every_other_status_is_a_failure_with_its_sentence(self, status: int) -> None:
        failure = outcome(f"status-{status}")
        assert isinstance(failure, FlashError)
        assert failure.status == status
        # What a target says reaches no terminal as it is.
        assert str(failure) == f"target status-{status} failed with \\x1b[31m {status}"
        assert failure.run == f"20261129-1500-status-{status}"

    def test_status_0_without_proof_is_a_failure(self) -> None:
        failure = outcome("unproven")
        assert isinstance(failure, FlashError)
        assert "status 0, and not proven" in str(failure)

    @pytest.mark.parametrize(
        ("row", "status", "sentence"),
        [
            ("liar", 9, "rpiflash on bench1 ended with status 9 and no result"),
            ("silent", 9, "rpiflash on bench1 ended with status 9 and no result: rpiflash: out of memory"),
            ("usage", 64, "rpiflash on bench1 ended with status 64 and no result: Usage: rpiflash flash"),
            (
                "gone",
                None,
                "the connection to bench1 was lost, or rpiflash was killed there; the flash ends with it "
                "(Connection closed by remote host)",
            ),
            ("cut", None, "bench1: rpiflash's output ended within a line: '{\"event\":\"resu'"),
            (
                "garbage",
                None,
                "bench1: 'Welcome to bench1!' is not an event of rpiflash; does a start-up file of the shell there "
                "print text?",
            ),
            (
                "version-2",
                None,
                f"bench1: rpiflash's events have version 2, this client knows {VERSION}; bring labgrid-rpiflash and "
                "the bench server's rpiflash to the same release",
            ),
        ],
    )
    def test_what_is_no_end_of_a_flash_is_a_failure(self, row: str, status: int | None, sentence: str) -> None:
        failure = outcome(row)
        assert isinstance(failure, FlashError)
        assert (failure.status, str(failure)) == (status, sentence)

    @pytest.mark.parametrize(
        ("script", "sentence"),
        [
            (
                "echo 'Host key verification failed.' >&2; exit 255",
                "cannot reach bench1: Host key verification failed.",
            ),
            (
                "exec not-rpiflash",
                "rpiflash was not found on bench1; install its Debian package there "
                "(/bin/sh: 1: exec: not-rpiflash: not found)",
            ),
            ("kill -9 $$", "ssh to bench1 was ended by signal 9; the flash there ends with it"),
            ("exit 0", "rpiflash on bench1 ended with status 0 and no result"),
        ],
    )
    def test_what_never_was_a_flash_says_why(self, script: str, sentence: str) -> None:
        flash = Flash(["/bin/sh", "-c", script], ["camera-1"], "bench1")
        failure = follow([flash])[flash]["camera-1"]
        assert isinstance(failure, FlashError)
        assert (failure.status, str(failure)) == (0 if script == "exit 0" else None, sentence)

    def test_of_several_targets_each_has_its_own_outcome(self) -> None:
        flash = start("camera-1", "status-2", "unproven")
        outcomes = follow([flash])[flash]
        assert isinstance(outcomes["camera-1"], FlashResult)
        assert outcomes["camera-1"].run == "20261129-1500-camera-1"
        assert isinstance(outcomes["status-2"], FlashError)
        assert outcomes["status-2"].status == 2
        assert isinstance(outcomes["unproven"], FlashError)

    def test_a_refusal_of_several_is_the_refusal_of_each(self) -> None:
        flash = start("refused", "camera-1")
        for failure in follow([flash])[flash].values():
            assert isinstance(failure, FlashError)
            assert (failure.status, str(failure)) == (9, "target x is being flashed by process 7")

    def test_of_several_targets_none_is_proven_without_a_summary_that_fits(self) -> None:
        flash = start("liar", "camera-1")
        assert all(isinstance(outcome, FlashError) for outcome in follow([flash])[flash].values())

    def test_flashes_on_several_benches_run_at_the_same_time(self) -> None:
        begin = time.monotonic()
        script = "sleep 1; exec " + " ".join(
            [sys.executable, str(FAKE), "flash os.img x --json --quiet --end-with-stdin"]
        )
        flashes = [Flash(["/bin/sh", "-c", script], ["x"], f"bench{number}") for number in range(4)]
        assert all(isinstance(outcomes["x"], FlashResult) for outcomes in follow(flashes).values())
        assert time.monotonic() - begin < 3


class TestEnding:
    def test_an_exception_ends_the_flash_in_order(self, log: Path) -> None:
        flash = start("slow")

        def refuse(_: Flash, event: Event) -> None:
            if event["event"] == "chunk":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            follow([flash], refuse)
        # It has cleaned up before the exception comes out.
        assert flash.process.poll() == 130
        assert ended(log, 0) == [["ended", "slow", 130]]

    def test_one_of_two_that_is_interrupted_ends_both(self, log: Path) -> None:
        flashes = [start("slow-1"), start("slow-2")]

        def refuse(flash: Flash, event: Event) -> None:
            if flash is flashes[1] and event["event"] == "chunk":
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            follow(flashes, refuse)
        assert [flash.process.poll() for flash in flashes] == [130, 130]
        assert len(ended(log, 0)) == 2

    def test_a_killed_client_ends_the_flash(self, log: Path) -> None:
        code = (
            "import sys; sys.path[:0] = ['tests', '.']\n"
            "from test_client import start, follow\n"
            "follow([start('slow')], lambda _, event: print(event['event'], flush=True))\n"
        )
        client = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=FAKE.parent.parent
        )
        assert client.stdout is not None
        for line in client.stdout:
            if line == "chunk\n":
                break
        os.kill(client.pid, signal.SIGKILL)
        client.wait(5)
        client.stdout.close()
        assert ended(log) == [["ended", "slow", 130]]

    @pytest.mark.usefixtures("log")
    def test_a_flash_that_does_not_end_in_time_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flash_module, "CLEAN_UP_SECONDS", 0.5)
        flash = start("deaf")

        def end(flash: Flash, event: Event) -> None:
            if event["event"] == "chunk":
                flash.end()

        begin = time.monotonic()
        failure = follow([flash], end)[flash]["deaf"]
        assert isinstance(failure, FlashError)
        assert str(failure).startswith("rpiflash on bench1 did not end within ")
        assert 0.4 < time.monotonic() - begin < 10
        assert flash.process.poll() == -signal.SIGKILL


class TestEvents:
    def test_events_come_whole_however_their_bytes_come(self) -> None:
        text = b'{"event":"start","version":1}\n{"event":"asked"}\n'
        for size in (1, 7, len(text)):
            reader = EventReader()
            events = [event for at in range(0, len(text), size) for event in reader.feed(text[at : at + size])]
            reader.finish()
            assert [event["event"] for event in events] == ["start", "asked"]

    def test_a_line_without_end_is_refused_and_not_kept(self) -> None:
        reader = EventReader()
        half = b"x" * (LONGEST_LINE // 2)
        assert reader.feed(half) == reader.feed(half) == []
        with pytest.raises(EventError, match="line of more than 1048576 bytes"):
            reader.feed(b"x")

    @pytest.mark.parametrize("line", [b"[]", b"{}", b'{"event":3}', b"\xff\xfe", b"null", b'{"event":"asked"}', b""])
    def test_what_does_not_begin_with_start_is_refused(self, line: bytes) -> None:
        with pytest.raises(EventError):
            EventReader().feed(line + b"\n")
