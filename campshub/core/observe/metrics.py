"""Counters and durations, as Prometheus reads them at ``/metrics/``.

Under gunicorn the processes share them through ``PROMETHEUS_MULTIPROC_DIR``.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from campshub.core.observe import slow
from campshub.core.observe.prometheus import (
    FOLDER,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from campshub.core.observe.prometheus import REGISTRY as PROCESS

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

requests = Counter("campshub_requests_total", "Requests answered.", ["method", "route", "status"])
latencies = Histogram("campshub_request_seconds", "Time to an answer.", ["route"], buckets=_SECONDS)
statements = Counter("campshub_sql_statements_total", "Statements and batches sent to PostgreSQL.")
statement_seconds = Histogram("campshub_sql_seconds", "Time of a statement or batch.", buckets=_SECONDS)
pool_in_use = Gauge(
    "campshub_pool_connections_in_use", "Connections that are at work.", ["engine"], multiprocess_mode="livesum"
)
breaker_open = Gauge(
    "campshub_breaker_open",
    "Processes that leave a part alone, since it failed.",
    ["name"],
    multiprocess_mode="livesum",
)
reads = Counter("campshub_reads_total", "Read-only units of work, by the server that answered.", ["server"])
hits = Counter("campshub_cache_hits_total", "Finished answers that were kept.", ["family", "layer"])
misses = Counter("campshub_cache_misses_total", "Finished answers that had to be made.", ["family"])
repairs = Counter("campshub_freshness_repairs_total", "Stamps that had to be asked of the primary.")
unstamped = Counter("campshub_freshness_unstamped_total", "Writes that could not be stamped and raised the epoch.")
security_events = Counter("campshub_security_events_total", "Security events, by what has happened.", ["kind"])
apart_failures = Counter("campshub_apart_failures_total", "Writes in a separate transaction that were lost.")


class Family:
    """What was found and missed of a family of finished answers."""

    def __init__(self, name: str) -> None:
        if name:
            self._held, self._stored = (hits.labels(name, layer) for layer in ("memory", "redis"))
            self._missed = misses.labels(name)

    def asked(self, *, found: object, held: object) -> None:
        """Count one question; ``held`` is what the process itself had."""
        (self._missed if found is None else self._held if found is held else self._stored).inc()


# Called with the text of each statement; tests count with it.
listeners: list[Callable[[str], None]] = []


# The children of labelled figures, by their labels: finding one takes longer than counting with it.
_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
_reads: dict[str, Counter] = {}


def read_done(server: str) -> None:
    """Count one read-only unit of work."""
    found = _reads.get(server)
    if found is None:
        found = _reads[server] = reads.labels(server)
    found.inc()


def request_done(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answer."""
    found = _requests.get((method, route, status))
    if found is None:
        found = requests.labels(method, route, status), latencies.labels(route)
        _requests[method, route, status] = found
    counter, histogram = found
    counter.inc()
    histogram.observe(seconds)


def sql_done(text: str, seconds: float) -> None:
    """Count one statement, or one batch that took a single round trip."""
    statements.inc()
    statement_seconds.observe(seconds)
    for listener in tuple(listeners):
        listener(text)
    if seconds >= slow.SlowThreshold.seconds:
        slow.tell(text, seconds)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call a listener with every statement for as long as the block runs."""
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)


def watch(engine: Engine, name: str) -> None:
    """Count an engine's statements and the connections that it has at work."""

    @event.listens_for(engine, "before_cursor_execute")
    def begun(_connection: object, _cursor: object, _text: str, _given: object, context: object, _many: bool) -> None:  # noqa: FBT001 - SQLAlchemy calls it by position
        context.campshub_begun = time.perf_counter()  # type: ignore[attr-defined]

    @event.listens_for(engine, "after_cursor_execute")
    def done(_connection: object, _cursor: object, text: str, _given: object, context: object, _many: bool) -> None:  # noqa: FBT001 - SQLAlchemy calls it by position
        sql_done(text, time.perf_counter() - context.campshub_begun)  # type: ignore[attr-defined]

    slow.watch(engine)
    gauge = pool_in_use.labels(name)
    event.listen(engine, "checkout", lambda *_: gauge.inc())
    event.listen(engine, "checkin", lambda *_: gauge.dec())


def page() -> bytes:
    """Return the figures of all processes in Prometheus' text format."""
    if FOLDER is None:
        return generate_latest(PROCESS)
    return generate_latest(of_all())


def of_all() -> CollectorRegistry:
    """Return what collects the figures of all processes that share a folder."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
