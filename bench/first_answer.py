"""From a fresh clone to the first 200 on the students' list, and how long the second start takes."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.load import ROOT
from bench.servers import free_port

PATIENCE_S = 600


def measure() -> dict[str, Any]:
    """Clone the repository's committed state into a folder of its own and run it twice; return seconds."""
    folder = Path(tempfile.mkdtemp(prefix="campshub-clone-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        return {name: {"seconds": _run(folder / "clone")} for name in ("fresh clone to first 200", "second make run")}
    finally:
        subprocess.run(
            ["make", "clean"], cwd=folder / "clone", check=False, capture_output=True
        )  # it knows what is elsewhere
        shutil.rmtree(folder, ignore_errors=True)


def _run(clone: Path) -> float:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not re.match("POSTGRES_|REDIS_|DEVSTACK", name)}
    begun = time.monotonic()
    with subprocess.Popen(
        ["make", "run", f"PORT={port}"], cwd=clone, env=environment, start_new_session=True
    ) as running:
        try:
            _first_list(clone, port, begun)
            return round(time.monotonic() - begun, 1)
        finally:
            os.killpg(running.pid, signal.SIGINT)
            running.wait(PATIENCE_S)


def _first_list(clone: Path, port: int, begun: float) -> None:
    state = clone / ".devstack" / "state.json"
    while time.monotonic() - begun < PATIENCE_S:
        try:
            known = json.loads(state.read_text())
            if known["ready"]:
                _ask(f"http://127.0.0.1:{port}", known["demo"])
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    raise TimeoutError("make run did not become ready")


def _ask(url: str, demo: dict[str, str]) -> None:
    body = json.dumps({name: demo[name] for name in ("email", "password")}).encode()
    request = urllib.request.Request(f"{url}/api/auth/token/", body, {"Content-Type": "application/json"})  # noqa: S310 - our own address
    token = json.load(urllib.request.urlopen(request))["access_token"]  # noqa: S310 - our own address
    asked = urllib.request.Request(f"{url}/api/students/", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own address
    urllib.request.urlopen(asked).read()  # noqa: S310 - our own address
