"""A labgrid lab on this machine: a real coordinator, real exporters, and bench servers behind a real sshd.

Each bench server is a shell script, enter, that ssh's ProxyCommand runs: sshd -i in namespaces of the bench's own. No
port is opened, nothing of this machine changes. As root, sshd needs a user `sshd`: the bench has a passwd of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
SSHD = os.environ.get("RPIFLASH_SSHD", "/usr/sbin/sshd")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def within(seconds: float, condition: object) -> bool:
    """Whether it came true in that time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Service:
    """A process that says on its output when it is ready; all it says is in a file."""

    def __init__(self, command: Sequence[str], folder: Path, name: str, ready: str, env: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=env | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

        def is_ready() -> bool:
            return ready.encode() in self.log.read_bytes()[start:] or self.process.poll() is not None

        if not within(60, is_ready) or self.process.poll() is not None:
            self.end()
            raise RuntimeError(f"{name} did not say {ready!r}: {self.log.read_text()[-2000:]}")

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ends it, with what it has started."""
        if self.process.poll() is None:
            if self.process.stdin is not None:
                self.process.stdin.close()
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Bench:
    """A bench server; its rpiflash is a script in `folder`/bin."""

    name: str
    folder: Path
    rows: str | None
    """What its exporter exports; None: it has none."""
    namespace: int | None = None
    """A process in whose network it is; None: this one's."""
    service: Service | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def set_rpiflash(self, script: str) -> None:
        program = self.folder / "bin/rpiflash"
        program.write_text("#!/bin/bash\n" + script)
        program.chmod(0o755)


class Lab:
    """Coordinator, exporters, places; ssh, rsync and environment for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = unused_port()
        self.benches: list[Bench] = []
        self.coordinator: Service | None = None
        self.image = Path()
        """What is flashed, and the options that every flash of it has."""
        self.flash_options: list[str] = []
        (folder / "bin").mkdir(parents=True)
        (folder / "coordinator").mkdir()
        self._ssh_files()
        self.env = os.environ | {
            "PATH": f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}",
            "LG_COORDINATOR": f"127.0.0.1:{self.port}",
            "LG_USERNAME": "alice",
            "LG_HOSTNAME": "desk",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
            # labgrid keeps copies by user; and a ssh-agent of the developer's is not the test's.
            "USER": "alice",
            "SSH_AUTH_SOCK": "",
        }

    def _ssh_files(self) -> None:
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
        # labgrid ends its SSHDriver's options with -F none, which would win.
        ssh = self.folder / "bin/ssh"
        ssh.write_text(
            "#!/bin/bash\nwords=()\nwhile [ $# -gt 0 ]; do\n"
            '    if [ "$1 ${2:-}" = "-F none" ]; then shift 2; else words+=("$1"); shift; fi\ndone\n'
            f'exec {shutil.which("ssh")} -F {self.folder}/ssh_config "${{words[@]}}"\n'
        )
        ssh.chmod(0o755)
        passwd = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("sshd:")]
        passwd.append("sshd:x:22222:65534::/run/sshd:/usr/sbin/nologin")
        (self.folder / "passwd").write_text("\n".join(passwd) + "\n")
        (self.folder / "ssh_config").write_text("")
        (self.folder / "known_hosts").write_text("")

    def add_bench(self, name: str, rows: str | None = None, namespace: int | None = None, path: str = "") -> Bench:
        """A bench server that ssh reaches by its name, or as lab@name."""
        bench = Bench(name, self.folder / name, rows, namespace)
        (bench.folder / "bin").mkdir(parents=True, exist_ok=True)
        settings = {
            "PATH": f"{bench.folder}/bin:{path}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "FAKE_LOG": str(bench.log),
        }
        (bench.folder / "sshd_config").write_text(
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {self.folder}/authorized_keys\n"
            "StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nUsePAM no\n"
            "ClientAliveInterval 5\nSetEnv " + " ".join(f"{key}={value}" for key, value in settings.items()) + "\n"
        )
        enter = bench.folder / "enter"
        # Its process, for tests that cut the connection.
        sshd = (
            f"echo $$ >{bench.folder}/sshd.pid; exec {SSHD} -i -f {bench.folder}/sshd_config -E {bench.folder}/sshd.log"
        )
        if os.getuid() == 0:
            network = f"nsenter --net=/proc/{namespace}/ns/net " if namespace else ""
            inner = (
                f"hostname {name}; mount --bind {self.folder}/passwd /etc/passwd; "
                f"mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/sshd; {sshd}"
            )
            enter.write_text(f"#!/bin/bash\nexec {network}unshare --mount --uts bash -ec {shlex.quote(inner)}\n")
        else:
            enter.write_text(f"#!/bin/bash\n{sshd}\n")
        enter.chmod(0o755)
        with (self.folder / "ssh_config").open("a") as file:
            file.write(
                f"Host {name}\n    ProxyCommand {enter}\n    UserKnownHostsFile {self.folder}/known_hosts\n"
                f"    IdentityFile {self.folder}/key\n    IdentitiesOnly yes\n"
            )
        with (self.folder / "known_hosts").open("a") as file:
            file.write(f"{name} {(self.folder / 'host_key.pub').read_text()}")
        self.benches.append(bench)
        return bench

    def start_coordinator(self) -> None:
        self.coordinator = Service(
            [str(BIN / "labgrid-coordinator"), "-l", f"127.0.0.1:{self.port}"],
            self.folder / "coordinator",
            "coordinator",
            "Coordinator ready",
            self.env,
        )

    def start_exporter(self, bench: Bench) -> None:
        """The stock exporter, as a bench server has it: a configuration of drop-ins."""
        configuration = bench.folder / "exporter.yaml"
        drop_ins = bench.folder / "exporter.yaml.d"
        drop_ins.mkdir(exist_ok=True)
        (drop_ins / "rpiflash.yaml").write_text(bench.rows or "")
        configuration.write_text("# for drop_in in drop_ins\n# include drop_in\n# endfor\n")
        command = [
            str(BIN / "labgrid-exporter"), "--name", bench.name, "--hostname", bench.name, str(configuration),
        ]  # fmt: skip
        bench.service = Service(command, bench.folder, "exporter", "Exporter ready", self.env)

    def start(self) -> None:
        self.start_coordinator()
        for bench in self.benches:
            if bench.rows is not None:
                self.start_exporter(bench)

    def stop(self) -> None:
        for service in [bench.service for bench in self.benches] + [self.coordinator]:
            if service is not None:
                service.end()

    def client(self, *words: str, env: dict[str, str] | None = None, timeout: float = 120) -> str:
        """labgrid-client; what it printed."""
        done = self.run_client(*words, env=env, timeout=timeout)
        assert done.returncode == 0, (
            f"labgrid-client {shlex.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def run_client(
        self, *words: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "labgrid-client"), *words],
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def write_places(self, places: Sequence[tuple[str, Bench, str]]) -> None:
        """Places with one tag each, as a coordinator keeps them: labgrid-client would be called three times each."""
        (self.folder / "coordinator/places.yaml").write_text(
            "".join(
                f"{name}:\n  tags: {{{tag}: 'yes'}}\n"
                f"  matches:\n  - {{exporter: {bench.name}, group: {name}, cls: '*'}}\n"
                for name, bench, tag in places
            )
        )

    def environment(self, image: Path, *places: str, name: str = "env.yaml") -> Path:
        """An environment of these places: the first is main, and each has its name."""
        file = self.folder / name
        targets = "".join(
            f"  {role}:\n    resources:\n      RemotePlace:\n        name: {place}\n"
            f"    drivers:\n      RPiFlashDriver:\n        image: os\n"
            f"      SSHDriver: {{}}\n      RPiFlashStrategy: {{}}\n"
            for role, place in zip(["main", *places[1:]], places, strict=True)
        )
        file.write_text(
            f"targets:\n{targets}images:\n  os: {image}\nimports:\n- labgrid_rpiflash\n"
            f"tools:\n  ssh: {self.folder}/bin/ssh\n"
        )
        return file
