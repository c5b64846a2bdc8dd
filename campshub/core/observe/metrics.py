"""Metrics for Prometheus, served at ``/metrics/``.

Under gunicorn the processes share them in ``PROMETHEUS_MULTIPROC_DIR``.
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

requests = Counter("campshub_requests_total", "Completed requests.", ["method", "route", "status"])
latencies = Histogram("campshub_request_seconds", "Response time.", ["route"], buckets=_SECONDS)
statements = Counter("campshub_sql_statements_total", "Statements and batches sent to PostgreSQL.")
statement_seconds = Histogram("campshub_sql_seconds", "Duration of a statement or batch.", buckets=_SECONDS)
pool_in_use = Gauge("campshub_pool_connections_in_use", "Connections in use.", ["engine"], multiprocess_mode="livesum")
breaker_open = Gauge(
    "campshub_breaker_open",
    "Processes whose circuit breaker for a service is open.",
    ["name"],
    multiprocess_mode="livesum",
)
reads = Counter("campshub_reads_total", "Read-only units of work, by server.", ["server"])
hits = Counter("campshub_cache_hits_total", "Responses served from the cache.", ["family", "layer"])
misses = Counter("campshub_cache_misses_total", "Responses that had to be rendered.", ["family"])
value_hits = Counter("campshub_value_cache_hits_total", "Memoized values that were cached.", ["value", "layer"])
value_misses = Counter("campshub_value_cache_misses_total", "Memoized values that had to be computed.", ["value"])
repairs = Counter("campshub_freshness_repairs_total", "Repairs of stamps, each with a query to the primary.")
unstamped = Counter("campshub_freshness_unstamped_total", "Writes that could not be stamped and raised the epoch.")
security_events = Counter("campshub_security_events_total", "Security events, by kind.", ["kind"])
separate_write_failures = Counter(
    "campshub_separate_write_failures_total", "Writes in a separate transaction that were lost."
)


class CacheMetrics:
    """The counts of cache hits and misses of a family of responses, or of a memoized value."""

    def __init__(self, name: str, hits: Counter = hits, misses: Counter = misses) -> None:
        if name:
            self._in_memory, self._in_redis = (hits.labels(name, layer) for layer in ("memory", "redis"))
            self._missed = misses.labels(name)

    def count(self, *, found: object, in_memory: object) -> None:
        """Count one lookup; ``in_memory`` is what the process has in memory."""
        (self._missed if found is None else self._in_memory if found is in_memory else self._in_redis).inc()


# Called with the SQL of each statement; tests count statements with it.
listeners: list[Callable[[str], None]] = []


# The children of labelled metrics, by their labels: looking one up takes longer than incrementing it.
_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
_reads: dict[str, Counter] = {}


def count_read(server: str) -> None:
    """Count one read-only unit of work."""
    found = _reads.get(server)
    if found is None:
        found = _reads[server] = reads.labels(server)
    found.inc()


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one response."""
    found = _requests.get((method, route, status))
    if found is None:
        found = requests.labels(method, route, status), latencies.labels(route)
        _requests[method, route, status] = found
    counter, histogram = found
    counter.inc()
    histogram.observe(seconds)


def count_statement(text: str, seconds: float) -> None:
    """Count one statement, or one batch that took a single round trip."""
    statements.inc()
    statement_seconds.observe(seconds)
    for listener in tuple(listeners):
        listener(text)
    if seconds >= slow.SlowThreshold.seconds:
        slow.log_statement(text, seconds)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call a listener with every statement while the block runs."""
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)


def watch(engine: Engine, name: str) -> None:
    """Count an engine's statements, and its connections in use."""

    @event.listens_for(engine, "before_cursor_execute")
    def begun(_connection: object, _cursor: object, _text: str, _values: object, context: object, _many: bool) -> None:  # noqa: FBT001 - SQLAlchemy calls it by position
        context.campshub_begun = time.perf_counter()  # type: ignore[attr-defined]

    @event.listens_for(engine, "after_cursor_execute")
    def done(_connection: object, _cursor: object, text: str, _values: object, context: object, _many: bool) -> None:  # noqa: FBT001 - SQLAlchemy calls it by position
        count_statement(text, time.perf_counter() - context.campshub_begun)  # type: ignore[attr-defined]

    slow.watch(engine)
    gauge = pool_in_use.labels(name)
    event.listen(engine, "checkout", lambda *_: gauge.inc())
    event.listen(engine, "checkin", lambda *_: gauge.dec())


def render() -> bytes:
    """Return the metrics of all processes in Prometheus' text format."""
    if FOLDER is None:
        return generate_latest(PROCESS)
    return generate_latest(all_processes())


def all_processes() -> CollectorRegistry:
    """Return a registry with the metrics of all processes that share a folder."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
