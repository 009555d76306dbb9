"""Run records as rpiflash writes them, for pages that show them: docs/runs.md has the layout."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

START = datetime(2026, 11, 1, tzinfo=timezone.utc)


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def mac(number: int) -> str:
    return f"52:54:00:12:{number >> 8:02x}:{number & 255:02x}"


def inventory(path: Path, count: int) -> Path:
    rows = [
        f"{mac(number)},192.168.{77 + number // 250}.{2 + number % 250},localhost,,target-{number},true,{'left' if number % 2 else 'right'} rack-{number // 8}"
        for number in range(count)
    ]
    path.write_text("mac,ip,server,gpio,name,reset_command,tags\n" + "\n".join(rows) + "\n")
    return path


class Run:
    """One run of a target, in a folder of its own; going on for as long as it is open, as its events' lock says."""

    def __init__(self, runs: Path, number: int, began: datetime, **fields) -> None:
        self.id = f"{began:%Y%m%d-%H%M%S}-{mac(number).replace(':', '')}"
        self.folder = runs / self.id
        self.folder.mkdir(parents=True)
        self.begin = time.monotonic()
        self.events = open(self.folder / "events.jsonl", "a", buffering=1)
        fcntl.flock(self.events, fcntl.LOCK_EX)
        (self.folder / "console.log").touch()
        self.record = {
            "version": 1, "id": self.id, "program": "0.1.0", "started": iso(began),
            "target": {"name": f"target-{number}", "mac": mac(number), "ip": f"192.168.77.{2 + number % 250}"},
            "image": {"path": "/srv/images/raspios-trixie.img.xz", "id": "0123456789abcdef" * 4},
            "protocol": "plan", "mode": "normal", "timings": {},
            "by": {"user": "alice", "host": "bench1", "command": ["rpiflash", "flash", "raspios-trixie.img.xz", f"target-{number}"]},
        } | fields
        self.write()

    def write(self) -> None:
        new = self.folder / "run.json.new"
        new.write_text(json.dumps(self.record, indent=2) + "\n")
        os.rename(new, self.folder / "run.json")

    def event(self, event: str, **fields) -> None:
        line = {"event": event, "time": round(time.monotonic() - self.begin, 3)} | fields
        self.events.write(json.dumps(line) + "\n")

    def say(self, text: str) -> None:
        with open(self.folder / "console.log", "a") as console:
            console.write(f"[{time.monotonic() - self.begin:9.3f}] {text}\n")

    def end(self, status: int = 0, rate: float = 10.0, ended: datetime | None = None, **fields) -> None:
        """Writes the record's end, and lets its lock go."""
        self.record |= {
            "ended": iso(ended or datetime.now(timezone.utc)), "status": status,
            "card": {"partuuid": "52504946-01", "model": "3 SC16G 14.8 GiB", "write_bytes": 64 << 20,
                     "write_seconds": 64 / rate, "retries": 0},
            "board": {"uboot": "U-Boot 2025.01 (Debian)", "script": 6, "board": "rpi_arm64", "keys": ["bench"]},
        } | fields
        if status == 0:
            self.record["proven"] = {"bytes": 1393557504, "written": 64 << 20, "loaded": 31 << 20, "retries": 0}
            self.record["timings"] = {"asked": 4.2, "flash": 93.4, "up": 21.9}
        self.write()
        self.kill()

    def kill(self) -> None:
        """What the end of its process does."""
        self.events.close()


def past(runs: Path, targets: int, each: int) -> None:
    """Many runs that are over, of each target as many."""
    for number in range(targets):
        for turn in range(each):
            began = START + timedelta(hours=turn, seconds=number)
            run = Run(runs, number, began)
            run.event("start", version=1, image="raspios-trixie.img.xz", target=f"target-{number}", protocol="plan")
            run.event("reset", method="GPIO line 17", attempt=1)
            for chunk in range(1, 6):
                run.event("chunk", number=chunk, count=5, bytes=chunk << 20, total=5 << 20)
            failed = (number + turn) % 17 == 0
            if failed:
                run.end(2, error="the target reported FAILED: chunk 3 was not what was written", code="lost_write",
                        ended=began + timedelta(minutes=2))
            else:
                run.end(0, rate=9 + (number * 7 + turn * 3) % 5 / 2, ended=began + timedelta(minutes=2))
