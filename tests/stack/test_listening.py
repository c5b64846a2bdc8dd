"""API processes that start or hang: a read is answered by another process, however long that takes."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from devstack.place import REPOSITORY
from tests.stack.conftest import answering_server, log_lines
from tests.stack.http_client import ask, until

# An application that takes as long to load as a file is missing.
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
    """gunicorn with the project's configuration, whose workers load until a call of the last value that this yields."""
    (tmp_path / "late.py").write_text(LATE, encoding="utf-8")
    gate, log = tmp_path / "gate", tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
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


def answered(url):
    with contextlib.suppress(OSError):
        return ask(url, "/live/")
    return None


def test_a_process_accepts_no_connection_before_its_workers_have_loaded(starting, nginx_before):
    port, log, load = starting
    url = f"http://127.0.0.1:{port}"
    until(lambda: booting(log) == 2)

    with pytest.raises(ConnectionRefusedError):
        ask(url, "/live/")
    with answering_server() as another:
        nginx = nginx_before(port, another)
        assert [ask(nginx.url, "/live/").status for _ in range(6)] == [200] * 6
        tried = [line["upstream_status"] for line in log_lines(nginx.folder / "access.log")]
        assert "502, 200" in tried, "nginx asked the starting process first, and the other one at once"
    load()

    assert until(lambda: answered(url)).body == b"late"


def test_a_read_of_a_process_that_hangs_is_answered_by_another(late_reads):
    answers = [answer.result(60) for answer in late_reads.answers]

    assert [answer.status for answer in answers] == [200, 200]
    until(lambda: len(log_lines(late_reads.log)) == len(answers))
    assert sorted(line["upstream_status"] for line in log_lines(late_reads.log)) == ["200", "504, 200"]
