"""The HTTP client of the stack, its tests and its benchmarks sends what it is given, and reports what it gets."""

import contextlib
import socketserver
import threading

import pytest

from devstack import ports
from devstack.http_client import new_client, status_of
from tests.stack.http_client import CUT, fetch


@pytest.fixture
def recorder():
    """Return a factory of servers that send one fixed response; each yields its URL and the heads of the requests."""

    @contextlib.contextmanager
    def serving(response: bytes):
        heads = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                heads.append(b"".join(iter(self.rfile.readline, b"\r\n")).decode())
                self.wfile.write(response)

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
            yield f"http://127.0.0.1:{server.server_address[1]}", heads
            server.shutdown()

    return serving


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"


def test_a_request_has_only_the_given_headers_and_ignores_proxies(recorder, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{ports.unused()}")
    with recorder(OK) as (url, heads), new_client(url, headers={"X-One": "1"}) as client:
        assert client.get("/live/").text == "OK"

    (head,) = heads
    request_line, *headers = head.splitlines()
    assert request_line == "GET /live/ HTTP/1.1"
    assert {header.partition(":")[0].lower() for header in headers} == {"host", "x-one"}


def test_redirects_are_not_followed(recorder):
    with recorder(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere/\r\nContent-Length: 0\r\n\r\n") as (url, heads):
        assert status_of(url, "/live/") == 302

    assert len(heads) == 1


@pytest.mark.parametrize("path", ["//metrics/", "/x/../metrics/", "/%6detrics/?a=%2F&b=\u0022"])
def test_a_path_is_sent_as_it_is(recorder, path):
    with recorder(OK) as (url, heads):
        assert fetch(url, path).body == b"OK"

    assert heads[0].splitlines()[0] == f"GET {path} HTTP/1.1"


def test_headers_that_are_sent_twice_stay_two_and_a_compressed_body_stays_compressed(recorder):
    response = b"HTTP/1.1 200 OK\r\nVary: A\r\nVary: B\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nraw!"
    with recorder(response) as (url, _):
        found = fetch(url, "/")

    assert (found.headers.get_list("Vary"), found.body) == (["A", "B"], b"raw!")


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"])
def test_a_body_that_is_cut_off_is_not_taken_for_a_whole_one(recorder, framing):
    with recorder(b"HTTP/1.1 200 OK\r\n" + framing) as (url, _):
        response = fetch(url, "/")

    assert (response.status, response.body) == (CUT, b"half")


def test_a_server_that_does_not_respond_has_no_status(recorder):
    assert status_of(f"http://127.0.0.1:{ports.unused()}", "/") is None
    with recorder(b"") as (url, _):
        assert status_of(url, "/") is None
