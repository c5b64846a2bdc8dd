"""``make run`` and ``make stack`` as a user runs them: started, ended by Ctrl-C, killed, and started again."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from campshub.core.db.models import new_id
from devstack import ports, workspace
from tests.conftest import ROOT
from tests.stack.conftest import log_lines, processes_of
from tests.stack.http_client import fetch
from tests.stack.terminal import PATIENCE_S, SMALL, Terminal
from tests.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of one stack, which these tests start one after the other; removed at the end."""
    folder = tmp_path_factory.mktemp("run") / "devstack"
    here = workspace.make(folder)
    yield folder
    command = [sys.executable, "-m", "devstack", "remove"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "DEVSTACK_DIR": str(folder)}, check=True)
    assert processes_of(here) == []
    assert (here.directory.exists(), here.runtime.exists()) == (False, False)


@pytest.fixture(scope="module")
def port() -> int:
    return ports.unused()


@pytest.fixture
def devstack(folder, port):
    """Start a command in a terminal; a command that still runs after the test is killed."""
    opened = []

    def start(command, **environment):
        opened.append(Terminal(folder, command, port, **environment))
        return opened[-1]

    yield start
    for terminal in opened:
        if terminal.process.poll() is None:
            terminal.kill()


def signed_in(url: str, demo: dict) -> dict[str, str]:
    named = {name: demo[name] for name in ("email", "password", "organization_id")}
    response = fetch(url, "/api/auth/token/", "POST", body=named)
    assert response.status == 200, response.body
    return {"Authorization": f"Bearer {response.json['access_token']}"}


def test_ctrl_c_during_the_demo_data_ends_everything(folder, devstack):
    terminal = devstack("run", PASSWORD_COST="4")
    until((folder / "seeding.json").exists, PATIENCE_S)

    assert terminal.ctrl_c() == 0, terminal.shown

    assert processes_of(workspace.make(folder)) == []
    assert "Traceback" not in terminal.shown
    assert not (folder / "demo.json").exists()


def test_run_restarts_with_complete_demo_data_prints_its_urls_and_ends_at_ctrl_c(folder, devstack, port):
    terminal = devstack("run", **SMALL)
    known = terminal.state()

    assert "the demo data is incomplete: starting over" in terminal.shown
    url = f"http://127.0.0.1:{port}"
    assert (known["base_url"], known["nginx_url"], known["api_urls"]) == (url, None, [url])
    assert known["postgres"]["replica_dsn"] is known["postgres"]["pgbouncer_dsn"] is None
    demo = known["demo"]
    assert set(demo) == {"email", "password", "organization_id", "other"}
    assert set(demo["other"]) == {"email", "password", "organization_id"}
    for line in (
        rf"CampsHub is ready after \d+\.\d s\n  API            {url}\n  documentation  {url}/docs/\n",
        rf"  sign in as     {re.escape(demo['email'])}  {re.escape(demo['password'])}\n",
    ):
        assert re.search(line, terminal.shown), terminal.shown
    assert fetch(url, "/docs/").status == 200
    for sign_in in (demo, demo["other"]):
        listed = fetch(url, "/api/students/?limit=200", headers=signed_in(url, sign_in))
        assert len(listed.json["items"]) == 20

    second = subprocess.run(
        [sys.executable, "-m", "devstack", "run"],
        cwd=ROOT,
        env={**os.environ, "DEVSTACK_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith(f"a stack runs here already (process {terminal.process.pid}): make stop ends it;")

    began = time.monotonic()
    assert terminal.ctrl_c() == 0, terminal.shown
    assert time.monotonic() - began < 30
    assert processes_of(workspace.make(folder)) == []
    assert json.loads((folder / "state.json").read_text(encoding="utf-8"))["ready"] is False
    assert "Traceback" not in terminal.shown


def test_a_second_run_has_the_same_data_and_a_killed_one_is_replaced_by_the_full_stack(
    folder, devstack, port, record_property
):
    terminal = devstack("run", **SMALL)
    demo = terminal.state()["demo"]
    record_property("figure", f"second `devstack run` ready after {time.monotonic() - terminal.begun:.1f} s")
    assert "making demo data" not in terminal.shown
    headers = signed_in(f"http://127.0.0.1:{port}", demo)
    terminal.kill()  # its API process still runs, on the port that nginx needs now

    terminal = devstack("stack", **SMALL)
    known = terminal.state()

    whole(known, port, demo)
    read_back(folder, known, headers)
    assert terminal.ctrl_c() == 0, terminal.shown
    assert processes_of(workspace.make(folder)) == []


def whole(known: dict, port: int, demo: dict) -> None:
    """Check that state.json is complete."""
    url = f"http://127.0.0.1:{port}"
    assert (known["base_url"], known["nginx_url"], known["docs_url"]) == (url, url, f"{url}/docs/")
    assert len(set(known["api_urls"]) - {url}) == 2
    assert known["demo"] == demo
    assert all(known["postgres"].values())
    assert all(known["redis"].values())
    assert all(fetch(one, "/ready/").status == 200 for one in known["api_urls"])
    services = fetch(url, "/health/").json["services"]
    assert {name for name, state in services.items() if state["healthy"]} >= {"database", "replica", "cache", "broker"}


def read_back(folder, known: dict, headers: dict[str, str]) -> None:
    """Write through nginx and read it back at once, often enough for both API processes to serve."""
    url, log = known["nginx_url"], workspace.make(folder).runtime / "nginx" / "access.log"
    for _ in range(10):
        code = new_id().hex
        body = {"code": code, "given_name": "Asha", "family_name": "Rao"}
        made = fetch(url, "/api/students/", "POST", headers=headers, body=body)
        assert made.status == 201
        assert fetch(url, f"/api/students/{made.json['id']}/", headers=headers).json["code"] == code
        listed = fetch(url, "/api/students/?limit=200", headers=headers)
        assert code in {item["code"] for item in listed.json["items"]}
    served = {line["upstream"] for line in log_lines(log)}
    assert served >= {one.removeprefix("http://") for one in known["api_urls"]}


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))
    rules = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))

    for target in (["help"], []):
        printed = subprocess.run([shutil.which("make"), *target], cwd=ROOT, capture_output=True, text=True, check=True)
        listed = re.findall(r"^  make ([a-z-]+) +(\S.*)$", printed.stdout, re.MULTILINE)
        assert {name for name, _ in listed} == targets == rules
        assert len(listed) == len(printed.stdout.splitlines())
    assert targets >= {"run", "stack", "stop", "test", "lint", "bench", "fmt", "migration"}
