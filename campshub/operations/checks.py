"""Threshold checks: what is measured, the limit that raises an alert, and advice for the operator."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import redis
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from campshub.core import partitions
from campshub.core.db.session import REPLICA, db
from campshub.core.http import slow_requests
from campshub.core.redis.connection import ANSWER_WITHIN_S
from campshub.core.service_base import Services

PERCENT, SECONDS, MONTHS = "%", "s", "months"
OUT_OF_REACH = "reach"

_CONNECTIONS = text(
    "SELECT 100.0 * count(*) / current_setting('max_connections')::int FROM pg_stat_activity"
    " WHERE backend_type = 'client backend'"
)
_STATEMENTS = text(
    """
    SELECT queryid::text AS subject, mean_exec_time / 1000 AS value FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls >= 5
       AND mean_exec_time > :over_ms AND query !~* '^\\s*(vacuum|analyze|reindex|create|alter|copy|explain|with due)'
     ORDER BY mean_exec_time DESC LIMIT 10
    """
)
_LAG = text(
    "SELECT CASE WHEN NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8"
)
_OLDEST_DUE = text(
    "SELECT coalesce(extract(epoch FROM now() - min(available_at)), 0)::float8 FROM outbox"
    " WHERE finished_at IS NULL AND died_at IS NULL AND available_at <= now()"
    " AND NOT EXISTS (SELECT FROM organizations o WHERE o.id = organization_id AND o.status <> 'active')"
)
_DEAD = text("SELECT count(*)::float8 FROM outbox WHERE died_at > now() - INTERVAL '1 day'")


@dataclass(frozen=True)
class Threshold:
    """One check: the limit of its value (a maximum, or with ``is_least`` a minimum), and the advice."""

    name: str
    limit: float
    unit: str
    advice: str
    is_least: bool = False

    def is_crossed(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        return value < self.limit if self.is_least else value > self.limit


@dataclass(frozen=True)
class Found:
    """The value that a check has found for one subject."""

    threshold: Threshold
    subject: str
    value: float

    @property
    def is_crossed(self) -> bool:
        """Whether it must raise an alert."""
        return self.threshold.is_crossed(self.value)


CPU = Threshold("cpu", 80, PERCENT, "add a machine for API processes or workers, or lower GUNICORN_WORKERS")
MEMORY = Threshold("memory", 80, PERCENT, "add memory, or lower GUNICORN_WORKERS, CACHE_MEMORY_MB or --concurrency")
DISK = Threshold("disk", 90, PERCENT, "add disk; archive old months (flask partitions archive), delete old files")
CONNECTIONS = Threshold(
    "connections", 80, PERCENT, "raise max_connections, or lower PgBouncer's default_pool_size; look for idle ones"
)
STATEMENT = Threshold(
    "statement", 1, SECONDS, "flask optimize-database lists the slowest; EXPLAIN it, and index what it filters by"
)
REQUEST = Threshold("request", 1, SECONDS, "the log's slow statements name the route; raise DB_POOL_SIZE if they wait")
REPLICA_LAG = Threshold("replica_lag", 10, SECONDS, "add a replica, or look for long queries on this one")
PARTITIONS = Threshold("partitions_ahead", 2, MONTHS, "flask partitions ensure; see why its job fails", is_least=True)
OUTBOX = Threshold("outbox_age", 300, SECONDS, "flask jobs workers and flask jobs list; start or add workers")
DEAD_JOBS = Threshold("dead_jobs", 0, "jobs", "flask jobs dead; fix the cause, then flask jobs replay")
REDIS_MEMORY = Threshold("redis_memory", 80, PERCENT, "raise maxmemory; the broker refuses calls when it is full")
UNREACHABLE = Threshold("away", 0, OUT_OF_REACH, "start it again; /health/ names the parts")

ALL = (
    CPU,
    MEMORY,
    DISK,
    CONNECTIONS,
    STATEMENT,
    REQUEST,
    REPLICA_LAG,
    PARTITIONS,
    OUTBOX,
    DEAD_JOBS,
    REDIS_MEMORY,
    UNREACHABLE,
)


def run(services: Services) -> list[Found]:
    """Run all checks; a part that does not respond is reported as unreachable, and the other checks still run."""
    found = list(_machine())
    for subject, check in (
        ("database", _database),
        ("replicas", _replicas),
        ("partitions", _partitions),
        ("jobs", _jobs),
        ("redis", _redis),
        ("requests", _requests),
    ):
        found += _tried(subject, lambda check=check: list(check(services)))  # type: ignore[misc]
    return found


def _tried(subject: str, check: Callable[[], list[Found]]) -> list[Found]:
    try:
        return [*check(), Found(UNREACHABLE, subject, 0)]
    except (SQLAlchemyError, redis.RedisError, OSError):
        return [Found(UNREACHABLE, subject, 1)]


def _machine() -> Iterator[Found]:
    host = os.uname().nodename
    yield Found(CPU, host, psutil.cpu_percent(interval=1.0))
    yield Found(MEMORY, host, psutil.virtual_memory().percent)
    yield Found(DISK, host, psutil.disk_usage(str(Path.cwd())).percent)


def _system() -> Connection:
    return db.engines["system"].connect()


def _database(services: Services) -> Iterator[Found]:
    with partitions.maintenance(services.settings) as connection:
        connection.execute(text("RESET ROLE"))
        yield Found(CONNECTIONS, "primary", float(connection.scalar(_CONNECTIONS) or 0))
        for row in connection.execute(_STATEMENTS, {"over_ms": 1000 * STATEMENT.limit}):
            yield Found(STATEMENT, row.subject, row.value)


def _replicas(services: Services) -> Iterator[Found]:  # noqa: ARG001 - every check takes the services
    for name, engine in db.engines.items():
        if name and name.startswith(REPLICA):
            with engine.connect() as connection:
                yield Found(REPLICA_LAG, name, float(connection.scalar(_LAG) or 0))


def _partitions(services: Services) -> Iterator[Found]:
    with partitions.maintenance(services.settings) as connection:
        for table, count in partitions.months_ahead(connection, datetime.now(UTC).date()).items():
            yield Found(PARTITIONS, table, float(count))


def _jobs(services: Services) -> Iterator[Found]:  # noqa: ARG001 - see above
    with _system() as connection:
        yield Found(OUTBOX, "outbox", float(connection.scalar(_OLDEST_DUE) or 0))
        yield Found(DEAD_JOBS, "outbox", float(connection.scalar(_DEAD) or 0))


def _redis(services: Services) -> Iterator[Found]:
    settings = services.settings
    for name, url in (
        *((f"cache{number}", url) for number, url in enumerate(settings.redis_urls)),
        ("broker", settings.celery_broker_url),
    ):
        client: Any = redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        with closing(client):
            memory = client.info("memory")
        # Only the broker: a full cache is normal, because it evicts the least used keys.
        if name == "broker" and memory["maxmemory"]:
            yield Found(REDIS_MEMORY, name, 100 * memory["used_memory"] / memory["maxmemory"])


def _requests(services: Services) -> Iterator[Found]:
    for route, seconds in slow_requests.take(services.cache.client).items():
        yield Found(REQUEST, route, seconds)
