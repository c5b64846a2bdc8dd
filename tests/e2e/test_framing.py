"""Bodies that contradict their headers, against the real server."""

import json

import pytest

from tests.stack.http_client import fetch, fetch_raw


@pytest.fixture
def url(demo) -> str:
    return json.loads((demo / ".devstack" / "state.json").read_text())["base_url"]


@pytest.fixture
def refusal(url):
    """Send a body with headers that no client would send with it; return the status and the problem's code."""

    def refusal(body: bytes, header: str) -> tuple[int, str]:
        head = ["POST /api/auth/token/ HTTP/1.1", f"Host: {url.removeprefix('http://')}"]
        head += ["Content-Type: application/json", header, "Connection: close", "", ""]
        response = fetch_raw(url, "\r\n".join(head).encode() + body, "POST", half_close=True)
        return response.status, response.problem["code"]

    return refusal


def test_malformed_chunks_are_a_client_error(refusal):
    chunked = "Transfer-Encoding: chunked"

    assert refusal(b"zz\r\n{}\r\n0\r\n\r\n", chunked) == (400, "malformed_body")
    assert refusal(b"5\r\n{}", chunked)[0] == 400
    assert refusal(b'{"email"', "Content-Length: 400")[0] == 400


def test_proxy_headers_of_an_untrusted_client_are_ignored(url):
    for name, value in (("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on"), ("X-Forwarded-Protocol", "ssl")):
        response = fetch(url, "/live/", headers={name: value})
        assert response.status == 200
        assert "Strict-Transport-Security" not in response.headers, name
    assert fetch(url, "/x/live/", headers={"SCRIPT_NAME": "/x"}).status in (400, 404)
