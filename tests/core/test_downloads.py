"""Files that fail to open or to be read to the end: what the client receives, and what is logged."""

import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from campshub.core.http.responses import AT_ONCE, Download
from tests.core.broken_files import Torn

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
SECRET = "c2VjcmV0"


@pytest.fixture(scope="module")
def server(stack, database, tmp_path_factory):
    """gunicorn with the project's configuration; yields its port and its log."""
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"PORT": str(port), "GUNICORN_WORKERS": "1", "PYTHONPATH": str(ROOT), "GUNICORN_LOG_LEVEL": "debug"}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "tests.core.broken_files:app"],
            cwd=ROOT,
            env={**os.environ, **stack.environment(database), **settings},
            stdout=out,
            stderr=out,
        )
        try:
            wait_for(lambda: is_ready(port), log)
            yield port, log
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def wait_for(what, log):
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def is_ready(port):
    try:
        return fetched(port, "/ready/")[0] == 204
    except OSError:
        return False


def fetched(port, url):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", url)
        response = connection.getresponse()
        try:
            return response.status, response.read()
        except http.client.IncompleteRead as cut:
            return response.status, cut


def test_a_file_that_fails_before_its_end_is_cut_off_and_logged_in_one_line(server):
    port, log = server
    status, cut = fetched(port, f"/torn/?token={SECRET}")

    assert status == 200
    assert isinstance(cut, http.client.IncompleteRead)
    assert (len(cut.partial), cut.expected) == (AT_ONCE, AT_ONCE)
    line = "ours: a file could not be read to its end; the connection is closed"
    wait_for(lambda: line in log.read_text(), log)
    assert log.read_text().count(line) == 1
    assert SECRET not in log.read_text()
    assert "Error handling request" not in log.read_text()


@pytest.mark.parametrize("url", [f"/unforeseen/?token={SECRET}", f"/unforeseen/?a=b?c&token={SECRET}#x"])
def test_gunicorns_log_of_a_failed_request_has_no_query(server, url):
    port, log = server
    line = "a request failed outside the application"
    before = log.read_text().count(line)
    assert fetched(port, url)[0] == 500

    wait_for(lambda: log.read_text().count(line) == before + 1, log)
    assert SECRET not in log.read_text()


def test_the_beginning_is_read_before_the_response_begins():
    torn = Torn()
    Torn.read(torn, 1)

    with pytest.raises(ValueError, match="no further"):
        Download(torn, "text/plain", "torn.txt")
    assert torn.closed
