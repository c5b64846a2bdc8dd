"""The data that the benchmarks ask for: kept between runs in a stack of its own."""

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import ROOT
from devstack.stack import Stack

STUDENTS = 10_000


@dataclass
class Place:
    """A seeded stack behind PgBouncer, and who signs in to it."""

    stack: Stack
    environment: dict[str, str]
    demo: dict[str, Any]

    def sign_in(self, url: str) -> str:
        """Return an access token of the demo's admin."""
        body = json.dumps({name: self.demo[name] for name in ("email", "password")}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/auth/token/", body, headers)  # noqa: S310 - our own address
        token: str = json.load(urllib.request.urlopen(request))["access_token"]  # noqa: S310 - our own address
        return token


def make(students: int = STUDENTS) -> Place:
    """Start the stack and seed it, unless that is done; the caller stops it."""
    folder = Path(os.environ.get("DEVSTACK_DIR", ROOT / ".devstack")) / "bench"
    stack = Stack(folder, replica=False, pgbouncer=True)
    is_new = stack.start_data()
    environment = {**stack.environment(), "FLASK_APP": "wsgi.py"}
    credentials = folder / "demo.json"
    _flask(environment, "db", "upgrade")
    if is_new or not credentials.exists():
        words = ["--students", str(students), "--organizations", "1", "--days", "5"]
        _flask(environment, "demo", "seed", *words, "--credentials", str(credentials))
    return Place(stack, environment, json.loads(credentials.read_text()))


def _flask(environment: dict[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "flask", *words]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
