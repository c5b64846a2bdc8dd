"""Time from a fresh clone to the first 200 on the list of students, and of the second start."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.client import ApiClient
from bench.load import ROOT
from devstack import ports

PATIENCE_S = 600


def measure() -> dict[str, Any]:
    """Clone the committed state into a separate folder and run it twice; return seconds."""
    folder = Path(tempfile.mkdtemp(prefix="campshub-clone-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        return {name: {"seconds": _run(folder / "clone")} for name in ("fresh clone to first 200", "second make run")}
    finally:
        subprocess.run(
            ["make", "clean"], cwd=folder / "clone", check=False, capture_output=True
        )  # it points to another folder
        shutil.rmtree(folder, ignore_errors=True)


def _run(clone: Path) -> float:
    port = ports.unused()
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
            state_json = json.loads(state.read_text())
            if state_json["ready"]:
                _request_list(f"http://127.0.0.1:{port}", state_json["demo"])
                return
        except (OSError, ValueError, KeyError, httpx.TransportError, RuntimeError):
            pass
        time.sleep(0.1)
    raise TimeoutError("make run did not become ready")


def _request_list(url: str, demo: dict[str, str]) -> None:
    tokens = ApiClient(url).post("/api/auth/token/", {name: demo[name] for name in ("email", "password")})
    ApiClient(url, {"Authorization": f"Bearer {tokens['access_token']}"}).get("/api/students/")
