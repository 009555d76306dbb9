"""OS images with contents of their own, and which of them a card holds: by mtools and e2fsprogs, not by rpiflash."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from functools import cache
from pathlib import Path

MTOOLS = os.environ | {"MTOOLS_SKIP_CHECK": "1"}
CHANGED = {"cmdline.txt", "etc/fstab"}
"""What rpiflash changes in an image, so that it starts from the card's partitions."""


def partitions(disk: Path) -> list[int]:
    """Where each partition starts, in bytes."""
    table = subprocess.run(["sfdisk", "--json", str(disk)], check=True, capture_output=True, text=True).stdout
    return [partition["start"] * 512 for partition in json.loads(table)["partitiontable"]["partitions"]]


def make_image(source: Path, image: Path, seed: int, mebibytes: int) -> Path:
    """The demo's image, with a file on each partition that only this image has; so much of it on the rootfs."""
    dice = random.Random(seed)  # noqa: S311
    subprocess.run(["cp", "--sparse=always", str(source), str(image)], check=True)
    boot, root = partitions(image)
    own = image.with_suffix(".own")
    own.write_bytes(dice.randbytes(1 << 20))
    subprocess.run(["mcopy", "-i", f"{image}@@{boot}", str(own), "::own.bin"], env=MTOOLS, check=True)
    own.write_bytes(dice.randbytes(mebibytes << 20))
    write = ["debugfs", "-w", "-R", f"write {own} own", f"{image}?offset={root}"]
    subprocess.run(write, check=True, capture_output=True)
    own.unlink()
    if files_of(image) is None:
        raise RuntimeError(f"{image} could not be made")
    return image


def files(disk: Path, starts: list[int], work: Path) -> dict[str, str] | None:
    """The SHA-256 of each file on a boot partition and a rootfs at these bytes; None where one is no sound filesystem.

    work: a folder that is made for this, and removed.
    """
    boot, root = starts
    shutil.rmtree(work, ignore_errors=True)
    (work / "boot").mkdir(parents=True)
    (work / "root").mkdir()
    commands = [
        ["mcopy", "-s", "-n", "-Q", "-i", f"{disk}@@{boot}", "::*", str(work / "boot")],
        ["e2fsck", "-f", "-n", f"{disk}?offset={root}"],
        ["debugfs", "-R", f"rdump / {work / 'root'}", f"{disk}?offset={root}"],
    ]
    try:
        for command in commands:
            if subprocess.run(command, env=MTOOLS, capture_output=True, check=False).returncode != 0:
                return None
        found = {
            str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
            for top in (work / "boot", work / "root")
            for path in top.rglob("*")
            if path.is_file() and not path.is_symlink()
        }
        return {path: digest for path, digest in found.items() if path not in CHANGED}
    finally:
        shutil.rmtree(work)


@cache
def files_of(image: Path) -> dict[str, str] | None:
    """Those of an image, which nobody changes."""
    return files(image, partitions(image), image.with_suffix(".files"))


def image_on(card: Path, images: list[Path]) -> Path | None:
    """Which of these images the card's partitions 2 and 3 hold, every file of it; None: none of them."""
    found = files(card, partitions(card)[1:], card.with_suffix(".files"))
    for image in images:
        if found is not None and found == files_of(image):
            return image
    return None
