"""A lab with a fake rpiflash on two bench servers."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import SSHD, Bench, Lab

FAKE = Path(__file__).parent / "fake-rpiflash"
ROWS = {
    "bench1": ["camera-1", "camera-2", "status-2", "slow", "unproven", "gone", "garbage", "reset-status-9"],
    "bench2": ["sensor-1", "ends", "gate"],
}


def export(rows: list[str]) -> str:
    """As rpiflash targets --labgrid exporter prints it."""
    return "".join(
        f'"{row}":\n  RPiFlashTarget:\n    host: "{{{{ hostname }}}}"\n    row: "{row}"\n'
        f'  NetworkService:\n    address: "{row}.target"\n    username: "{getpass.getuser()}"\n'
        for row in rows
    )


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for program in (SSHD, "ssh", "ssh-keygen", "rsync"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} not found; run make labgrid-test, which has all that these tests need")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        for name, rows in ROWS.items():
            bench = lab.add_bench(name, export(rows))
            bench.set_rpiflash(f'exec {sys.executable} {FAKE} "$@"\n')
        for row in ("camera-1", "camera-2", "sensor-1"):
            lab.add_bench(f"{row}.target")
        lab.write_places([(row, bench, row.partition("-")[0]) for bench in lab.benches[:2] for row in ROWS[bench.name]])
        lab.start()
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def image(lab: Lab) -> Path:
    """An image in a folder that only its owner may read, so that it is copied on one machine too."""
    folder = lab.folder / "images"
    folder.mkdir(mode=0o700, exist_ok=True)
    image = folder / "os image.img"
    image.write_bytes(b"an OS image\n" * 1000)
    return image


def asked(bench: Bench) -> list[list[object]]:
    """What the bench's fake was called with."""
    return [json.loads(line) for line in bench.log.read_text().splitlines()] if bench.log.exists() else []
