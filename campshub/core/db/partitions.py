"""Monthly partitions: made ahead by the maintenance role, on a connection of its own, never waiting long for a lock."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from campshub.config import Settings
from campshub.core.db.base import Base

MONTHS_AHEAD = 6
TRIES = 5
PAUSE_S = 0.5
LOCK_NOT_AVAILABLE = "55P03"
_BOUNDS = re.compile(r"FROM \('(\d{4}-\d{2}-\d{2})'\) TO \('(\d{4}-\d{2}-\d{2})'\)")

_PARENTS = text(
    "SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace ORDER BY relname"
)
_PARTITIONS = text(
    """
    SELECT parent.relname AS table, child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bounds,
           greatest(child.reltuples, 0)::bigint AS rows, pg_total_relation_size(child.oid) AS bytes
      FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
     WHERE parent.relkind = 'p' AND parent.relnamespace = 'public'::regnamespace
     ORDER BY parent.relname, child.relname
    """
)


@dataclass(frozen=True)
class Partition:
    """One month of one table; ``rows`` is the planner's estimate."""

    table: str
    name: str
    first: date
    until: date
    rows: int
    bytes: int


@contextmanager
def maintenance(settings: Settings) -> Iterator[Connection]:
    """Open a connection of the maintenance role, past PgBouncer, as the tables' owner."""
    engine = create_engine(settings.database_url("maintenance"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET ROLE campshub_owner"))
        yield connection


def analyze(connection: Connection) -> None:
    """Let the planner know what is in the tables, after so much has come in that it must not wait for autovacuum."""
    names = ", ".join(sorted(Base.metadata.tables))
    connection.execute(text(f"ANALYZE (SKIP_LOCKED) {names}"))


def tables(connection: Connection) -> list[str]:
    """Return the names of the partitioned tables."""
    return list(connection.scalars(_PARENTS))


def present(connection: Connection) -> list[Partition]:
    """Return all partitions that there are."""
    found = []
    for row in connection.execute(_PARTITIONS):
        bounds = _BOUNDS.search(row.bounds)
        if bounds:
            first, until = (date.fromisoformat(bound) for bound in bounds.groups())
            found.append(Partition(row.table, row.name, first, until, row.rows, row.bytes))
    return found


def ensure(connection: Connection, table: str, first: date, last: date) -> list[str]:
    """Make the months of a table from one date to another that are missing; return their names.

    A busy table is tried again a few times rather than waited for, since all who come later would wait behind.

    :raises OperationalError: the table stayed locked.
    """
    statement = text("SELECT ensure_partitions(CAST(:table AS regclass), :first, :last)")
    for attempt in range(1, TRIES + 1):
        try:
            return list(connection.scalars(statement, {"table": table, "first": first, "last": last}))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or attempt == TRIES:
                raise
            time.sleep(PAUSE_S * attempt)
    return []


def ahead(today: date, months: int) -> date:
    """Return the first of the month so many months after today's."""
    month = today.replace(day=1)
    for _ in range(months):
        month = (month + timedelta(days=32)).replace(day=1)
    return month
