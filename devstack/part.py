"""What all parts of the stack have in common: start once, find the running process, stop."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from devstack import interruption, ports, processes
from devstack.errors import StackError
from devstack.workspace import Workspace

LOG_TAIL_LINES = 12
# How `make test-clocks` shifts the clock of every process.
CLOCK = ("LD_PRELOAD", "CLOCK_SHIFT_S")


class Part:
    """One server of the stack."""

    program: str
    stop_signal = signal.SIGTERM
    start_patience_s = 60.0
    stop_patience_s = 20.0

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = name

    @property
    def port(self) -> int:
        """Return the part's port on the loopback address."""
        return ports.assigned(self.workspace, self.name)

    @property
    def folder(self) -> Path:
        """Return the part's own folder, which is also its working folder."""
        return self.workspace.folder(self.name)

    @property
    def log(self) -> Path:
        """Return the log file of the part."""
        return self.workspace.folder("logs") / f"{self.name}.log"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment of the part's process."""
        shifted = {name: os.environ[name] for name in CLOCK if name in os.environ}
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **shifted}

    def require(self) -> None:
        """Find the part's program, before anything is started.

        :raises StackError: it is missing.
        """

    def prepare(self) -> None:
        """Write the files that the part reads at its start."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return the command that runs the part in the foreground."""
        raise NotImplementedError

    def inputs(self) -> str:
        """Return everything that determines the part's configuration; when it changes, the part restarts."""
        return ""

    def is_ready(self) -> bool:
        """Return whether the part is ready to work."""
        return ports.is_open(self.port)

    def process(self) -> psutil.Process | None:
        """Return the part's running process, whichever command started it."""
        record = self.workspace.read_json(f"{self.name}.pid.json")
        return processes.find(int(record["pid"]), float(record["started"])) if record else None

    def running_port(self) -> int | None:
        """Return the port on which the part runs, which may differ from the requested one; None when stopped."""
        return int(self.workspace.read_json(f"{self.name}.pid.json")["port"]) if self.is_running() else None

    def is_running(self) -> bool:
        """Return whether the part's process runs."""
        return self.process() is not None

    def start(self) -> None:
        """Start the part unless it runs, is ready and has this configuration; return when it is ready.

        :raises StackError: it does not become ready; the message ends with its last output.
        """
        if pid := self.begin():
            self.wait_until_ready(pid)

    def begin(self) -> int | None:
        """Start the part's process unless it runs, is ready and has this configuration; return its id."""
        fingerprint = hashlib.sha256(f"{self.command()}{self.inputs()}".encode()).hexdigest()
        record = self.workspace.read_json(f"{self.name}.pid.json")
        if record.get("fingerprint") == fingerprint and self.is_running() and self.is_ready():
            return None
        self.stop()
        self.free_port()
        self.prepare()
        # The port may have changed, and with it the command.
        fingerprint = hashlib.sha256(f"{self.command()}{self.inputs()}".encode()).hexdigest()
        with interruption.deferred():
            pid = self.spawn()
            self.workspace.write_json(
                f"{self.name}.pid.json",
                {"pid": pid, "started": processes.started(pid), "port": self.port, "fingerprint": fingerprint},
            )
        return pid

    def spawn(self) -> int:
        """Start the part's process and return its id."""
        return processes.spawn(self.workspace.account, self.command(), self.folder, self.log, self.environment)

    def free_port(self) -> None:
        """Choose another port when another program listens on ours."""
        if not ports.is_free_soon(self.port):
            ports.reassign(self.workspace, self.name)

    def wait_until_ready(self, pid: int) -> None:
        """Wait until the part is ready.

        :raises StackError: it has ended, or the time limit has passed.
        """
        deadline = time.monotonic() + self.start_patience_s
        while time.monotonic() < deadline:
            if self.process() is None:
                code = processes.exit_code(pid)
                raise StackError(f"{self.name} ended while starting (exit code {code}):{self.tail()}")
            if self.is_ready():
                return
            time.sleep(processes.POLL_S)
        raise StackError(f"{self.name} is not ready after {self.start_patience_s:.0f} s:{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of the part's log, indented."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            lines = []
        return "".join(f"\n    {line}" for line in [*lines, f"(more in {self.log})"])

    def request_stop(self) -> None:
        """Request the part to stop, without waiting."""
        if process := self.process():
            with contextlib.suppress(psutil.Error):
                process.send_signal(self.stop_signal)

    def stop(self) -> None:
        """Stop the part, and processes that a crash has left."""
        process = self.process()
        if process is not None:
            processes.end([process], self.stop_signal, self.stop_patience_s)
        processes.end(self.leftovers(), signal.SIGKILL, 10)
        (self.workspace.directory / f"{self.name}.pid.json").unlink(missing_ok=True)

    def leftovers(self) -> list[psutil.Process]:
        """Return processes of the part that are not recorded."""
        return processes.of_folder(self.program, self.folder)

    def kill(self) -> None:
        """Kill the part and its children at once, as a crash would."""
        process = self.process()
        processes.kill([*([process] if process else []), *self.leftovers()])
        processes.kill(self.leftovers())  # a child that started meanwhile; it would hold the port
