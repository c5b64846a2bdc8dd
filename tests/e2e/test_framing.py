"""Bodies that contradict their headers, against the real server."""

import json
import socket
import urllib.parse

import pytest


@pytest.fixture
def send(demo):
    """Send raw bytes; return the status and the problem's code."""
    state = json.loads((demo / ".devstack" / "state.json").read_text())
    base_url = urllib.parse.urlsplit(state["base_url"])

    def send(body: bytes, *headers: str) -> tuple[int, str]:
        head = [
            "POST /api/auth/token/ HTTP/1.1",
            f"Host: {base_url.netloc}",
            "Content-Type: application/json",
            *headers,
        ]
        with socket.create_connection((base_url.hostname, base_url.port), timeout=10) as it:
            it.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
            it.shutdown(socket.SHUT_WR)
            response = b"".join(iter(lambda: it.recv(65536), b""))
        top, _, document = response.partition(b"\r\n\r\n")
        return int(top.split()[1]), json.loads(document)["code"]

    return send


def test_malformed_chunks_are_a_client_error(send):
    chunked = "Transfer-Encoding: chunked"

    assert send(b"zz\r\n{}\r\n0\r\n\r\n", chunked) == (400, "malformed_body")
    assert send(b"5\r\n{}", chunked)[0] == 400
    assert send(b'{"email"', "Content-Length: 400")[0] == 400


def test_proxy_headers_of_an_untrusted_client_are_ignored(demo):
    state = json.loads((demo / ".devstack" / "state.json").read_text())
    base_url = urllib.parse.urlsplit(state["base_url"])

    def get(path: str, *headers: str) -> bytes:
        with socket.create_connection((base_url.hostname, base_url.port), timeout=10) as it:
            lines = [f"GET {path} HTTP/1.1", f"Host: {base_url.netloc}", *headers, "Connection: close", "", ""]
            it.sendall("\r\n".join(lines).encode())
            return b"".join(iter(lambda: it.recv(65536), b""))

    for header in ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl"):
        assert b"Strict-Transport-Security" not in get("/live/", header), header
    assert get("/x/live/", "SCRIPT_NAME: /x").split()[1] in (b"400", b"404")
