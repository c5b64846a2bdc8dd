"""A simple HTTP client for the tests of the stack, which can also send raw bytes."""

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

PATIENCE_S = 60
THREADS = 4


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.body)
        return self.json


CUT = 0  # the status of a response whose head arrived but whose body was incomplete


def _read(response: http.client.HTTPResponse) -> Response:
    try:
        return Response(response.status, response.headers, response.read())
    except http.client.IncompleteRead as error:
        return Response(CUT, response.headers, error.partial)


def fetch(
    url: str, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, body: Any = None
) -> Response:
    """Send one request on a new connection; a body that is not bytes is sent as JSON."""
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, sent)
        return _read(connection.getresponse())
    finally:
        connection.close()


def fetch_raw(url: str, data: bytes, method: str = "GET") -> Response:
    """Send raw bytes, and read a response."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
        connection.sendall(data)
        with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
            response.begin()
            return _read(response)


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


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait until a condition is condition; return its value."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not true after {patience_s} s")
