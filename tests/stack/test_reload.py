"""``make run RELOAD=1`` reloads changed code."""

import os
import subprocess
import sys

import httpx
import pytest

from devstack import ports
from devstack.workspace import REPOSITORY
from tests.stack.http_client import fetch
from tests.waiting import until

# The response is a constant of another module, as in an application of many files.
APPLICATION = """
from words import WORD
def app(environ, start_response):
    body = WORD.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(params=["1", "", "0"])
def running(request, tmp_path):
    """gunicorn with the project's configuration and a value of RELOAD: the value, its URL and its folder."""
    (tmp_path / "small.py").write_text(APPLICATION, encoding="utf-8")
    (tmp_path / "words.py").write_text('WORD = "first"\n', encoding="utf-8")
    port = ports.unused()
    environment = {
        **os.environ,
        "GUNICORN_WORKERS": "1",
        "RELOAD": request.param,
        "BIND": f"127.0.0.1:{port}",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(REPOSITORY / "config" / "gunicorn.conf.py")]
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--chdir", str(tmp_path), "small:app"], env=environment, stdout=output, stderr=output
        )
    try:
        yield request.param, f"http://127.0.0.1:{port}", tmp_path
    finally:
        process.terminate()
        process.wait(30)


def body_of(url):
    try:
        return fetch(url, "/").body
    except httpx.TransportError:
        return None


def test_a_changed_file_is_reloaded_only_on_request(running):
    reload, url, folder = running
    until(lambda: body_of(url) == b"first")

    (folder / "words.py").write_text('WORD = "second"\n', encoding="utf-8")

    if reload == "1":
        until(lambda: body_of(url) == b"second")
    else:
        assert b"reload" not in (folder / "log").read_bytes().lower()
        assert body_of(url) == b"first"
