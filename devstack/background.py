"""Background work: Celery's workers, and the beat that ticks."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from devstack import processes
from devstack.account import Account
from devstack.part import Part
from devstack.place import REPOSITORY, Place


class Celery(Part):
    """One Celery process of the project, as the person who started it."""

    program = "celery"
    stop_patience_s = 30.0  # a worker lets jobs come to an end

    def __init__(self, place: Place, name: str, *, settings: Callable[[], Mapping[str, str]], application: str) -> None:
        super().__init__(place, name)
        self.settings = settings
        self.application = application

    @property
    def folder(self) -> Path:
        """A folder of our own account, with access to the code."""
        path = self.place.runtime / self.name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    @property
    def environment(self) -> Mapping[str, str]:
        """Our environment, and the stack's settings."""
        return {**os.environ, **self.settings(), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)}

    @property
    def port(self) -> int:
        """None: it serves nobody."""
        return 0

    def free_port(self) -> None:
        """Need no port."""

    def prepare(self) -> None:
        """Remove a pid file: no process of ours is left that it could name."""
        (self.folder / "celery.pid").unlink(missing_ok=True)

    def words(self) -> list[str]:
        """Return what Celery is to do."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return Celery; the path of its pid file tells our processes from others."""
        pid_file = f"--pidfile={self.folder / 'celery.pid'}"
        return [sys.executable, "-m", "celery", "-A", self.application, *self.words(), pid_file, "--loglevel=WARNING"]

    def answers(self) -> bool:
        """Say whether the process runs: its heartbeat, which comes later, is for `/health/` to tell."""
        return self.is_running()

    def spawn(self) -> int:
        """Start Celery as our own account."""
        return processes.spawn(Account(), self.command(), REPOSITORY, self.log, self.environment)


class Worker(Celery):
    """One worker for all queues, with two processes."""

    def words(self) -> list[str]:
        """Work for all queues."""
        return ["worker", "--concurrency=2", f"--hostname={self.name}@{self.place.directory.name}", "--without-gossip"]


class Beat(Celery):
    """The beat."""

    def words(self) -> list[str]:
        """Tick."""
        return ["beat"]
