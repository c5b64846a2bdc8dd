"""API processes: gunicorn with the project's configuration."""

import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from devstack import ports, processes
from devstack.account import Account
from devstack.http_client import status_of
from devstack.part import Part
from devstack.ports import LOOPBACK
from devstack.workspace import REPOSITORY, Workspace


class Api(Part):
    """One gunicorn master with its workers."""

    program = "gunicorn"
    stop_patience_s = 25.0  # more than gunicorn's graceful_timeout

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        *,
        port: int | None,
        workers: int,
        application: str,
        ready_path: str,
        settings: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(workspace, name)
        self.wanted_port = port
        self.workers = workers
        self.application = application
        self.ready_path = ready_path
        self.settings = settings

    @property
    def port(self) -> int:
        """Return the requested port, or one chosen for this process."""
        return self.wanted_port or ports.assigned(self.workspace, self.name)

    @property
    def url(self) -> str:
        """Return the URL of this process."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def folder(self) -> Path:
        """Return a folder of the current account: the API runs as the user who started it, with access to the code."""
        path = self.workspace.runtime / self.name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    @property
    def environment(self) -> Mapping[str, str]:
        """Return our environment, the stack's settings, and what only this process needs."""
        return {
            **os.environ,
            "GUNICORN_WORKERS": str(self.workers),
            **self.settings(),
            "BIND": f"{LOOPBACK}:{self.port}",
            "PORT": str(self.port),
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / "metrics"),
            "PYTHONUNBUFFERED": "1",
        }

    def free_port(self) -> None:
        """Require the requested port to be free."""
        if self.wanted_port:
            ports.require_free(self.wanted_port)
        else:
            super().free_port()

    def prepare(self) -> None:
        """Create the folder for metrics, and remove a stale pid file: none of our processes is running now."""
        (self.folder / "metrics").mkdir(exist_ok=True)
        (self.folder / "gunicorn.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        """Return the gunicorn command; the path of its pid file identifies our processes."""
        configuration = str(REPOSITORY / "config" / "gunicorn.conf.py")
        pid_file = str(self.folder / "gunicorn.pid")
        options = ["--pid", pid_file, "-c", configuration, "--chdir", str(REPOSITORY)]
        return [sys.executable, "-m", "gunicorn", *options, self.application]

    def is_ready(self) -> bool:
        """Return whether the application is ready: its database, its cache, its migrations."""
        return status_of(self.url, self.ready_path) == HTTPStatus.OK

    def spawn(self) -> int:
        """Start gunicorn as the current account."""
        return processes.spawn(Account(), self.command(), REPOSITORY, self.log, self.environment)
