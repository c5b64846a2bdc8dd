"""The months of the partitioned tables: list them, and create missing ones."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from campshub.config import Settings
from campshub.core.dates import add_months, months_in
from campshub.core.db.models import Base
from campshub.core.db.session import Session
from campshub.core.partitions.locks import Driver, exclusive, retry_on_lock_timeout

MONTHS_AHEAD = 6
_BOUNDS = re.compile(r"FROM \('(\d{4}-\d{2}-\d{2})'\) TO \('(\d{4}-\d{2}-\d{2})'\)")

_PARENTS = text(
    "SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace ORDER BY relname"
)
_PARTITIONS = text(
    """
    SELECT parent.relname AS table, child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bounds,
           greatest(child.reltuples, 0)::bigint AS rows, pg_total_relation_size(child.oid) AS bytes
      FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
     WHERE parent.relkind = 'p' AND parent.relnamespace = 'public'::regnamespace AND NOT inhdetachpending
     ORDER BY parent.relname, child.relname
    """
)
# Detached and not dropped yet: a run stopped while it was archiving the month.
_DETACHED = text(
    """
    SELECT parent.relname AS table, child.relname AS name FROM pg_class child
      JOIN pg_class parent ON parent.relkind = 'p' AND parent.relnamespace = child.relnamespace
       AND child.relname ~ ('^' || parent.relname || '_p[0-9]{4}_[0-9]{2}$')
      LEFT JOIN pg_inherits ON inhrelid = child.oid
     WHERE child.relkind = 'r' AND child.relnamespace = 'public'::regnamespace
       AND (inhrelid IS NULL OR inhdetachpending)
     ORDER BY parent.relname, child.relname
    """
)
# Run by the application's role, which may read the catalogue.
_ALL_PRESENT = text(
    """
    SELECT count(*) = :count FROM unnest(CAST(:names AS text[])) name
      JOIN pg_inherits ON inhrelid = to_regclass(name) AND NOT inhdetachpending
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
    """Open a direct connection of the maintenance role, without PgBouncer, as the tables' owner."""
    engine = create_engine(settings.database_url("maintenance"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET ROLE campshub_owner"))
        yield connection


def analyze(connection: Connection) -> None:
    """Update the planner's statistics after a large load, which must not wait for autovacuum."""
    names = ", ".join(sorted(Base.metadata.tables))
    connection.execute(text(f"ANALYZE (SKIP_LOCKED) {names}"))


def tables(connection: Connection) -> list[str]:
    """Return the names of the partitioned tables."""
    return list(connection.scalars(_PARENTS))


def present(connection: Connection) -> list[Partition]:
    """Return all partitions."""
    found = []
    for row in connection.execute(_PARTITIONS):
        bounds = _BOUNDS.search(row.bounds)
        if bounds:
            first, until = (date.fromisoformat(bound) for bound in bounds.groups())
            found.append(Partition(row.table, row.name, first, until, row.rows, row.bytes))
    return found


def detached(connection: Connection) -> list[tuple[str, date]]:
    """Return the months, with their tables, that are detached or being detached, and not dropped."""
    return [(row.table, month_of(row.name)) for row in connection.execute(_DETACHED)]


def all_present(session: Session, names: Sequence[str]) -> bool:
    """Return whether months, by the names of their tables, are partitions of their parents."""
    return bool(session.scalar(_ALL_PRESENT, {"names": list(names), "count": len(names)}))


def months_ahead(connection: Connection, today: date) -> dict[str, int]:
    """Return for each partitioned table the number of months after the current one that exist without a gap."""
    firsts: dict[str, set[date]] = {table: set() for table in tables(connection)}
    for partition in present(connection):
        firsts[partition.table].add(partition.first)
    return {table: _without_gap(of_table, today) for table, of_table in firsts.items()}


def _without_gap(firsts: set[date], today: date) -> int:
    count = 0
    while add_months(today, count + 1) in firsts:
        count += 1
    return count


def ensure(
    connection: Connection, table: str, first_date: date, last_date: date, *, archived: frozenset[date] = frozenset()
) -> list[str]:
    """Create the missing months of a table from one date to another; return their names.

    One after another, because creating one blocks writes to the referenced tables, for example students. An archived
    month is not created: restoring it creates it with its rows.

    :raises TableLocked: the table, or a table that it references, was locked in all tries.
    """
    created: list[str] = []
    with exclusive(connection, f"partitions.ensure {table}") as driver:
        for month in months_in(first_date, last_date):
            if month in archived:
                continue
            created += retry_on_lock_timeout(partial(_ensure_one, driver, table, month), table=table)
    return created


def _ensure_one(driver: Driver, table: str, month: date) -> list[str]:
    rows = driver.execute("SELECT ensure_partitions(%s::regclass, %s, %s)", (table, month, month)).fetchall()
    return [row[0] for row in rows]


def name_of(table: str, month: date) -> str:
    """Return the name of a month's partition."""
    return f"{table}_p{month:%Y_%m}"


def month_of(name: str) -> date:
    """Return the month of a partition's name."""
    year, month = name[-7:].split("_")
    return date(int(year), int(month), 1)
