"""The HTTP client of the stack, its tests and its benchmarks: httpx with one set of defaults."""

import ssl
from collections.abc import Mapping

import httpx

PATIENCE_S = 60.0
# All of these servers speak plain HTTP. A context that trusts no certificate saves the 15 ms of CPU in which each new
# client would read the root certificates.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def new_client(
    url: str = "", *, headers: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S
) -> httpx.Client:
    """Return an HTTP/1.1 client that ignores the environment's proxies and follows no redirects.

    It sends no headers of its own except those that HTTP requires: with httpx's ``Accept-Encoding``, responses would be
    compressed.
    """
    client = httpx.Client(
        base_url=url, timeout=patience_s, trust_env=False, follow_redirects=False, http2=False, verify=_NO_TLS
    )
    client.headers.clear()
    client.headers.update(headers)
    return client


def status_of(url: str, path: str, *, patience_s: float = 5.0) -> int | None:
    """Return the status of a GET, or None if there was no response."""
    try:
        with new_client(url, patience_s=patience_s) as client:
            return client.get(path).status_code
    except httpx.TransportError:
        return None
