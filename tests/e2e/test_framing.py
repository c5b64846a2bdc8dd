"""Bodies that are not what their headers say, against the real server."""

import json
import socket
import urllib.parse

import pytest


@pytest.fixture
def send(demo):
    """Send bytes as they are; answers the status and the problem's code."""
    known = json.loads((demo / ".devstack" / "state.json").read_text())
    address = urllib.parse.urlsplit(known["base_url"])

    def send(body: bytes, *headers: str) -> tuple[int, str]:
        head = ["POST /api/auth/token/ HTTP/1.1", f"Host: {address.netloc}", "Content-Type: application/json", *headers]
        with socket.create_connection((address.hostname, address.port), timeout=10) as it:
            it.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
            it.shutdown(socket.SHUT_WR)
            response = b"".join(iter(lambda: it.recv(65536), b""))
        top, _, document = response.partition(b"\r\n\r\n")
        return int(top.split()[1]), json.loads(document)["code"]

    return send


def test_chunks_that_do_not_add_up_are_the_callers_fault(send):
    chunked = "Transfer-Encoding: chunked"

    assert send(b"zz\r\n{}\r\n0\r\n\r\n", chunked) == (400, "malformed_body")
    assert send(b"5\r\n{}", chunked)[0] == 400
    assert send(b'{"email"', "Content-Length: 400")[0] == 400


def test_what_only_a_proxy_may_say_is_not_believed_of_a_neighbour(demo):
    known = json.loads((demo / ".devstack" / "state.json").read_text())
    address = urllib.parse.urlsplit(known["base_url"])

    def told(path: str, *headers: str) -> bytes:
        with socket.create_connection((address.hostname, address.port), timeout=10) as it:
            lines = [f"GET {path} HTTP/1.1", f"Host: {address.netloc}", *headers, "Connection: close", "", ""]
            it.sendall("\r\n".join(lines).encode())
            return b"".join(iter(lambda: it.recv(65536), b""))

    for header in ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl"):
        assert b"Strict-Transport-Security" not in told("/live/", header), header
    assert told("/x/live/", "SCRIPT_NAME: /x").split()[1] in (b"400", b"404")
