"""A terminal in which a user runs the stack's commands."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from tests.conftest import ROOT
from tests.waiting import until

PATIENCE_S = 120
# Click reads each option of `flask demo seed` from the environment as well.
SMALL = {"FLASK_DEMO_SEED_STUDENTS": "20", "FLASK_DEMO_SEED_DAYS": "3", "PASSWORD_COST": "4"}


class Terminal:
    """A terminal in which ``python -m devstack`` runs."""

    def __init__(self, folder, command: str, port: int, **environment: str) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not re.match("POSTGRES_|REDIS_|CELERY_", name)
        }
        self.begun = time.monotonic()
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devstack", command],
            cwd=ROOT,
            env={**inherited, **environment, "DEVSTACK_DIR": str(folder), "PORT": str(port), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    @property
    def shown(self) -> str:
        return "".join(self.lines)

    def state(self) -> dict:
        """Return state.json once it is ready."""

        def ready():
            with contextlib.suppress(OSError, ValueError):
                known = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
                if known["ready"] and "Ctrl-C stops everything" in self.shown:
                    return known
            assert self.process.poll() is None, self.shown
            return None

        return until(ready, PATIENCE_S)

    def ctrl_c(self) -> int:
        """Send SIGINT to the whole process group, as a terminal does; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        code = self.process.wait(60)
        self.reader.join(10)
        return code
