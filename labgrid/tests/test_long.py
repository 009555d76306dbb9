"""What takes long: a process of the chain killed at random moments, and many targets at once. Skipped without a number.

    RPIFLASH_KILLS=50 scripts/labgrid-test -- -s -k any_moment    (15 s each)
    RPIFLASH_MANY=16 scripts/labgrid-test -- -s -k beside_one

RPIFLASH_SEED makes the moments; by default it is the time, which is printed. Both use the machine sandbox.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from chain import chain, kill
from images import image_on, make_image
from lab import BIN, Lab, Service, within
from test_labgrid import acquired, python, said
from virtual import FLASH_SECONDS, IMAGE, PROGRAMS, Pi, environment, virtual_lab

KILLS = int(os.environ.get("RPIFLASH_KILLS", "0"))
MANY = int(os.environ.get("RPIFLASH_MANY", "0"))
START_SECONDS = 120
TEST = """
def test_flash(strategy):
    strategy.transition("flashed")
    assert strategy.flashed.result["proven"]
"""


def start_pytest(lab: Lab, pi: Pi, test: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "pytest"), "-p", "no:cacheprovider", "--lg-env", str(environment(lab, pi.name)), str(test)],
        env=lab.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def starts(lab: Lab, pi: Pi) -> bool:
    """Whether the card's system is started, where the network has nothing for the target."""
    nothing = pi.bench.folder / "nothing"
    nothing.mkdir(exist_ok=True)
    serve = ["serve", "--root", str(nothing), "--listen", "192.168.77.1:69", "--socket", str(nothing / "socket")]
    command = ["nsenter", f"--net=/proc/{pi.network.process.pid}/ns/net", str(PROGRAMS / "rpiflash"), *serve]
    server = Service(command, pi.bench.folder, "serve", "on UDP port 69", lab.env)
    try:
        pi.virtual_target(lab, "reset")
        # Where sandbox starts a kernel it returns: it has no arm.
        pi.virtual_target(lab, "wait", "^rpiflash: cannot boot: ", "--timeout", str(START_SECONDS))
    finally:
        server.end()
        pi.virtual_target(lab, "stop")
    begin = int((pi.folder / "console.start").read_text())
    return b"rpiflash: starting /" in (pi.folder / "console.log").read_bytes()[begin:]


@pytest.mark.skipif(KILLS == 0, reason="set RPIFLASH_KILLS to the number of kills")
def test_kill_any_process_at_any_moment(tmp_path: Path) -> None:
    seed = int(os.environ.get("RPIFLASH_SEED", str(int(time.time()))))
    print(f"RPIFLASH_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311
    test = tmp_path / "test_flash.py"
    test.write_text(TEST)
    ended: Counter[str] = Counter()
    with virtual_lab(tmp_path / "lab", [1], "sandbox") as (lab, (pi,)):
        images = [make_image(IMAGE, tmp_path / f"{number}.img", number, 12) for number in (1, 2)]
        lab.flash_options += ["--request-timeout", "20s", "--outcome-timeout", "20s"]
        seconds = flash_seconds = 0.0
        lab.client("-p", pi.name, "acquire")
        for lab.image in images:
            # Both images are copied and prepared once; how long a flash then takes, undisturbed.
            begin = time.monotonic()
            client = start_pytest(lab, pi, test)
            assert within(START_SECONDS, lambda: "rpiflash" in chain(lab, pi))
            flash_begin = time.monotonic()
            output = client.communicate(timeout=FLASH_SECONDS)[0]
            assert client.returncode == 0, output
            seconds, flash_seconds = time.monotonic() - begin, time.monotonic() - flash_begin
        number = 0
        while number < KILLS:
            lab.image = images[number % 2]
            staged = set(pi.staged())
            begin = time.monotonic()
            client = start_pytest(lab, pi, test)
            # Of most of its time a pytest prepares; every other moment is one of the flash.
            of_flash = number % 4 >= 2
            if of_flash:
                assert within(START_SECONDS, lambda: "rpiflash" in chain(lab, pi)), number
            time.sleep(dice.uniform(0, flash_seconds if of_flash else seconds))
            moment = time.monotonic() - begin
            if client.poll() is not None:
                # It was faster than the first ones: the machine has less to do.
                output = client.communicate()[0]
                assert client.returncode == 0, output
                seconds, flash_seconds = seconds * 0.8, flash_seconds * 0.8
                continue
            number += 1
            kind, process = dice.choice([(kind, pid) for kind, pids in sorted(chain(lab, pi).items()) for pid in pids])
            kill(process, signal.SIGKILL)
            output = client.communicate(timeout=FLASH_SECONDS)[0]
            # Without a coordinator or a place's resources it is labgrid that says so.
            whose = r"labgrid[.]" if kind in ("coordinator", "exporter") else r"labgrid_rpiflash[.]"
            sentences = re.findall(rf"^E +((?:{whose}|labgrid_rpiflash[.])[\w.]+: .+)", output, re.MULTILINE)
            last = sentences[-1] if sentences else ""
            when = f"{moment:.1f} s after the start{', in the flash' if of_flash else ''}"
            about = f"{number}: {kind} killed {when}: status {client.returncode}: {last}"
            # The pytest says what happened: it passes, or it fails with a sentence.
            assert client.returncode in ((-signal.SIGKILL,) if kind == "pytest" else (0, 1)), output
            assert client.returncode != 1 or sentences, output
            # No lock stays: another flash could begin.
            dry = f"rpiflash flash {lab.image} {pi.name} --dry-run --quiet 2>&1; echo status $?"
            assert within(90, lambda dry=dry: pi.on_bench(lab, dry).endswith("status 0\n")), (
                about,
                pi.on_bench(lab, dry),
            )
            assert "rpiflash" not in chain(lab, pi), about
            # Nothing new stays; what a killed rpiflash leaves, the next flash removes.
            assert kind == "rpiflash" or set(pi.staged()) <= staged, about
            # What is on the card starts where it is one of the images, every file of it, and only then.
            pi.virtual_target(lab, "stop")
            card = image_on(pi.folder / "card.img", images)
            assert starts(lab, pi) == (card is not None), f"{about}; the card has {card}"
            # Success is the image that was asked for.
            assert client.returncode != 0 or card == lab.image, f"{about}; the card has {card}"
            state = "half written" if card is None else "new" if card == lab.image else "old"
            ended[f"{kind}: status {client.returncode}, {state}"] += 1
            print(f"{about}; the card is {state}", flush=True)
            # As systemd would; an exporter ends with its coordinator, which forgets who had acquired what.
            if kind in ("coordinator", "exporter"):
                assert pi.bench.service is not None
                pi.bench.service.end()
                if kind == "exporter":
                    lab.client("-p", pi.name, "release")
                    lab.start_exporter(pi.bench)
                else:
                    lab.start()
                lab.client("-p", pi.name, "acquire")
        client = start_pytest(lab, pi, test)
        output = client.communicate(timeout=FLASH_SECONDS)[0]
        assert client.returncode == 0, output
        assert image_on(pi.folder / "card.img", images) == lab.image
    print(f"{KILLS} kills: {dict(sorted(ended.items()))}")


@pytest.mark.skipif(MANY == 0, reason="set RPIFLASH_MANY to the number of targets, an even one")
def test_many_targets_on_two_servers_beside_one(tmp_path: Path) -> None:
    limit = FLASH_SECONDS + 60 * MANY
    with virtual_lab(tmp_path / "two", [MANY // 2, MANY // 2], "sandbox", by_client=False) as (lab, pis):
        names = [pi.name for pi in pis]
        roles = ["main", *names[1:]]
        code = (
            "import time\n"
            f"targets = [env.get_target(role) for role in {roles}]\n"
            "begin = time.monotonic()\n"
            f"results = flash_together(targets, None, '--jobs', '{MANY}')\n"
            "say(len(results), f'{time.monotonic() - begin:.1f}')\n"
        )
        with acquired(lab, *names):
            begin = time.monotonic()
            ((count, together),) = (line.split() for line in said(python(lab, environment(lab, *names), code, limit)))
            whole = time.monotonic() - begin
            assert count == str(MANY)
    with virtual_lab(tmp_path / "one", [MANY], "sandbox", by_client=False) as (lab, pis):
        begin = time.monotonic()
        command = f"rpiflash flash {lab.image} --all --no-wait --jobs {MANY} --quiet"
        done = pis[0].on_bench(lab, command, limit)
        assert f"{MANY} of {MANY} proven" in done, done
        alone = time.monotonic() - begin
    print(
        f"{MANY} targets: {together} s on two servers by flash_together, {whole:.1f} s with the client's start and "
        f"end; {alone:.1f} s on one by rpiflash flash"
    )
