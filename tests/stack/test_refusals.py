"""Requests that never reach the application: gunicorn and nginx refuse each with a problem document."""

import os
import re
import subprocess
import sys

import pytest

from campshub.core.http.gunicorn_worker import _problem_of
from devstack import ports
from devstack.http_client import PATIENCE_S, new_client
from tests.conftest import ROOT
from tests.stack.conftest import PANEL
from tests.stack.http_client import fetch, fetch_raw
from tests.waiting import until

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
def url(request, site):
    """The layer that receives requests: gunicorn with `make run`, else nginx."""
    return site.apis[0].url if request.param == "gunicorn" else site.nginx.url


def with_origin(data: bytes, origin: str) -> bytes:
    return data + f"Origin: {origin}\r\n\r\n".encode()


@pytest.mark.parametrize("what", REFUSED)
def test_an_invalid_request_is_refused_with_a_problem_that_the_panel_can_read(url, what):
    data, status, code = REFUSED[what]

    response = fetch_raw(url, with_origin(data, PANEL))

    found = response.problem
    assert (response.status, found["status"], found["code"]) == (status, status, code)
    assert {"type", "title", "status", "code", "detail", "trace_id"} == set(found)
    assert len(response.headers.get_list("X-Request-ID")) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", found["trace_id"])
    assert response.headers["Cache-Control"] == "no-store"
    # The origin may follow after the invalid part: then any page can read the refusal.
    assert response.headers["Access-Control-Allow-Origin"] in {PANEL, "*"}
    assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
    assert b"<html" not in response.body.lower()


@pytest.mark.parametrize("what", ["a line of 9,000 bytes", "ninety headers"])
def test_pages_of_other_origins_cannot_read_the_refusal(url, what):
    data, status, _ = REFUSED[what]

    responses = [fetch_raw(url, with_origin(data, origin)) for origin in (PANEL, "https://elsewhere.example")]

    assert [response.status for response in responses] == [status] * 2
    assert [response.headers.get("Access-Control-Allow-Origin") for response in responses] == [PANEL, None]


def test_only_the_panel_can_read_nginxs_own_refusals(site):
    responses = [
        fetch(site.nginx.url, "/metrics/", headers={"Origin": origin})
        for origin in (PANEL, "https://elsewhere.example")
    ]

    assert [response.problem["code"] for response in responses] == ["not_found"] * 2
    assert [response.headers.get("Access-Control-Allow-Origin") for response in responses] == [PANEL, None]


def test_a_response_of_the_application_has_each_header_once(site):
    response = fetch(site.nginx.url, "/api/me/", headers={"Origin": PANEL})

    assert response.status == 401
    for name in ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "X-Request-ID"):
        assert len(response.headers.get_list(name)) == 1, name


def test_a_reused_connection_is_refused_in_the_same_way(site):
    client_addresses = set()
    with new_client(site.apis[0].url, headers={"Origin": PANEL}) as client:
        for path, expected in (("/live/", 200), ("/api/me/?q=" + "a" * 9000, 414)):
            with client.stream("GET", path) as response:
                stream = response.extensions["network_stream"]
                client_addresses.add(stream.get_extra_info("client_addr"))
                response.read()
            assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (expected, PANEL)
    assert response.json()["code"] == "uri_too_long"
    assert len(client_addresses) == 1


FAILING = "def app(environ, start_response):\n    raise ValueError('whisper')\n"


def test_a_failure_outside_flask_gets_a_response_without_internals(site, tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    port = ports.unused()
    environment = {
        **os.environ,
        **site.environment(),
        "BIND": f"127.0.0.1:{port}",
        "GUNICORN_WORKERS": "1",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config/gunicorn.conf.py"), "failing:app"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: ports.is_open(port))
        response = fetch(f"http://127.0.0.1:{port}", "/", headers={"X-Request-ID": "mine"})
    finally:
        server.terminate()
        server.wait(PATIENCE_S)

    assert (response.status, response.problem["code"]) == (500, "unexpected")
    assert response.headers["X-Request-ID"] == "mine"
    assert b"whisper" not in response.body
    assert "whisper" in (tmp_path / "log").read_text()


def test_server_errors_are_not_reported_as_client_errors():
    assert _problem_of(ValueError())[0] == 500
