"""Requests that never reach the application: gunicorn alone, and nginx, refuse each with a problem document."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from campshub.core.http.gunicorn_worker import _refusal
from tests.conftest import ROOT
from tests.e2e.conftest import free_port
from tests.stack.conftest import PANEL
from tests.stack.http_client import PATIENCE_S, ask, ask_raw, until

HOST = b"Host: 127.0.0.1\r\n"
REFUSED = {
    "a line of 8,191 bytes": (b"GET /" + b"a" * 8177 + b" HTTP/1.1\r\n" + HOST, 414, "uri_too_long"),
    "a line of 9,000 bytes": (b"GET /api/me/?q=" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST, 414, "uri_too_long"),
    "a line of a megabyte": (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HOST, 414, "uri_too_long"),
    "a header of 9,000 bytes": (
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n",
        431,
        "headers_too_large",
    ),
    "a header of 40,000 bytes": (
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 40_000 + b"\r\n",
        431,
        "headers_too_large",
    ),
    "ninety headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 90, 431, "headers_too_large"),
    "no request at all": (b"nonsense\r\n", 400, "bad_request"),
    "a version that does not exist": (b"GET / HTTP/9.9\r\n" + HOST, 400, "bad_request"),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n", 400, "bad_request"),
    "a length that is none": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n", 400, "bad_request"),
    "an unknown transfer coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n", 400, "bad_request"),
}


@pytest.fixture(params=["gunicorn", "nginx"])
def url(request, front):
    """A layer that meets clients first: gunicorn with `make run`, nginx elsewhere."""
    return front.apis[0].url if request.param == "gunicorn" else front.nginx.url


def with_origin(words: bytes, origin: str) -> bytes:
    return words + f"Origin: {origin}\r\n\r\n".encode()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_parsed_is_refused_with_a_problem_document_that_the_panel_may_read(url, what):
    words, status, code = REFUSED[what]

    answer = ask_raw(url, with_origin(words, PANEL))

    found = answer.problem
    assert (answer.status, found["status"], found["code"]) == (status, status, code)
    assert {"type", "title", "status", "code", "detail", "trace_id"} == set(found)
    assert len(answer.headers.get_all("X-Request-ID")) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", found["trace_id"])
    assert answer.headers["Cache-Control"] == "no-store"
    # The origin may come after what could not be read: then any page may read the refusal.
    assert answer.headers["Access-Control-Allow-Origin"] in {PANEL, "*"}
    assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
    assert b"<html" not in answer.body.lower()


@pytest.mark.parametrize("what", ["a line of 9,000 bytes", "ninety headers"])
def test_a_page_of_another_origin_may_not_read_the_refusal(url, what):
    words, status, _ = REFUSED[what]

    answers = [ask_raw(url, with_origin(words, origin)) for origin in (PANEL, "https://elsewhere.example")]

    assert [answer.status for answer in answers] == [status] * 2
    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == [PANEL, None]


def test_nginxs_own_refusals_are_read_by_the_panel_alone(front):
    answers = [
        ask(front.nginx.url, "/metrics/", headers={"Origin": origin}) for origin in (PANEL, "https://elsewhere.example")
    ]

    assert [answer.problem["code"] for answer in answers] == ["not_found"] * 2
    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == [PANEL, None]


def test_an_answer_of_the_application_has_each_header_once(front):
    answer = ask(front.nginx.url, "/api/me/", headers={"Origin": PANEL})

    assert answer.status == 401
    for name in ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "X-Request-ID"):
        assert len(answer.headers.get_all(name)) == 1, name


def test_a_connection_that_was_kept_is_refused_in_the_same_way(front):
    parts = urlsplit(front.apis[0].url)
    words, status, code = REFUSED["a line of 9,000 bytes"]
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
        for sent, expected in ((b"GET /live/ HTTP/1.1\r\n" + HOST, 200), (words, status)):
            connection.sendall(with_origin(sent, PANEL))
            response = http.client.HTTPResponse(connection)
            response.begin()
            body = json.loads(response.read())
            assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (expected, PANEL)
    assert body["code"] == code


FAILING = "def app(environ, start_response):\n    raise ValueError('whisper')\n"


def test_an_application_that_fails_outside_flask_is_answered_for_without_its_innards(front, tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    port = free_port()
    environment = {
        **os.environ,
        **front.environment(),
        "BIND": f"127.0.0.1:{port}",
        "GUNICORN_WORKERS": "1",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config/gunicorn.conf.py"), "failing:app"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: _listens(port))
        answer = ask(f"http://127.0.0.1:{port}", "/", headers={"X-Request-ID": "mine"})
    finally:
        server.terminate()
        server.wait(PATIENCE_S)

    assert (answer.status, answer.problem["code"]) == (500, "unexpected")
    assert answer.headers["X-Request-ID"] == "mine"
    assert b"whisper" not in answer.body
    assert "whisper" in (tmp_path / "log").read_text()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_what_is_no_fault_of_the_client_is_a_fault_of_ours():
    assert _refusal(ValueError())[0] == 500
