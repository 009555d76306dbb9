"""Bench servers with virtual targets, each bench in a network of its own, and the real rpiflash.

RPIFLASH_MACHINE says which virtual target: virt, QEMU, where Linux starts; or sandbox, U-Boot as a process, which
flashes in two seconds and starts nothing, so that no flash waits until its target is up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from images import make_image
from lab import BIN, Bench, Lab, Service

REPOSITORY = Path(__file__).parents[2]
BUILD = Path(os.environ.get("RPIFLASH_BUILD", REPOSITORY / "build"))
PROGRAMS = Path(os.environ.get("RPIFLASH_BIN", REPOSITORY / ".build/debug"))
IMAGE = BUILD / "demo/demo.img"
VIRTUAL_TARGET = REPOSITORY / "virtual_target/virtual-target"
CARD = REPOSITORY / "virtual_target/card.yaml"
FLASH_SECONDS = 900
"""A first flash takes 30 s on two free cores, in QEMU."""
MACHINE = os.environ.get("RPIFLASH_MACHINE", "virt")
BOARDS = {"virt": "qemu_arm64", "sandbox": "sandbox"}


@dataclass
class Pi:
    """A virtual target and the bench server that it is on, both with the network 192.168.77.0/24 to themselves."""

    name: str
    bench: Bench
    network: Service
    machine: str

    @property
    def folder(self) -> Path:
        return self.bench.folder / self.name

    def virtual_target(self, lab: Lab, *words: str) -> None:
        """A subcommand of virtual-target, in the target's network, as its bench server would."""
        command = [str(VIRTUAL_TARGET), words[0], str(self.folder), *words[1:]]
        subprocess.run(
            ["nsenter", f"--net=/proc/{self.network.process.pid}/ns/net", *command],
            env=lab.env,
            check=True,
            timeout=300,
            stdout=subprocess.DEVNULL,
        )

    @contextmanager
    def paused(self, lab: Lab) -> Iterator[None]:
        """No large packet reaches the target: a flash waits, in the middle of its work."""
        self.virtual_target(lab, "loss", "1000")
        try:
            yield
        finally:
            self.virtual_target(lab, "loss", "0")

    def on_bench(self, lab: Lab, command: str, timeout: float = 60) -> str:
        """What a command prints on the bench server, by ssh."""
        done = subprocess.run(
            [str(lab.folder / "bin/ssh"), self.bench.name, command],
            env=lab.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self, lab: Lab) -> list[dict[str, object]]:
        """The records on the bench server."""
        runs: list[dict[str, object]] = json.loads(self.on_bench(lab, "rpiflash runs list --json"))["runs"]
        return runs

    def is_running(self, lab: Lab) -> bool:
        """Whether a flash runs that has its record."""
        return any(run["running"] for run in self.runs(lab))

    def is_clean(self, lab: Lab) -> bool:
        """No flash runs, nothing is staged, and the lock is free: another flash could begin."""
        if self.is_running(lab):
            return False
        dry = self.on_bench(lab, f"rpiflash flash {lab.image} {self.name} --dry-run --quiet; echo status $?")
        return not self.staged() and dry.splitlines()[-1] == "status 0"

    def staged(self) -> list[Path]:
        """What is in the bench server's TFTP root, without locks."""
        tftp = self.bench.folder / "tftp"
        return [path for path in tftp.rglob("*") if path.is_file() and path.name != ".lock"]


def rpiflash(folder: Path) -> str:
    """The bench server's rpiflash: the real one, with what it keeps in the bench's folder."""
    inventory = f"--inventory {folder}/targets.csv"
    return (
        f"command=$1; shift\ncase $command in\n"
        f"flash) more='{inventory} --card {CARD} --tftp-root {folder}/tftp --store {folder}/store --runs {folder}/runs "
        f"--templates {REPOSITORY}/templates --listen 192.168.77.1 "
        f"--request-timeout 3m --outcome-timeout 3m "
        f"--wait-timeout 10m' ;;\n"
        f"runs) more='--runs {folder}/runs' ;;\n"
        f"*) more='{inventory}' ;;\nesac\n"
        # Of an option that is given twice the last one counts: the client's.
        f"if [ $command = flash ]; then\n    echo $$ >{folder}/rpiflash.pid\n"
        f'    exec {PROGRAMS}/rpiflash flash $more "$@"\nfi\n'
        f'exec {PROGRAMS}/rpiflash $command "$@" $more\n'
    )


def make_bench(lab: Lab, recovery: Path, number: int, count: int, machine: str) -> list[Pi]:
    """A bench server with so many targets: bench1 with camera-1, or with camera-1-1, camera-1-2 and so on."""
    folder = lab.folder / f"bench{number}"
    (folder / "tftp").mkdir(parents=True)
    names = [f"camera-{number}" if count == 1 else f"camera-{number}-{index + 1}" for index in range(count)]
    header, rows = "", []
    for index, name in enumerate(names):
        target = folder / name
        addresses = ["--mac", f"52:54:00:12:{number:02x}:{index + 1:02x}", "--ip", f"192.168.77.{index + 10}"]
        subprocess.run(
            [
                *(str(VIRTUAL_TARGET), "create", str(target), "--machine", machine),
                *("--recovery", str(recovery), "--name", name),
                *addresses,
            ],
            env=lab.env | {"RPIFLASH_BUILD": str(BUILD)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        header, row = (target / "targets.csv").read_text().splitlines()
        rows.append(row.replace(f",{os.uname().nodename},", f",bench{number},"))
    (folder / "targets.csv").write_text(f"{header},tags\n" + "".join(f"{row},camera\n" for row in rows))
    targets = [str(folder / name) for name in names]
    network = Service(
        [str(VIRTUAL_TARGET), "exec", *targets, "--", "sh", "-c", "echo network is up; exec cat"],
        folder,
        "network",
        "network is up",
        lab.env,
    )
    bench = lab.add_bench(f"bench{number}", None, network.process.pid)
    bench.set_rpiflash(rpiflash(folder))
    return [Pi(name, bench, network, machine) for name in names]


@contextmanager
def virtual_lab(
    folder: Path, counts: list[int], machine: str = MACHINE, *, by_client: bool = True
) -> Iterator[tuple[Lab, list[Pi]]]:
    """A lab with a bench server for each of these numbers of targets.

    by_client: its places are made by labgrid-client, which is called three times for each.
    """
    for file in (PROGRAMS / "rpiflash", IMAGE, BUILD / f"uboot/{BOARDS[machine]}/u-boot.bin"):
        if not file.exists():
            pytest.fail(f"{file} not found; run make labgrid-test, which makes all that these tests need")
    lab = Lab(folder)
    lab.image = IMAGE
    if machine == "sandbox":
        lab.flash_options = ["--no-wait"]
        # More to write, or each flash would be over before it can be disturbed.
        lab.image = make_image(IMAGE, folder / "os.img", 1, 24)
    recovery = folder / "recovery.img"
    gen = [str(PROGRAMS / "rpiflash-gen"), "recovery-image", "--board", BOARDS[machine], "--card", str(CARD)]
    subprocess.run(
        [*gen, "--server-ip", "192.168.77.1", "--no-xz", "--output", str(recovery)],
        cwd=REPOSITORY,
        env=lab.env | {"RPIFLASH_BUILD": str(BUILD)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    pis: list[Pi] = []
    try:
        for number, count in enumerate(counts, 1):
            pis += make_bench(lab, recovery, number, count, machine)
        # An administrator's way: what the bench server prints is its exporter's, and labgrid-client's.
        benches = {pi.bench.name: pi for pi in pis}.values()
        for pi in benches:
            pi.bench.rows = pi.on_bench(lab, "rpiflash targets --labgrid exporter --user root")
        if not by_client:
            lab.write_places([(pi.name, pi.bench, "camera") for pi in pis])
        lab.start()
        for pi in benches if by_client else []:
            script = pi.on_bench(lab, "rpiflash targets --labgrid places")
            subprocess.run(["/bin/sh", "-c", script], env=lab.env, check=True, stdout=subprocess.DEVNULL)
        yield lab, pis
    finally:
        lab.stop()
        for pi in pis:
            pi.network.end()
        # Cards and stores are some hundred MB.
        for pi in pis:
            for path in (pi.folder, pi.bench.folder / "store", pi.bench.folder / "tftp"):
                shutil.rmtree(path, ignore_errors=True)


def until(client: subprocess.Popen[str], text: str) -> None:
    """Reads what the client says until it says this."""
    assert client.stdout is not None
    said = ""
    while text not in said:
        line = client.stdout.readline()
        assert line, said
        said += line


def bootstrap(lab: Lab, environment: Path) -> subprocess.Popen[str]:
    """labgrid-client that flashes."""
    return subprocess.Popen(
        [str(BIN / "labgrid-client"), "-v", "-c", str(environment), "bootstrap", str(lab.image)],
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environment(lab: Lab, *names: str, options: Sequence[str] = ()) -> Path:
    """An environment of these targets; options: more of them for each flash."""
    file = lab.environment(lab.image, *names)
    words = json.dumps([*lab.flash_options, *options])
    file.write_text(file.read_text().replace("        image: os\n", f"        image: os\n        options: {words}\n"))
    return file
