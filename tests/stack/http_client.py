"""Requests to the stack, exactly as written, and responses that may be cut off."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from devstack.http_client import PATIENCE_S, new_client

THREADS = 4


@dataclass
class Response:
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        return self.json


CUT = 0  # the status of a response whose head arrived but whose body was incomplete


def fetch(
    url: str, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, body: Any = None
) -> Response:
    """Send one request on a new connection; a body that is not bytes is sent as JSON."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    # As "target" the path is sent as it is: httpx would resolve its dots, and take two slashes for a host.
    options = {**content, "headers": headers, "extensions": {"target": path.encode("ascii")}}
    with new_client(url) as client, client.stream(method, "/", **options) as response:
        return _read(response)


def _read(response: httpx.Response) -> Response:
    """Read a body as it was sent, compressed or not."""
    pieces = []
    try:
        pieces.extend(response.iter_raw())
    except httpx.RemoteProtocolError:
        return Response(CUT, response.headers, b"".join(pieces))
    return Response(response.status_code, response.headers, b"".join(pieces))


def fetch_raw(url: str, data: bytes, method: str = "GET", *, half_close: bool = False) -> Response:
    """Send raw bytes, and read a response: httpx refuses to send invalid requests, and cannot read from our socket.

    :param half_close: end the request by closing the connection in this direction.
    """
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
            response.begin()
            return Response(response.status, httpx.Headers(response.getheaders()), response.read())


def under_load(send: Callable[[], Response], fault: Callable[[], object], threads: int = THREADS) -> list[Response]:
    """Send requests without pause from several threads before, during and after a fault; return all responses."""
    responses: list[Response] = []
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            responses.append(send())

    with ThreadPoolExecutor(threads) as pool:
        senders = [pool.submit(repeat) for _ in range(threads)]
        try:
            time.sleep(0.2)
            fault()
            time.sleep(0.5)
        finally:
            ended.set()
    for one in senders:
        one.result()  # raises the thread's error, for example a refused connection
    return responses
