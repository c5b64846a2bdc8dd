"""A real server with demo data, for tests that call it from outside like a client."""

import fcntl
import json
import os
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from devstack import ports, workspace
from devstack.http_client import status_of
from devstack.redis import Redis
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120


@pytest.fixture(scope="session")
def demo(stack, database, tmp_path_factory):
    """A small demo, and one gunicorn worker that serves it; yields the folder in which the tour runs."""
    name = f"{database}_demo"
    folder = tmp_path_factory.mktemp("tour")
    with Path(stack.directory, "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.drop_database(name)
        stack.create_database(name, "campshub_template")
    port = ports.unused()
    # A separate broker: with a shared one, the workers of two demos took each other's calls, which they could not run.
    broker = Redis(workspace.make(tmp_path_factory.mktemp("broker")), "broker")
    broker.start()
    settings = {
        **os.environ,
        **stack.environment(name),
        "FLASK_APP": "wsgi.py",
        "PASSWORD_COST": "4",
        "PORT": str(port),
        "GUNICORN_WORKERS": "1",
        "STORAGE_URL": str(folder / "storage"),
        "CELERY_BROKER_URL": broker.application_url,
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
    state = {"base_url": url, "demo": json.loads((folder / "demo.json").read_text())}
    (folder / ".devstack" / "state.json").write_text(json.dumps(state))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"],
            cwd=ROOT,
            env=settings,
            stdout=log,
            stderr=log,
        )
        # A beat sends what the broker has not accepted immediately: without one, a report could stay pending for ever.
        background = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_worker", *arguments, "--loglevel=WARNING"],
                cwd=ROOT,
                env=settings,
                stdout=log,
                stderr=log,
            )
            for arguments in (["worker", "--concurrency=1"], ["beat"])
        ]
    try:
        until(lambda: status_of(url, "/ready/") == HTTPStatus.OK, PATIENCE_S, explain=(folder / "log").read_text)
        yield folder
    finally:
        for process in (*background, server):
            process.terminate()
        for process in (*background, server):
            process.wait(PATIENCE_S)
        broker.stop()
        stack.drop_database(name)
