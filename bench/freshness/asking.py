"""Asking over kept connections, and what each answer's status may be at its moment."""

import http.client
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from bench.freshness.figures import Figures
from bench.freshness.ledger import Ledger
from devstack.ports import LOOPBACK

PATIENCE_S = 30.0
# What the cap of reads that replicas should have answered says.
SPILLED = b"The replicas are away or behind."


@dataclass
class Absence:
    """When a part was away.

    :param turns: how often it went or came. A connection made in an earlier turn is dead: so is one that was made
        between the word that the part goes and its death.
    """

    is_on: bool = False
    ended: float = 0.0
    turns: int = 0

    def begin(self) -> None:
        """Note that the part goes away now."""
        self.is_on, self.turns = True, self.turns + 1

    def end(self) -> None:
        """Note that the part is back."""
        if self.is_on:
            self.is_on, self.ended, self.turns = False, time.monotonic(), self.turns + 1

    def meets(self, started: float) -> bool:
        """Tell whether the part was away at some moment since then."""
        return self.is_on or self.ended >= started


@dataclass
class Address:
    """One address of the API: a process of its own, or nginx before all of them."""

    name: str
    port: int
    away: Absence = field(default_factory=Absence)


@dataclass(frozen=True)
class Answer:
    """What came back, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    started: float
    address: Address

    @property
    def json(self) -> Any:
        """The body."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        try:
            return str(self.json["code"])
        except (ValueError, KeyError, TypeError):
            return ""


class Unanswered(Exception):
    """Nobody answered; whether a write was carried out is not known."""


class Asker:
    """One caller's kept connections; not for several threads at once."""

    def __init__(self, figures: Figures, ledger: Ledger, primary: Absence) -> None:
        self.figures, self.ledger, self.primary = figures, ledger, primary
        self._kept: dict[str, tuple[http.client.HTTPConnection, int]] = {}

    def ask(self, address: Address, method: str, path: str, token: str, body: Any = None, **headers: str) -> Answer:
        """Send one request and count its answer.

        :raises Unanswered: there was none.
        """
        what, phase = ("read" if method == "GET" else "write"), self.figures.phase
        sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): v for name, v in headers.items()}}
        given = None if body is None else orjson.dumps(body)
        if given is not None:
            sent["Content-Type"] = "application/json"
        started = time.monotonic()
        try:
            connection = self._connection(address)
            connection.request(method, path, given, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read(), started, address)
        except (OSError, http.client.HTTPException) as error:
            self._let_go(address)
            self._unanswered(what, address, started, error)
            raise Unanswered from error
        self.figures.answered(what, phase, _status(answer), time.monotonic() - started)
        return answer

    def close(self) -> None:
        """Close all connections."""
        for connection, _ in self._kept.values():
            connection.close()
        self._kept.clear()

    def is_passing(self, answer: Answer) -> bool:
        """Tell whether an answer may be an error at its moment; one that may not is a broken promise."""
        status = answer.status
        what = f"{status} {answer.code} from {answer.address.name} after {time.monotonic() - answer.started:.2f} s"
        if status == HTTPStatus.SERVICE_UNAVAILABLE and not answer.headers.get("Retry-After"):
            self.ledger.accuse("503 without Retry-After", what)
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            if self.primary.meets(answer.started) or SPILLED in answer.body:
                return True
            self.ledger.accuse("503 while the primary is there", what)
        elif status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}:
            # nginx, whose process was killed with the request.
            if answer.address.away.meets(answer.started):
                return True
            self.ledger.accuse("502 without a killed process", what)
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.ledger.accuse("500", what)
        else:
            self.ledger.accuse("unexpected status", f"{what}: {answer.body[:300]!r}")
        return False

    def _connection(self, address: Address) -> http.client.HTTPConnection:
        kept = self._kept.get(address.name)
        if kept is not None and kept[1] == address.away.turns:
            return kept[0]
        if kept is not None:  # its process was killed meanwhile, and this connection with it
            kept[0].close()
        made = http.client.HTTPConnection(LOOPBACK, address.port, timeout=PATIENCE_S)
        self._kept[address.name] = (made, address.away.turns)
        return made

    def _let_go(self, address: Address) -> None:
        connection, _ = self._kept.pop(address.name, (None, 0))
        if connection is not None:
            connection.close()

    def _unanswered(self, what: str, address: Address, started: float, error: Exception) -> None:
        kind = type(error).__name__
        allowed = address.away.meets(started)
        self.figures.failed(what, f"{kind} ({'killed' if allowed else 'not killed'})")
        if not allowed:
            seconds = time.monotonic() - started
            self.ledger.accuse("connection error", f"{what} {kind} at {address.name} after {seconds:.2f} s")


def _status(answer: Answer) -> str:
    return f"{answer.status} {answer.code}".strip() if answer.status >= HTTPStatus.BAD_REQUEST else str(answer.status)
