"""The README's tour, run as it is printed, against a real server with demo data."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DATABASE = "campshub_tour"
PATIENCE_S = 30


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@pytest.fixture(scope="module")
def demo(stack, database, tmp_path_factory):
    """A small demo, and one gunicorn worker that serves it; yields the folder that the tour is walked in."""
    folder = tmp_path_factory.mktemp("tour")
    with Path(stack.directory, "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.drop_database(DATABASE)
        stack.create_database(DATABASE, "campshub_template")
    port = free_port()
    settings = {
        **os.environ,
        **stack.environment(DATABASE),
        "FLASK_APP": "wsgi.py",
        "PASSWORD_COST": "4",
        "PORT": str(port),
        "GUNICORN_WORKERS": "1",
    }
    command = [sys.executable, "-m", "flask", "demo", "seed", "--students", "60", "--days", "4"]
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
    try:
        _wait(url, folder / "log")
        yield folder
    finally:
        server.terminate()
        server.wait(PATIENCE_S)
        stack.drop_database(DATABASE)


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ready/", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def walk(folder: Path) -> list[str]:
    """Run the tour's commands in one shell; return what each block printed."""
    readme = (ROOT / "README.md").read_text()
    tour = readme[readme.index("## A tour") : readme.index("## The house")]
    url = json.loads((folder / ".devstack" / "state.json").read_text())["base_url"]
    blocks = re.findall(r"```sh\n(.*?)```", tour, re.DOTALL)
    script = "set -euo pipefail\n" + "\necho; echo '=== next'\n".join(blocks)
    script = script.replace("api=http://127.0.0.1:8000", f"api={url}")
    ran = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [block.strip() for block in ran.stdout.split("=== next")]


def test_the_tour_answers_as_printed(demo):
    _, me, lists, marks, conflict, workout, refusals = walk(demo)

    assert json.loads(me)["role"] == "admin"
    page, found = (json.loads(line) for line in lists.replace("}{", "}\n{").splitlines())
    assert len(page["items"]) == 2
    assert set(page["items"][0]) == {"code", "given_name", "family_name"}
    assert all(item["family_name"] == "Sharma" for item in found["items"])
    assert "'error': 0" in marks
    assert "'conflict': 0" in marks
    assert "'created': 30" in marks
    assert conflict.startswith("conflict")
    log = json.loads(workout)
    assert log["exercises"][0]["sets"][0]["load"] == "225"
    missing, wrong = refusals.replace("}{", "}\n{").splitlines()
    assert json.loads(missing)["code"] == "not_found"
    assert [error["pointer"] for error in json.loads(wrong)["errors"]] == ["/colour", "/limit"]
