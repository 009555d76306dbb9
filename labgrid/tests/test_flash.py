"""The truth: real flashes of virtual targets on two bench servers through labgrid.

The folder that RPIFLASH_BUILD names has the demo's image and U-Boot for QEMU, RPIFLASH_BIN the programs; both are made
by make labgrid-test.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import BIN, Lab, within
from test_labgrid import acquired, start_python
from virtual import FLASH_SECONDS, Pi, bootstrap, environment, until, virtual_lab


@pytest.fixture(scope="module")
def pis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, list[Pi]]]:
    with virtual_lab(tmp_path_factory.mktemp("flash"), [1, 1]) as (lab, pis):
        yield lab, pis


def test_pytest_flashes_a_real_target_and_proves_it(pis: tuple[Lab, list[Pi]], tmp_path: Path) -> None:
    lab, (pi, _) = pis
    test = tmp_path / "test_camera.py"
    test.write_text(
        "def test_camera(strategy, target):\n"
        "    strategy.transition('flashed')\n"
        "    flashed = strategy.flashed\n"
        "    assert flashed.result['proven'] and flashed.result['written'] > 10_000_000\n"
        f"    assert ('up_seconds' in flashed.result) == {pi.machine != 'sandbox'}\n"
        "    assert len(flashed.image_id) == 64\n"
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
        client = bootstrap(lab, environment(lab, pi.name, options=["--full"]))
        until(client, "chunk 2 of ")
        with pi.paused(lab):
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
        client = bootstrap(lab, environment(lab, pi.name, options=["--full"]))
        until(client, "chunk 2 of ")
        assert pi.bench.service is not None
        assert lab.coordinator is not None
        with pi.paused(lab):
            pi.bench.service.end(signal.SIGKILL)
            lab.start_exporter(pi.bench)
            # A coordinator that is killed forgets who had acquired what.
            lab.coordinator.end(signal.SIGKILL)
            lab.start_coordinator()
            assert client.poll() is None
        said = client.communicate(timeout=FLASH_SECONDS)[0]
        assert "proven" in said, said
        # An exporter ends when its coordinator does; systemd would start it again.
        for bench in (other.bench for other in pis[1]):
            assert bench.service is not None
            bench.service.end()
            lab.start_exporter(bench)
        lab.client("-p", pi.name, "acquire")


def test_two_benches_are_flashed_at_once(pis: tuple[Lab, list[Pi]]) -> None:
    lab, both = pis
    code = (
        "targets = [env.get_target(role) for role in ('main', 'camera-2')]\n"
        "results = flash_together(targets)\n"
        "say([(result.row, result.result['proven']) for result in results.values()])\n"
    )
    with acquired(lab, "camera-1", "camera-2"):
        client = start_python(lab, environment(lab, "camera-1", "camera-2"), code)
        # Neither comes to its end before the other has begun.
        with both[0].paused(lab), both[1].paused(lab):
            assert within(FLASH_SECONDS, lambda: client.poll() is not None or all(pi.is_running(lab) for pi in both))
        output = client.communicate(timeout=FLASH_SECONDS)[0]
    assert client.returncode == 0, output
    assert "> [('camera-1', True), ('camera-2', True)]\n" in output
    assert all(pi.is_clean(lab) for pi in both)
