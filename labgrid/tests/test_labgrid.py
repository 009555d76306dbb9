"""The driver in a real labgrid: coordinator, exporters, sshd and pytest; rpiflash is a fake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import asked
from lab import BIN, Lab, within


@contextmanager
def acquired(lab: Lab, *places: str) -> Iterator[None]:
    for place in places:
        lab.client("-p", place, "acquire")
    try:
        yield
    finally:
        for place in places:
            lab.client("-p", place, "release")


def ended(lab: Lab, row: str) -> list[object]:
    return [line[2] for line in asked(lab.benches[0]) if line[:2] == ["ended", row]]


def start_python(lab: Lab, environment: Path, code: str) -> subprocess.Popen[str]:
    """A client of its own: labgrid keeps its session in its process."""
    start = "from labgrid import Environment\nfrom labgrid_rpiflash import *\ndef say(*words): print('>', *words)\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{start}env = Environment({str(environment)!r})\n{code}"],
        # Not where the package's source is: the wheel is tested.
        cwd=lab.folder,
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def python(lab: Lab, environment: Path, code: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    client = start_python(lab, environment, code)
    output = client.communicate(timeout=timeout)[0]
    return subprocess.CompletedProcess(client.args, client.returncode, output, "")


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the code said: labgrid's rsync shows its progress on the same output."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line[2:] for line in done.stdout.splitlines() if line.startswith("> ")]


class TestClient:
    def test_bootstrap_copies_the_image_and_flashes(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1")
        with acquired(lab, "camera-1"):
            lab.client("-c", str(environment), "bootstrap", str(image))
        words = [line for line in asked(lab.benches[0]) if line[:1] == ["flash"]][-1]
        path = Path(str(words[1]))
        assert words[2:6] == ["camera-1", "--json", "--quiet", "--end-with-stdin"]
        # Who flashed, and for which place, is in the run's record.
        assert words[6::2] == ["--label", "--label"]
        assert str(words[7]).startswith("labgrid_user=alice@")
        assert words[9] == "labgrid_place=camera-1"
        # A path with a blank came through two shells, and the file with it.
        assert path != image
        assert path.name == image.name
        assert path.read_bytes() == image.read_bytes()

    def test_a_failed_flash_is_one_sentence(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "status-2")
        with acquired(lab, "status-2"):
            done = lab.run_client("-c", str(environment), "bootstrap", str(image))
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "labgrid-client: target status-2 failed with \\x1b[31m 2; its record on the bench server is "
            "20261129-1500-status-2"
        ]

    def test_a_state_that_cannot_be_reached_is_one_sentence(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "status-2")
        with acquired(lab, "status-2"):
            done = lab.run_client("-c", str(environment), "-s", "shell", "ssh", "true")
            unknown = lab.run_client("-c", str(environment), "-s", "off", "ssh", "true")
        assert done.returncode == unknown.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            "labgrid-client: cannot reach the state shell: target status-2 failed with "
        )
        assert unknown.stderr.splitlines() == [
            "labgrid-client: 'off' is not a state; the states are unknown, flashed, shell"
        ]

    def test_one_command_flashes_and_logs_in(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1")
        with acquired(lab, "camera-1"):
            done = lab.client("-c", str(environment), "-s", "shell", "ssh", "hostname")
        expected = "camera-1.target" if os.getuid() == 0 else os.uname().nodename
        assert done.splitlines()[-1] == expected

    def test_power_cycles_and_refuses_the_rest_in_one_sentence(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1")
        text = environment.read_text().replace("      SSHDriver", "      RPiFlashPowerDriver: {}\n      SSHDriver")
        environment.write_text(text)
        with acquired(lab, "camera-1"):
            lab.client("-c", str(environment), "power", "cycle")
            refused = [lab.run_client("-c", str(environment), "power", action) for action in ("off", "on", "get")]
        assert asked(lab.benches[0])[-1] == ["reset", "camera-1", "--quiet", "--end-with-stdin"]
        for done in refused:
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert "rpiflash resets a target and cannot switch its power" in done.stderr

    def test_without_the_import_the_class_is_unknown(self, lab: Lab) -> None:
        """The trap that docs/labgrid.md tells of."""
        with acquired(lab, "camera-1"):
            done = lab.run_client("-p", "camera-1", "ssh", "true")
        assert done.returncode != 0
        assert "RPiFlashTarget" in done.stderr

    def test_a_place_is_reserved_by_the_target_s_tag(self, lab: Lab) -> None:
        lab.client("reserve", "--wait", "sensor=yes")
        try:
            token = lab.client("reservations").split("token")[0].split("'")[1]
            lab.client("-p", "+", "acquire", env={"LG_TOKEN": token})
            assert "acquired: desk/alice" in lab.client("-p", "sensor-1", "show")
        finally:
            lab.client("-p", "sensor-1", "release")
            lab.client("cancel-reservation", token)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_client_that_goes_ends_its_flash(self, lab: Lab, image: Path, number: signal.Signals) -> None:
        environment = lab.environment(image, "slow")
        before = len(ended(lab, "slow"))
        with acquired(lab, "slow"):
            client = subprocess.Popen(
                [str(BIN / "labgrid-client"), "-v", "-c", str(environment), "bootstrap", str(image)],
                env=lab.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # A shell starts its background jobs with SIGINT ignored, and Python then leaves it so.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            assert client.stdout is not None
            said = ""
            while "chunk 1 of 2" not in said:
                line = client.stdout.readline()
                assert line, said
                said += line
            client.send_signal(number)
            rest = client.communicate(timeout=30)[0]
            # labgrid-client itself takes SIGTERM for an exit with status 0; an interrupted flash is no success.
            assert client.returncode == {signal.SIGINT: 1, signal.SIGTERM: 1, signal.SIGKILL: -9}[number], rest
            assert within(10, lambda: len(ended(lab, "slow")) == before + 1)
        assert ended(lab, "slow")[-1] == 130

    def test_a_bench_server_that_ssh_does_not_know_is_one_sentence(self, lab: Lab, image: Path) -> None:
        known = lab.folder / "known_hosts"
        text = known.read_text()
        environment = lab.environment(image, "sensor-1")
        with acquired(lab, "sensor-1"):
            try:
                known.write_text("")
                done = lab.run_client("-c", str(environment), "bootstrap", str(image))
            finally:
                known.write_text(text)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("labgrid-client: cannot reach the bench server bench2 by ssh: ")
        assert "Host key verification failed" in done.stderr


class TestLibrary:
    def test_pytest_s_plugin_gives_target_and_strategy(self, lab: Lab, image: Path, tmp_path: Path) -> None:
        environment = lab.environment(image, "camera-1")
        test = tmp_path / "test_camera.py"
        test.write_text(
            "def test_camera(strategy, target):\n"
            "    strategy.transition('shell')\n"
            "    assert strategy.flashed.result['proven']\n"
            "    command = target.get_driver('CommandProtocol')\n"
            "    assert command.run_check('echo $((6 * 7))') == ['42']\n"
            "    strategy.transition('flashed')\n"
        )
        before = len([line for line in asked(lab.benches[0]) if line[:2] == ["ended", "camera-1"]])
        with acquired(lab, "camera-1"):
            done = subprocess.run(
                [str(BIN / "pytest"), "-p", "no:cacheprovider", "--lg-env", str(environment), str(test)],
                env=lab.env,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        # To flashed from shell is a flash: what ran there may have written.
        assert len([line for line in asked(lab.benches[0]) if line[:2] == ["ended", "camera-1"]]) == before + 2

    def test_many_targets_on_two_servers_at_once(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1", "camera-2", "sensor-1")
        code = (
            "targets = [env.get_target(role) for role in ('main', 'camera-2', 'sensor-1')]\n"
            "results = flash_together(targets, None, '--canary')\n"
            "say([(target.name, result.row, result.run) for target, result in results.items()])\n"
        )
        before = [len(asked(bench)) for bench in lab.benches[:2]]
        with acquired(lab, "camera-1", "camera-2", "sensor-1"):
            done = python(lab, environment, code)
        assert said(done) == [
            "[('main', 'camera-1', '20261129-1500-camera-1'), ('camera-2', 'camera-2', '20261129-1500-camera-2'), "
            "('sensor-1', 'sensor-1', '20261129-1500-sensor-1')]"
        ]
        # One flash for each bench server, which prepares the image once for all its targets.
        flashes = [
            [line for line in asked(bench)[count:] if line[0] == "flash"]
            for bench, count in zip(lab.benches, before, strict=False)
        ]
        assert [len(lines) for lines in flashes] == [1, 1]
        assert flashes[0][0][2:4] == ["camera-1", "camera-2"]
        assert flashes[1][0][2] == "sensor-1"
        assert all(line[0][-1] == "--canary" for line in flashes)

    def test_of_many_targets_one_that_fails_is_named_and_the_others_are_flashed(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1", "status-2", "sensor-1")
        code = (
            "targets = [env.get_target(role) for role in ('main', 'status-2', 'sensor-1')]\n"
            "try:\n"
            "    flash_together(targets)\n"
            "except RPiFlashGroupError as error:\n"
            "    say(error.status, [t.name for t in error.errors], [t.name for t in error.results], error)\n"
        )
        with acquired(lab, "camera-1", "status-2", "sensor-1"):
            done = python(lab, environment, code)
        assert said(done)[0].startswith(
            "2 ['status-2'] ['main', 'sensor-1'] 1 of 3 targets failed: status-2: target status-2 failed with "
        )

    def test_a_server_that_cannot_be_reached_is_told_before_any_flash_starts(self, lab: Lab, image: Path) -> None:
        known = lab.folder / "known_hosts"
        text = known.read_text()
        environment = lab.environment(image, "camera-1", "sensor-1")
        code = (
            "targets = [env.get_target(role) for role in ('main', 'sensor-1')]\n"
            "try:\n"
            "    flash_together(targets)\n"
            "except RPiFlashError as error:\n"
            "    say(error)\n"
        )
        before = len(asked(lab.benches[0]))
        with acquired(lab, "camera-1", "sensor-1"):
            try:
                known.write_text("".join(line for line in text.splitlines(True) if not line.startswith("bench2 ")))
                done = python(lab, environment, code)
            finally:
                known.write_text(text)
        assert said(done)[0].startswith("cannot reach the bench server bench2 by ssh: ")
        # All images are copied first: bench1 has not begun.
        assert len(asked(lab.benches[0])) == before

    def test_the_console_is_read_and_never_written(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "camera-1", "ends")
        text = environment.read_text().replace("      SSHDriver", "      RPiFlashConsoleDriver: {}\n      SSHDriver")
        environment.write_text(text)
        code = (
            "console = env.get_target('main').get_driver('RPiFlashConsoleDriver')\n"
            "say(console.expect('U-Boot ([0-9.]+)')[2][1])\n"
            "try:\n"
            "    console.sendline('reboot')\n"
            "except RPiFlashError as error:\n"
            "    say(error)\n"
            "env.get_target('main').deactivate(console)\n"
            "console = env.get_target('ends').get_driver('RPiFlashConsoleDriver')\n"
            "try:\n"
            "    console.expect('never')\n"
            "except RPiFlashError as error:\n"
            "    say(error)\n"
        )
        with acquired(lab, "camera-1", "ends"):
            done = python(lab, environment, code)
        lines = said(done)
        assert lines[0] == "b'2026.07'", done.stdout + done.stderr
        assert lines[1].endswith("rpiflash only listens to a target's console; bind a SerialDriver to type")
        assert lines[2] == "rpiflash console on bench2 ended with status 0"
        assert within(10, lambda: ["console ended", "camera-1"] in asked(lab.benches[0]))

    def test_errors_have_a_status_and_a_run(self, lab: Lab, image: Path) -> None:
        environment = lab.environment(image, "gone", "garbage", "unproven", "reset-status-9")
        code = (
            "for role in ('main', 'garbage', 'unproven'):\n"
            "    try:\n"
            "        env.get_target(role).get_driver('RPiFlashDriver').flash()\n"
            "    except RPiFlashError as error:\n"
            "        say(error.status, error.run, error)\n"
            "try:\n"
            "    env.get_target('reset-status-9').get_driver('RPiFlashDriver').reset()\n"
            "except RPiFlashError as error:\n"
            "    say(error.status, error)\n"
            "try:\n"
            "    env.get_target('main').get_driver('RPiFlashDriver').flash('/no/such.img')\n"
            "except RPiFlashError as error:\n"
            "    say(error.status, error)\n"
        )
        with acquired(lab, "gone", "garbage", "unproven", "reset-status-9"):
            done = python(lab, environment, code)
        lines = said(done)
        assert len(lines) == 5, done.stdout + done.stderr
        assert lines[0].startswith(
            "None 20261129-1500-gone the connection to bench1 was lost, or rpiflash was killed there; "
        )
        assert lines[1].startswith("None None bench1: 'Welcome to bench1!' is not an event of rpiflash; ")
        assert lines[2].startswith("0 20261129-1500-unproven status 0, and not proven; was it a dry run?")
        assert lines[3] == ("9 rpiflash: cannot reset target reset-status-9: line 17 is used by gpioset")
        assert lines[4] == "None image /no/such.img not found"

    def test_an_exporter_that_restarts_does_not_touch_a_flash(self, lab: Lab, image: Path) -> None:
        bench = lab.benches[1]
        environment = lab.environment(image, "gate")
        with acquired(lab, "gate"):
            client = subprocess.Popen(
                [str(BIN / "labgrid-client"), "-c", str(environment), "bootstrap", str(image)], env=lab.env
            )
            assert within(60, lambda: any(line[:1] == ["flash"] and "gate" in line for line in asked(bench)))
            assert bench.service is not None
            bench.service.end()
            lab.start_exporter(bench)
            (bench.folder / "log.gate").touch()
            assert client.wait(60) == 0
