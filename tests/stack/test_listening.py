"""API processes that are starting or hanging: another process serves the read, however long that takes."""

import contextlib
import os
import subprocess
import sys

import httpx
import pytest

from devstack import ports
from devstack.workspace import REPOSITORY
from tests.stack.conftest import log_lines, responding_server
from tests.stack.http_client import fetch
from tests.waiting import until

# An application that does not finish loading before a file exists.
LATE = """
import os, pathlib, time
while not pathlib.Path(os.environ["GATE"]).exists():
    time.sleep(0.02)
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"late"]
"""


@pytest.fixture
def starting(tmp_path):
    """Start gunicorn with the project's configuration; calling the last yielded value lets its workers load."""
    (tmp_path / "late.py").write_text(LATE, encoding="utf-8")
    gate, log = tmp_path / "gate", tmp_path / "log"
    port = ports.unused()
    environment = {
        **os.environ,
        "GATE": str(gate),
        "GUNICORN_WORKERS": "2",
        "BIND": f"127.0.0.1:{port}",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(REPOSITORY / "config" / "gunicorn.conf.py")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--chdir", str(tmp_path), "late:app"], env=environment, stdout=output, stderr=output
        )
    try:
        yield port, log, gate.touch
    finally:
        gate.touch()
        process.terminate()
        process.wait(30)


def booting(log) -> int:
    return log.read_text(encoding="utf-8").count("Booting worker")


def respond(url):
    with contextlib.suppress(httpx.TransportError):
        return fetch(url, "/live/")
    return None


def test_a_process_accepts_no_connection_before_its_workers_have_loaded(starting, nginx_before):
    port, log, load = starting
    url = f"http://127.0.0.1:{port}"
    until(lambda: booting(log) == 2)

    with pytest.raises(httpx.ConnectError):
        fetch(url, "/live/")
    with responding_server() as another:
        nginx = nginx_before(port, another)
        assert [fetch(nginx.url, "/live/").status for _ in range(6)] == [200] * 6
        tried = [line["upstream_status"] for line in log_lines(nginx.folder / "access.log")]
        assert "502, 200" in tried, "nginx tried the starting process first, and then the other one"
    load()

    assert until(lambda: respond(url)).body == b"late"


def test_a_read_of_a_hanging_process_is_served_by_another(late_reads):
    responses = [response.result(60) for response in late_reads.responses]

    assert [response.status for response in responses] == [200, 200]
    until(lambda: len(log_lines(late_reads.log)) == len(responses))
    assert sorted(line["upstream_status"] for line in log_lines(late_reads.log)) == ["200", "504, 200"]
