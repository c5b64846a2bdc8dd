"""What a kept answer costs, counted where it is spent: at the socket to Redis, and at the pools of connections."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis.connection
from sqlalchemy import event

from campshub.core.cache import popular
from campshub.core.db.session import db
from campshub.core.http import slow_requests
from campshub.core.observe import metrics
from campshub.core.redis.pipeline import PipelinedRedis
from campshub.core.security.permissions import Role
from campshub.core.services import ServiceContainer
from tests.cached_reads import cached
from tests.seeds import Seeds, seed
from tests.test_budgets import BUDGETS

# A Redis that has just started is not trusted for ten seconds, nor is any while a lease has lapsed; what is counted is
# what was found where it was looked for.
PATIENCE_S = 40


@dataclass
class Spent:
    """What one answer has cost."""

    status: int
    trips: list[bytes] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    found: str = ""
    etag: str | None = None


class Line:
    """A socket that tells what is sent through it."""

    def __init__(self, socket: Any, sent: list[bytes]) -> None:
        self._socket = socket
        self._sent = sent

    def sendall(self, words: bytes) -> None:
        """Send some bytes."""
        self._sent.append(words)
        self._socket.sendall(words)

    def recv(self, most: int) -> bytes:
        """Return what has come."""
        found: bytes = self._socket.recv(most)
        return found


@contextmanager
def counted(app: Any, spent: Spent) -> Iterator[None]:
    """Count what is sent to Redis by any way, and the connections to PostgreSQL that are taken."""
    wires: list[PipelinedRedis] = app.extensions["campshub"].freshness.wires
    sockets = [wire._socket for wire in wires]
    send, connect = redis.connection.AbstractConnection.send_packed_command, PipelinedRedis._connect

    def sent(connection: Any, command: Any, *given: Any, **options: Any) -> Any:
        spent.trips.append(b"by redis-py")
        return send(connection, command, *given, **options)

    def connected(wire: PipelinedRedis) -> None:
        spent.trips.append(b"connected anew")
        connect(wire)

    def taken(*_: Any) -> None:
        spent.connections.append("taken")

    with app.app_context():
        pools = [engine.pool for engine in db.engines.values()]
    for pool in pools:
        event.listen(pool, "checkout", taken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.connection.AbstractConnection, "send_packed_command", sent)
        patch.setattr(PipelinedRedis, "_connect", connected)
        for wire, socket in zip(wires, sockets, strict=True):
            patch.setattr(wire, "_socket", Line(socket, spent.trips))
        try:
            yield
        finally:
            for pool in pools:
                event.remove(pool, "checkout", taken)


def figures(tag: str) -> dict[str, float]:
    """Return how often a family's answers were found, by layer, and missed."""
    layers = {layer: metrics.hits.labels(tag, layer)._value.get() for layer in ("memory", "redis")}
    return {**layers, "made": metrics.misses.labels(tag)._value.get()}


def spend(app: Any, operation: Any, client: Any, address: str, **headers: str) -> Spent:
    """Ask once, and tell what it cost and where the answer was found."""
    spent, before = Spent(0), figures(operation.handler.options.cache_policy.tags[0])
    with counted(app, spent):
        answer = client.get(address, headers=headers)
    after = figures(operation.handler.options.cache_policy.tags[0])
    spent.status, spent.statements = answer.status, answer.statements
    spent.found = next((where for where in after if after[where] > before[where]), "")
    spent.etag = answer.headers.get("ETag")
    return spent


def leave_memory(services: ServiceContainer) -> None:
    """Be a process that was not asked for this yet."""
    services.response_cache.memory.clear()


def leave_everyone(services: ServiceContainer) -> None:
    """Be a process that nobody has asked anything."""
    leave_memory(services)
    services.caller_states.clear()


def leave_everything(services: ServiceContainer) -> None:
    """Let Redis forget the answers as well, but neither stamps nor callers."""
    for answer, _ in list(services.response_cache.memory._entries.values()):
        services.cache.client.delete(answer.key)
    leave_memory(services)


def leave_nothing(_platform: ServiceContainer) -> None:
    """Be the process that has just answered."""


@pytest.fixture(autouse=True)
def nothing_now_and_then(monkeypatch):
    """Leave out what is told to Redis once a minute, and of what was slow."""
    monkeypatch.setattr(popular, "EVERY_S", 1e9)
    monkeypatch.setattr(slow_requests, "OVER_S", 1e9)


@pytest.fixture(scope="module")
def seeds(app) -> Seeds:
    return seed(app, "Quokka")


def asked_until(app: Any, seeds: Seeds, operation: Any, layer: str, prepare: Any, **headers: str) -> Spent:
    """Ask until the answer is found in a layer; each time after some preparation."""
    client, address = seeds.place.the(Role.ADMIN), operation.address(seeds.ids)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        client.get(address)
        prepare(app.extensions["campshub"])
        spent = spend(app, operation, client, address, **headers)
        if spent.found == layer:
            return spent
        time.sleep(0.02)
    raise AssertionError(f"{operation.name} was never found in {layer}")


@pytest.mark.parametrize(
    ("layer", "forget"),
    [
        ("memory", leave_nothing),
        ("redis", leave_memory),
        ("redis", leave_everyone),
    ],
)
def test_a_kept_answer_costs_one_round_trip_and_no_statement(app, seeds, layer, forget):
    wrong, tags = [], set()
    for operation in cached(app):
        told = asked_until(app, seeds, operation, layer, forget)
        unchanged = asked_until(app, seeds, operation, layer, forget, **{"If-None-Match": str(told.etag)})
        tags.add(operation.handler.options.cache_policy.tags)
        for spent, status in ((told, 200), (unchanged, 304)):
            cost = (spent.status, len(spent.trips), spent.connections, spent.statements)
            if cost != (status, 1, [], []):
                wrong.append((operation.name, *cost))

    assert wrong == []
    assert len(tags) > 5


def test_an_answer_that_must_be_made_costs_one_call_to_redis_more_and_its_own_statements(app, seeds):
    wrong = []
    for operation in cached(app):
        spent = asked_until(app, seeds, operation, "made", leave_everything)
        cost = (spent.status, len(spent.trips), len(spent.connections), len(spent.statements))
        if cost != (200, 2, BUDGETS[operation.name], BUDGETS[operation.name]):
            wrong.append((operation.name, *cost, spent.statements))

    assert wrong == []
