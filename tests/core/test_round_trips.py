"""The cost of a cached response, counted at the socket to Redis and at the connection pools."""

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
from tests.memoized import forget
from tests.seeds import Seeds, seed
from tests.test_budgets import BUDGETS

# A new Redis is not trusted for ten seconds, and none is without a valid lease. So each test waits until the response
# comes from the expected layer, and counts that request.
PATIENCE_S = 40
# Responses that contain memoized values, and their number; each value is computed by one statement.
VALUES = {"GET /api/students/statistics/": 2}


@dataclass
class Spent:
    """The cost of one response."""

    status: int
    trips: list[bytes] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    found: str = ""
    etag: str | None = None


class RecordingSocket:
    """A socket that records what is sent."""

    def __init__(self, socket: Any, sent: list[bytes]) -> None:
        self._socket = socket
        self._sent = sent

    def sendall(self, data: bytes) -> None:
        """Send some bytes."""
        self._sent.append(data)
        self._socket.sendall(data)

    def recv(self, most: int) -> bytes:
        """Receive bytes."""
        found: bytes = self._socket.recv(most)
        return found


@contextmanager
def counted(app: Any, spent: Spent) -> Iterator[None]:
    """Count all calls to Redis, and the connections to PostgreSQL that are taken."""
    wires: list[PipelinedRedis] = app.extensions["campshub"].freshness.servers
    sockets = [wire._socket for wire in wires]
    send, connect = redis.connection.AbstractConnection.send_packed_command, PipelinedRedis._connect

    def sent(connection: Any, command: Any, *given: Any, **options: Any) -> Any:
        spent.trips.append(b"by redis-py")
        return send(connection, command, *given, **options)

    def connected(wire: PipelinedRedis) -> None:
        spent.trips.append(b"new connection")
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
            patch.setattr(wire, "_socket", RecordingSocket(socket, spent.trips))
        try:
            yield
        finally:
            for pool in pools:
                event.remove(pool, "checkout", taken)


def counts_of(tag: str) -> dict[str, float]:
    """Return the number of responses of a tag by layer, and of misses."""
    layers = {layer: metrics.hits.labels(tag, layer)._value.get() for layer in ("memory", "redis")}
    return {**layers, "made": metrics.misses.labels(tag)._value.get()}


def spend(app: Any, operation: Any, client: Any, url: str, **headers: str) -> Spent:
    """Send one request; return its cost and the layer that served it."""
    spent, before = Spent(0), counts_of(operation.endpoint.options.cache_policy.tags[0])
    with counted(app, spent):
        response = client.get(url, headers=headers)
    after = counts_of(operation.endpoint.options.cache_policy.tags[0])
    spent.status, spent.statements = response.status, response.statements
    spent.found = next((where for where in after if after[where] > before[where]), "")
    spent.etag = response.headers.get("ETag")
    return spent


def forget_responses(services: ServiceContainer) -> None:
    """Clear the responses in the memory of the process."""
    services.response_cache.memory.clear()


def forget_callers(services: ServiceContainer) -> None:
    """Clear all memory of the process."""
    forget_responses(services)
    services.caller_states.clear()


def forget_responses_in_redis(services: ServiceContainer) -> None:
    """Clear the responses in memory and in Redis, but neither stamps nor caller states."""
    for response, _ in list(services.response_cache.memory._entries.values()):
        services.cache.client.delete(response.key)
    forget_responses(services)


def forget_nothing(_services: ServiceContainer) -> None:
    """Clear nothing."""


@pytest.fixture(autouse=True)
def no_periodic_calls(monkeypatch):
    """Disable the calls to Redis that happen once a minute or for slow requests."""
    monkeypatch.setattr(popular, "EVERY_S", 1e9)
    monkeypatch.setattr(slow_requests, "OVER_S", 1e9)


@pytest.fixture(scope="module")
def seeds(app) -> Seeds:
    return seed(app, "Quokka")


def spend_until(app: Any, seeds: Seeds, operation: Any, layer: str, prepare: Any, **headers: str) -> Spent:
    """Repeat a read until a layer serves it, each time after some preparation."""
    client, url = seeds.tenant.the(Role.ADMIN), operation.address(seeds.ids)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        client.get(url)
        prepare(app.extensions["campshub"])
        spent = spend(app, operation, client, url, **headers)
        if spent.found == layer:
            return spent
        time.sleep(0.02)
    raise AssertionError(f"{operation.name} was never found in {layer}")


@pytest.mark.parametrize(
    ("layer", "forget"),
    [
        ("memory", forget_nothing),
        ("redis", forget_responses),
        ("redis", forget_callers),
    ],
)
def test_a_cached_response_costs_one_round_trip_and_no_statement(app, seeds, layer, forget):
    wrong, tags = [], set()
    for operation in cached(app):
        full = spend_until(app, seeds, operation, layer, forget)
        unchanged = spend_until(app, seeds, operation, layer, forget, **{"If-None-Match": str(full.etag)})
        tags.add(operation.endpoint.options.cache_policy.tags)
        for spent, status in ((full, 200), (unchanged, 304)):
            cost = (spent.status, len(spent.trips), spent.connections, spent.statements)
            if cost != (status, 1, [], []):
                wrong.append((operation.name, *cost))

    assert wrong == []
    assert len(tags) > 5


def test_a_cache_miss_costs_one_more_redis_call_and_its_own_statements(app, seeds):
    wrong = []
    for operation in (one for one in cached(app) if one.name not in VALUES):
        spent = spend_until(app, seeds, operation, "made", forget_responses_in_redis)
        cost = (spent.status, len(spent.trips), len(spent.connections), len(spent.statements))
        within = len(spent.connections) == len(spent.statements) <= BUDGETS[operation.name]
        if cost[:2] != (200, 2) or not within:
            wrong.append((operation.name, *cost, spent.statements))

    assert wrong == []


def forget_values_everywhere(services: ServiceContainer) -> None:
    """Clear the responses, and the values in memory and in Redis."""
    forget_responses_in_redis(services)
    for key in services.cache.client.keys("value:*"):
        services.cache.client.delete(key)


def forget_values_in_memory(services: ServiceContainer) -> None:
    """Clear the responses, and the values in memory; those in Redis stay."""
    forget(services, responses=True, in_redis=True)
    forget_responses(services)


def forget_responses_only(services: ServiceContainer) -> None:
    """Clear the responses; the values stay."""
    forget(services, responses=True, in_redis=True)


@pytest.mark.parametrize(
    ("prepare", "trips_for_each", "is_computed"),
    [(forget_values_everywhere, 2, True), (forget_values_in_memory, 1, False), (forget_responses_only, 0, False)],
)
def test_a_memoized_value_costs_at_most_two_more_redis_calls_and_saves_its_statement(
    app, seeds, prepare, trips_for_each, is_computed
):
    wrong = []
    for operation in (one for one in cached(app) if one.name in VALUES):
        spend_until(app, seeds, operation, "made", prepare)  # puts the values into memory
        spent = spend_until(app, seeds, operation, "made", prepare)
        statements = VALUES[operation.name] if is_computed else 0
        cost = (spent.status, len(spent.trips), len(spent.connections), len(spent.statements))
        if cost != (200, 2 + trips_for_each * VALUES[operation.name], statements, statements):
            wrong.append((operation.name, *cost, spent.statements))

    assert wrong == []
