"""A real server with demo data, for tests that come from outside as a client does."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from devstack import place
from devstack.redis import Redis

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@pytest.fixture(scope="session")
def demo(stack, database, tmp_path_factory):
    """A small demo, and one gunicorn worker that serves it; yields the folder that the tour is walked in."""
    name = f"{database}_demo"
    folder = tmp_path_factory.mktemp("tour")
    with Path(stack.directory, "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.drop_database(name)
        stack.create_database(name, "campshub_template")
    port = free_port()
    # A broker of its own: where two demos shared one, each worker took calls that only the other could answer.
    broker = Redis(place.make(tmp_path_factory.mktemp("broker")), "broker")
    broker.start()
    settings = {
        **os.environ,
        **stack.environment(name),
        "FLASK_APP": "wsgi.py",
        "PASSWORD_COST": "4",
        "PORT": str(port),
        "GUNICORN_WORKERS": "1",
        "STORAGE_URL": str(folder / "storage"),
        "CELERY_BROKER_URL": broker.url,
    }
    command = [sys.executable, "-m", "flask", "demo", "seed", "--days", "4"]
    seeded = subprocess.run(
        [*command, "--credentials", folder / "demo.json"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert seeded.returncode == 0, seeded.stderr
    url = f"http://127.0.0.1:{port}"
    (folder / ".devstack").mkdir()
    known = {"base_url": url, "demo": json.loads((folder / "demo.json").read_text())}
    (folder / ".devstack" / "state.json").write_text(json.dumps(known))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"],
            cwd=ROOT,
            env=settings,
            stdout=log,
            stderr=log,
        )
        # What the broker has not taken at once, a beat brings: without one, a report could be owed for ever.
        background = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_worker", *words, "--loglevel=WARNING"],
                cwd=ROOT,
                env=settings,
                stdout=log,
                stderr=log,
            )
            for words in (["worker", "--concurrency=1"], ["beat"])
        ]
    try:
        _wait(url, folder / "log")
        yield folder
    finally:
        for process in (*background, server):
            process.terminate()
        for process in (*background, server):
            process.wait(PATIENCE_S)
        broker.stop()
        stack.drop_database(name)


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ready/", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
