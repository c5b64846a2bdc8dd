"""Files that fail to open or to be read to the end: what the client receives, and what is logged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campshub.core.http.responses import AT_ONCE, Download
from devstack import ports
from devstack.http_client import status_of
from tests.core.broken_files import Torn
from tests.stack.http_client import CUT, fetch
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
SECRET = "c2VjcmV0"


@pytest.fixture(scope="module")
def server(stack, database, tmp_path_factory):
    """gunicorn with the project's configuration; yields its URL and its log."""
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    port = ports.unused()
    url = f"http://127.0.0.1:{port}"
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
            until(lambda: status_of(url, "/ready/") == 204, explain=log.read_text)
            yield url, log
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_a_file_that_fails_before_its_end_is_cut_off_and_logged_in_one_line(server):
    url, log = server
    response = fetch(url, f"/torn/?token={SECRET}")

    assert response.status == CUT
    assert (response.body, response.headers["Content-Length"]) == (b"x" * AT_ONCE, str(2 * AT_ONCE))
    line = "ours: a file could not be read to its end; the connection is closed"
    until(lambda: line in log.read_text(), explain=log.read_text)
    assert log.read_text().count(line) == 1
    assert SECRET not in log.read_text()
    assert "Error handling request" not in log.read_text()


@pytest.mark.parametrize("path", [f"/unforeseen/?token={SECRET}", f"/unforeseen/?a=b?c&token={SECRET}#x"])
def test_gunicorns_log_of_a_failed_request_has_no_query(server, path):
    url, log = server
    line = "a request failed outside the application"
    before = log.read_text().count(line)
    assert fetch(url, path).status == 500

    until(lambda: log.read_text().count(line) == before + 1)
    assert SECRET not in log.read_text()


def test_the_beginning_is_read_before_the_response_begins():
    torn = Torn()
    Torn.read(torn, 1)

    with pytest.raises(ValueError, match="no further"):
        Download(torn, "text/plain", "torn.txt")
    assert torn.closed
