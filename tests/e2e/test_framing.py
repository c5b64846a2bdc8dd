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
            answer = b"".join(iter(lambda: it.recv(65536), b""))
        top, _, document = answer.partition(b"\r\n\r\n")
        return int(top.split()[1]), json.loads(document)["code"]

    return send


def test_chunks_that_do_not_add_up_are_the_callers_fault(send):
    chunked = "Transfer-Encoding: chunked"

    assert send(b"zz\r\n{}\r\n0\r\n\r\n", chunked) == (400, "malformed_body")
    assert send(b"5\r\n{}", chunked)[0] == 400
    assert send(b'{"email"', "Content-Length: 400")[0] == 400
