"""Optimize the database: vacuum, rebuild bloated indexes, delete expired rows, and list the slowest statements."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from campshub.core.db.retention import clean, expiries
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.observe import slow

log = logging.getLogger(__name__)

CLEANED_AT_ONCE = 5_000
# An index with a lower leaf density is rebuilt; B-trees normally settle at about 0.7.
LEAST_DENSITY = 0.5
# Smaller indexes are not worth a rebuild.
LEAST_BYTES = 4 * 1024 * 1024
SLOWEST = 10
_LOCKED, _NO_FUNCTION = "55P03", "42883"

_TABLES = text(
    """
    SELECT c.oid::regclass::text AS name FROM pg_class c
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
       AND pg_get_userbyid(c.relowner) = 'campshub_owner'
     ORDER BY pg_total_relation_size(c.oid), 1
    """
)
_SIZES = text(
    """
    SELECT sum(pg_table_size(oid))::bigint AS tables, sum(pg_indexes_size(oid))::bigint AS indexes
      FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    """
)
_INDEXES = text(
    """
    SELECT c.oid::regclass::text AS name, pg_relation_size(c.oid) AS bytes
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
     WHERE c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace AND a.amname = 'btree' AND i.indisvalid
       AND pg_relation_size(c.oid) >= :least
     ORDER BY pg_relation_size(c.oid)
    """
)
# What an interrupted REINDEX CONCURRENTLY has left.
_LEFT = text(
    """
    SELECT c.oid::regclass::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname ~ '_cc(new|old)[0-9]*$'
       AND c.relnamespace = 'public'::regnamespace
    """
)
_DENSITY = text("SELECT avg_leaf_density / 100 FROM pgstatindex(CAST(:name AS regclass))")
_SIZE = text("SELECT pg_relation_size(CAST(:name AS regclass))")
_STATEMENTS = text(
    """
    SELECT query, calls, mean_exec_time AS mean_ms, total_exec_time AS total_ms
      FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls > 1
     ORDER BY mean_exec_time DESC LIMIT :most
    """
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """One finished operation, with the size of its subject before and after (bytes or rows)."""

    what: str
    subject: str
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True)
class Slow:
    """A statement, without its parameter values."""

    statement: str
    calls: int
    mean_ms: float
    total_ms: float


class MissingExtension(Exception):
    """The database lacks an extension; the message says how to get it."""


def sizes(connection: Connection) -> tuple[int, int]:
    """Return the bytes of all tables and of all indexes."""
    row = connection.execute(_SIZES).one()
    return row.tables or 0, row.indexes or 0


def vacuum(connection: Connection, report: Report) -> Iterator[Done]:
    """Vacuum and analyze each table and partition, small ones first; locked ones are skipped."""
    names = list(connection.scalars(_TABLES))
    for number, name in enumerate(names, 1):
        report(f"vacuum {number}/{len(names)} {name}")
        connection.execute(text(f"VACUUM (ANALYZE, SKIP_LOCKED) {name}"))
    yield Done("vacuumed and analyzed", f"{len(names)} tables")


def reindex(connection: Connection, report: Report, *, least_bytes: int = LEAST_BYTES) -> Iterator[Done]:
    """Rebuild bloated B-tree indexes while they are in use, and drop what an interrupted rebuild has left.

    :raises MissingExtension: pgstattuple, which measures the density, is missing.
    """
    for name in list(connection.scalars(_LEFT)):
        connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        yield Done("dropped the rest of an interrupted rebuild", name)
    rows = list(connection.execute(_INDEXES, {"least": least_bytes}))
    for number, row in enumerate(rows, 1):
        if _density(connection, row.name) >= LEAST_DENSITY:
            continue
        report(f"reindex {number}/{len(rows)} {row.name}")
        try:
            connection.execute(text(f"REINDEX INDEX CONCURRENTLY {row.name}"))
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCKED:
                raise
            report(f"{row.name} is busy and was skipped")
            continue
        yield Done("rebuilt", row.name, row.bytes, connection.scalar(_SIZE, {"name": row.name}))


def _density(connection: Connection, name: str) -> float:
    """Return the leaf density of an index; this needs the maintenance role itself."""
    connection.execute(text("RESET ROLE"))
    try:
        return float(connection.scalar(_DENSITY, {"name": name}) or 1)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _NO_FUNCTION:
            raise MissingExtension("pgstattuple is missing: run migrations/bootstrap.sql again") from error
        raise
    finally:
        connection.execute(text("SET ROLE campshub_owner"))


def clean_up(report: Report) -> Iterator[Done]:
    """Delete expired rows, in batches."""
    for expiry in expiries():
        name, deleted = expiry.model.__tablename__, 0
        while True:
            with unit_of_work(system=True) as session:
                count = clean(session, expiry, most=CLEANED_AT_ONCE)
            deleted += count
            if count < CLEANED_AT_ONCE:
                break
            report(f"cleanup {name}: {deleted} rows")
        if deleted:
            yield Done("deleted expired rows", name, deleted, 0)


def slowest(connection: Connection) -> list[Slow]:
    """Return the statements with the longest mean time since the statistics were last reset."""
    connection.execute(text("RESET ROLE"))
    try:
        rows: list[Any] = list(connection.execute(_STATEMENTS, {"most": SLOWEST}))
    finally:
        connection.execute(text("SET ROLE campshub_owner"))
    return [
        Slow(slow.without_values(row.query), row.calls, round(row.mean_ms, 2), round(row.total_ms, 1)) for row in rows
    ]
