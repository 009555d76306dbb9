"""The truth: real flashes of virtual targets on two bench servers, each in a network of its own, through labgrid.

The folder that RPIFLASH_BUILD names has the demo's image and U-Boot for QEMU, RPIFLASH_BIN the programs; both are made
by make labgrid-test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import BIN, Bench, Lab, Service, within
from test_labgrid import acquired, python, said

REPOSITORY = Path(__file__).parents[2]
BUILD = Path(os.environ.get("RPIFLASH_BUILD", REPOSITORY / "build"))
PROGRAMS = Path(os.environ.get("RPIFLASH_BIN", REPOSITORY / ".build/debug"))
IMAGE = BUILD / "demo/demo.img"
VIRTUAL_TARGET = REPOSITORY / "virtual_target/virtual-target"
CARD = REPOSITORY / "virtual_target/card.yaml"
FLASH_SECONDS = 420
"""A first flash takes 30 s on two free cores."""


@dataclass
class Pi:
    """A virtual target and the bench server that it is on, both with the network 192.168.77.0/24 to themselves."""

    name: str
    bench: Bench
    network: Service

    @property
    def folder(self) -> Path:
        return self.bench.folder / "target"

    def on_bench(self, lab: Lab, command: str) -> str:
        """What a command prints on the bench server, by ssh."""
        done = subprocess.run(
            [str(lab.folder / "bin/ssh"), self.bench.name, command],
            env=lab.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self, lab: Lab) -> list[dict[str, object]]:
        """The records on the bench server."""
        runs: list[dict[str, object]] = json.loads(self.on_bench(lab, "rpiflash runs list --json"))["runs"]
        return runs

    def is_clean(self, lab: Lab) -> bool:
        """No flash runs, nothing is staged, and the lock is free: another flash could begin."""
        if any(run["running"] for run in self.runs(lab)):
            return False
        staged = [path for path in (self.bench.folder / "tftp").rglob("*") if path.is_file() and path.name != ".lock"]
        dry = self.on_bench(lab, f"rpiflash flash {IMAGE} {self.name} --dry-run --quiet; echo status $?")
        return not staged and dry.splitlines()[-1] == "status 0"


def rpiflash(folder: Path) -> str:
    """The bench server's rpiflash: the real one, with what it keeps in the bench's folder."""
    inventory = f"--inventory {folder}/targets.csv"
    return (
        f"command=$1; shift\ncase $command in\n"
        f"flash) more='{inventory} --card {CARD} --tftp-root {folder}/tftp --store {folder}/store --runs {folder}/runs "
        f"--templates {REPOSITORY}/templates --listen 192.168.77.1 --request-timeout 3m --outcome-timeout 3m "
        f"--wait-timeout 3m' ;;\n"
        f"runs) more='--runs {folder}/runs' ;;\n"
        f"*) more='{inventory}' ;;\nesac\n"
        f"[ $command = flash ] && echo $$ >{folder}/rpiflash.pid\n"
        f'exec {PROGRAMS}/rpiflash $command "$@" $more\n'
    )


def make_pi(lab: Lab, recovery: Path, number: int) -> Pi:
    name = f"camera-{number}"
    folder = lab.folder / f"bench{number}"
    target = folder / "target"
    folder.mkdir()
    subprocess.run(
        [str(VIRTUAL_TARGET), "create", str(target), "--recovery", str(recovery), "--name", name],
        env=lab.env | {"RPIFLASH_BUILD": str(BUILD)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (folder / "tftp").mkdir()
    header, row = (target / "targets.csv").read_text().splitlines()
    row = row.replace(f",{os.uname().nodename},", f",bench{number},")
    (folder / "targets.csv").write_text(f"{header},tags\n{row},camera\n")
    network = Service(
        [str(VIRTUAL_TARGET), "exec", str(target), "--", "sh", "-c", "echo network is up; exec cat"],
        folder,
        "network",
        "network is up",
        lab.env,
    )
    bench = lab.add_bench(f"bench{number}", None, network.process.pid)
    bench.set_rpiflash(rpiflash(folder))
    return Pi(name, bench, network)


@pytest.fixture(scope="module")
def pis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, list[Pi]]]:
    for file in (PROGRAMS / "rpiflash", IMAGE, BUILD / "uboot/qemu_arm64/u-boot.bin"):
        if not file.exists():
            pytest.fail(f"{file} not found; run make labgrid-test, which makes all that these tests need")
    folder = tmp_path_factory.mktemp("flash")
    lab = Lab(folder)
    recovery = folder / "recovery.img"
    gen = [str(PROGRAMS / "rpiflash-gen"), "recovery-image", "--board", "qemu_arm64", "--card", str(CARD)]
    subprocess.run(
        [*gen, "--server-ip", "192.168.77.1", "--no-xz", "--output", str(recovery)],
        cwd=REPOSITORY,
        env=lab.env | {"RPIFLASH_BUILD": str(BUILD)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    pis: list[Pi] = []
    try:
        # What is there is ended where a later one fails.
        pis.extend(make_pi(lab, recovery, number) for number in (1, 2))
        for pi in pis:
            pi.bench.rows = pi.on_bench(lab, "rpiflash targets --labgrid exporter --user root")
        lab.start()
        for pi in pis:
            # An administrator's way: the bench server prints a script, and labgrid-client is run by it.
            script = pi.on_bench(lab, "rpiflash targets --labgrid places")
            for _ in range(2):
                subprocess.run(["/bin/sh", "-c", script], env=lab.env, check=True, stdout=subprocess.DEVNULL)
        yield lab, pis
    finally:
        lab.stop()
        for pi in pis:
            pi.network.end()
        # Cards and stores are some hundred MB.
        for pi in pis:
            for name in ("target", "store", "tftp"):
                shutil.rmtree(pi.bench.folder / name, ignore_errors=True)


def until(client: subprocess.Popen[str], text: str) -> None:
    """Reads what the client says until it says this."""
    assert client.stdout is not None
    said = ""
    while text not in said:
        line = client.stdout.readline()
        assert line, said
        said += line


def bootstrap(lab: Lab, environment: Path) -> subprocess.Popen[str]:
    """labgrid-client that flashes everything anew, so that there is time to disturb it."""
    return subprocess.Popen(
        [str(BIN / "labgrid-client"), "-v", "-c", str(environment), "bootstrap", str(IMAGE)],
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environment(lab: Lab, *names: str, options: str = "[]") -> Path:
    file = lab.environment(IMAGE, *names)
    file.write_text(file.read_text().replace("        image: os\n", f"        image: os\n        options: {options}\n"))
    return file


def test_pytest_flashes_a_real_target_and_proves_it(pis: tuple[Lab, list[Pi]], tmp_path: Path) -> None:
    lab, (pi, _) = pis
    test = tmp_path / "test_camera.py"
    test.write_text(
        "def test_camera(strategy, target):\n"
        "    strategy.transition('flashed')\n"
        "    flashed = strategy.flashed\n"
        "    assert flashed.result['proven'] and flashed.result['written'] > 10_000_000\n"
        "    assert flashed.result['up_seconds'] > 0 and len(flashed.image_id) == 64\n"
        "    again = target.get_driver('RPiFlashDriver').flash()\n"
        "    assert again.image_id == flashed.image_id\n"
        "    assert again.result['written'] < flashed.result['written'] / 10\n"
    )
    with acquired(lab, pi.name):
        done = subprocess.run(
            [str(BIN / "pytest"), "-p", "no:cacheprovider", "--lg-env", str(environment(lab, pi.name)), str(test)],
            env=lab.env,
            capture_output=True,
            text=True,
            timeout=2 * FLASH_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    record = pi.runs(lab)[-1]["record"]
    assert isinstance(record, dict)
    assert record["labels"] == {"labgrid_user": f"alice@{os.uname().nodename}", "labgrid_place": pi.name}
    assert pi.is_clean(lab)


def test_places_have_the_tags_of_the_inventory(pis: tuple[Lab, list[Pi]]) -> None:
    lab, (pi, _) = pis
    assert lab.client("places").split() == ["camera-1", "camera-2"]
    shown = lab.client("-p", pi.name, "show")
    assert "tags: camera=yes" in shown
    assert shown.count("bench1/camera-1/*") == 1


@pytest.mark.parametrize("who", ["client", "connection", "rpiflash"])
def test_whoever_goes_nothing_is_left_behind(pis: tuple[Lab, list[Pi]], who: str) -> None:
    lab, (pi, _) = pis
    with acquired(lab, pi.name):
        client = bootstrap(lab, environment(lab, pi.name, options='["--full"]'))
        until(client, "chunk 2 of ")
        if who == "client":
            client.kill()
        elif who == "connection":
            # The sshd that ssh's ProxyCommand is.
            os.kill(int((pi.bench.folder / "sshd.pid").read_text()), signal.SIGKILL)
        else:
            os.kill(int((pi.bench.folder / "rpiflash.pid").read_text()), signal.SIGKILL)
        said = client.communicate(timeout=90)[0]
        assert client.returncode == (-9 if who == "client" else 1), said
        if who == "connection":
            assert "the connection to bench1 was lost" in said or "ssh to bench1 was ended" in said, said
        assert within(90, lambda: pi.is_clean(lab) or who == "rpiflash")
        # Whatever is on the card now, the next flash makes it right.
        client = bootstrap(lab, environment(lab, pi.name))
        said = client.communicate(timeout=FLASH_SECONDS)[0]
        assert client.returncode == 0, said
    assert pi.is_clean(lab)
    if who != "rpiflash":
        record = pi.runs(lab)[-2]["record"]
        assert isinstance(record, dict)
        assert record["status"] == 130


def test_exporter_and_coordinator_may_restart_while_a_target_is_flashed(pis: tuple[Lab, list[Pi]]) -> None:
    lab, (pi, _) = pis
    with acquired(lab, pi.name):
        client = bootstrap(lab, environment(lab, pi.name, options='["--full"]'))
        until(client, "chunk 2 of ")
        assert pi.bench.service is not None
        assert lab.coordinator is not None
        pi.bench.service.end(signal.SIGKILL)
        lab.start_exporter(pi.bench)
        # A coordinator that is killed forgets who had acquired what.
        lab.coordinator.end(signal.SIGKILL)
        lab.start_coordinator()
        said = client.communicate(timeout=FLASH_SECONDS)[0]
        assert "proven" in said, said
        pi.bench.service.end()
        lab.start_exporter(pi.bench)
        lab.client("-p", pi.name, "acquire")


def test_two_benches_are_flashed_at_once(pis: tuple[Lab, list[Pi]]) -> None:
    lab, both = pis
    code = (
        "targets = [env.get_target(role) for role in ('main', 'camera-2')]\n"
        "seen = []\n"
        "results = flash_together(targets, on_event=lambda bench, event: seen.append((bench, event['event'])))\n"
        "say([result.result['proven'] for result in results.values()])\n"
        "order = [bench for bench, event in seen if event in ('reset', 'result')]\n"
        "say(set(order[:2]) == {'bench1', 'bench2'})\n"
    )
    with acquired(lab, "camera-1", "camera-2"):
        done = python(lab, environment(lab, "camera-1", "camera-2"), code, FLASH_SECONDS)
    assert said(done) == ["[True, True]", "True"]
    assert all(pi.is_clean(lab) for pi in both)
