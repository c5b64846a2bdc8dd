"""Ask over HTTP as a client does, byte by byte where that is the point."""

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
class Answer:
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


CUT = 0  # an answer whose head came and whose body did not


def _read(response: http.client.HTTPResponse) -> Answer:
    try:
        return Answer(response.status, response.headers, response.read())
    except http.client.IncompleteRead as error:
        return Answer(CUT, response.headers, error.partial)


def ask(url: str, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
    """Send one request on a connection of its own; a body that is not bytes goes as JSON."""
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, sent)
        return _read(connection.getresponse())
    finally:
        connection.close()


def ask_raw(url: str, words: bytes, method: str = "GET") -> Answer:
    """Send bytes as they are, and read an answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
        connection.sendall(words)
        with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
            response.begin()
            return _read(response)


def under_load(asking: Callable[[], Answer], fault: Callable[[], object], threads: int = THREADS) -> list[Answer]:
    """Ask without pause from several threads before, while and after something happens; return all answers."""
    answers: list[Answer] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            answers.append(asking())

    with ThreadPoolExecutor(threads) as pool:
        asked = [pool.submit(go_on) for _ in range(threads)]
        try:
            time.sleep(0.2)
            fault()
            time.sleep(0.5)
        finally:
            ended.set()
    for one in asked:
        one.result()  # raises what went wrong on the way, a refused connection too
    return answers


def until(true: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not so after {patience_s} s")
