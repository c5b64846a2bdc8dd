"""Requests over persistent connections, and which status a response may have at its moment."""

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import orjson

from bench.freshness.ledger import Ledger
from bench.freshness.measurements import Measurements
from devstack.http_client import new_client
from devstack.ports import LOOPBACK

PATIENCE_S = 30.0
# The problem detail when the cap on spilled replica reads is reached.
SPILLED = b"The replicas are unavailable or behind; retry shortly."


@dataclass
class Outage:
    """When a part was unavailable.

    :param turns: how often it stopped or started. A connection made in an earlier turn is dead, and so is one that was
        made between the announcement of the stop and the stop.
    """

    is_on: bool = False
    ended: float = 0.0
    turns: int = 0

    def begin(self) -> None:
        """Record that the part stops now."""
        self.is_on, self.turns = True, self.turns + 1

    def end(self) -> None:
        """Record that the part is back."""
        if self.is_on:
            self.is_on, self.ended, self.turns = False, time.monotonic(), self.turns + 1

    def overlaps(self, started: float) -> bool:
        """Return whether the part was unavailable at some moment since ``started``."""
        return self.is_on or self.ended >= started


@dataclass
class Server:
    """One entry point of the API: a single process, or nginx in front of all of them."""

    name: str
    port: int
    outage: Outage = field(default_factory=Outage)


@dataclass(frozen=True)
class Response:
    """A response, read completely."""

    status: int
    headers: httpx.Headers
    body: bytes
    started: float
    server: Server

    @property
    def json(self) -> Any:
        """Return the body."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """Return the problem's code."""
        try:
            return str(self.json["code"])
        except (ValueError, KeyError, TypeError):
            return ""


class NoResponse(Exception):
    """No response; it is unknown whether a write was carried out."""


class RecordingClient:
    """The persistent connections of one caller; not thread-safe."""

    def __init__(self, measurements: Measurements, ledger: Ledger, primary: Outage) -> None:
        self.measurements, self.ledger, self.primary = measurements, ledger, primary
        self._connections: dict[str, tuple[httpx.Client, int]] = {}

    def send(self, server: Server, method: str, path: str, token: str, body: Any = None, **headers: str) -> Response:
        """Send one request and count its response.

        :raises NoResponse: there was none.
        """
        what, phase = ("read" if method == "GET" else "write"), self.measurements.phase
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:  # there is none before the first sign-in
            sent["Authorization"] = f"Bearer {token}"
        content = None if body is None else orjson.dumps(body)
        if content is not None:
            sent["Content-Type"] = "application/json"
        started = time.monotonic()
        try:
            raw = self._connection(server).request(method, path, content=content, headers=sent)
            response = Response(raw.status_code, raw.headers, raw.content, started, server)
        except httpx.TransportError as error:
            self._discard(server)
            self._record_no_response(what, server, started, error)
            raise NoResponse from error
        self.measurements.count_response(what, phase, _status(response), time.monotonic() - started)
        return response

    def close(self) -> None:
        """Close all connections."""
        for connection, _ in self._connections.values():
            connection.close()
        self._connections.clear()

    def is_allowed(self, response: Response) -> bool:
        """Return whether a response may be an error at its moment; record a broken guarantee otherwise."""
        status = response.status
        what = f"{status} {response.code} from {response.server.name} after {time.monotonic() - response.started:.2f} s"
        if status == HTTPStatus.SERVICE_UNAVAILABLE and not response.headers.get("Retry-After"):
            self.ledger.add_violation("503 without Retry-After", what)
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            if self.primary.overlaps(response.started) or SPILLED in response.body:
                return True
            self.ledger.add_violation("503 although the primary runs", what)
        elif status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}:
            # nginx, whose process was killed with the request.
            if response.server.outage.overlaps(response.started):
                return True
            self.ledger.add_violation("502 without a killed process", what)
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.ledger.add_violation("500", what)
        else:
            self.ledger.add_violation("unexpected status", f"{what}: {response.body[:300]!r}")
        return False

    def _connection(self, server: Server) -> httpx.Client:
        connection = self._connections.get(server.name)
        if connection is not None and connection[1] == server.outage.turns:
            return connection[0]
        if connection is not None:  # its process was killed meanwhile, and so is this connection
            connection[0].close()
        new = new_client(f"http://{LOOPBACK}:{server.port}", patience_s=PATIENCE_S)
        self._connections[server.name] = (new, server.outage.turns)
        return new

    def _discard(self, server: Server) -> None:
        connection, _ = self._connections.pop(server.name, (None, 0))
        if connection is not None:
            connection.close()

    def _record_no_response(self, what: str, server: Server, started: float, error: Exception) -> None:
        kind = type(error).__name__
        allowed = server.outage.overlaps(started)
        self.measurements.failed(what, f"{kind} ({'killed' if allowed else 'not killed'})")
        if not allowed:
            seconds = time.monotonic() - started
            self.ledger.add_violation("connection error", f"{what} {kind} at {server.name} after {seconds:.2f} s")


def _status(response: Response) -> str:
    return (
        f"{response.status} {response.code}".strip()
        if response.status >= HTTPStatus.BAD_REQUEST
        else str(response.status)
    )
