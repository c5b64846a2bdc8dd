"""Background work: Celery's workers and beat."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from devstack import processes
from devstack.account import Account
from devstack.part import Part
from devstack.workspace import REPOSITORY, Workspace


class Celery(Part):
    """One Celery process of the project, run by the user who started it."""

    program = "celery"
    stop_patience_s = 30.0  # a worker finishes its running jobs

    def __init__(
        self, workspace: Workspace, name: str, *, settings: Callable[[], Mapping[str, str]], application: str
    ) -> None:
        super().__init__(workspace, name)
        self.settings = settings
        self.application = application

    @property
    def folder(self) -> Path:
        """Return a folder of the current account, with access to the code."""
        path = self.workspace.runtime / self.name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    @property
    def environment(self) -> Mapping[str, str]:
        """Return our environment and the stack's settings."""
        return {**os.environ, **self.settings(), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)}

    @property
    def port(self) -> int:
        """None: it does not listen."""
        return 0

    def free_port(self) -> None:
        """Do nothing: it needs no port."""

    def prepare(self) -> None:
        """Remove a stale pid file: none of our processes is running at this point."""
        (self.folder / "celery.pid").unlink(missing_ok=True)

    def subcommand(self) -> list[str]:
        """Return the Celery subcommand with its options."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return the Celery command; the path of its pid file identifies our processes."""
        pid_file = f"--pidfile={self.folder / 'celery.pid'}"
        return [
            sys.executable,
            "-m",
            "celery",
            "-A",
            self.application,
            *self.subcommand(),
            pid_file,
            "--loglevel=WARNING",
        ]

    def is_ready(self) -> bool:
        """Return whether the process runs; `/health/` reports its heartbeat, which comes later."""
        return self.is_running()

    def spawn(self) -> int:
        """Start Celery as the current account."""
        return processes.spawn(Account(), self.command(), REPOSITORY, self.log, self.environment)


class Worker(Celery):
    """One worker for all queues, with two processes."""

    def subcommand(self) -> list[str]:
        """Return the worker subcommand for all queues."""
        return [
            "worker",
            "--concurrency=2",
            f"--hostname={self.name}@{self.workspace.directory.name}",
            "--without-gossip",
        ]


class Beat(Celery):
    """The Celery beat."""

    def subcommand(self) -> list[str]:
        """Return the beat subcommand."""
        return ["beat"]
