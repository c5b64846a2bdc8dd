"""A month's own table while it is detached: its state, its columns, and its rows without row-level security."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from campshub.core.partitions.locks import Driver, fetch_value

# For a detached table, which no one else uses; long enough for PostgreSQL to cancel an autovacuum there.
OWN_LOCK_TIMEOUT_S = 10
BLOCK_BYTES = 262_144

_STATE = """
SELECT CASE WHEN inhrelid IS NULL THEN 'out' WHEN inhdetachpending THEN 'leaving' ELSE 'in' END
  FROM pg_class c LEFT JOIN pg_inherits ON inhrelid = c.oid WHERE c.oid = to_regclass(%s)
"""
_LEAVING = """
SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhdetachpending AND inhparent = to_regclass(%s)
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
_REFERENCES = """
SELECT conname, confrelid::regclass::text,
       ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(n, o)
               JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY o),
       ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k(n, o)
               JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY o)
  FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f' ORDER BY conname
"""
_KEY = """
SELECT attname FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]
 WHERE partrelid = to_regclass(%s)
"""
# Write values in the same format whatever a role's settings are, and rows in their physical order.
_AS_STORED = (
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL intervalstyle = 'iso_8601'",
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL client_encoding = 'UTF8'",
    "SET LOCAL synchronize_seqscans = off",
    f"SET LOCAL lock_timeout = '{OWN_LOCK_TIMEOUT_S}s'",
)


class State(StrEnum):
    """The state of a month's table: a partition of its parent, detached, or missing."""

    ATTACHED = "in"
    DETACHING = "leaving"  # the detach is pending: new queries do not see the partition, but the detach is not finished
    DETACHED = "out"
    MISSING = "gone"


@dataclass(frozen=True)
class Reference:
    """A foreign key."""

    name: str
    table: str
    columns: list[str]
    others: list[str]


def state_of(driver: Driver, name: str) -> State:
    """Return the state of a month's table."""
    return State(fetch_value(driver, _STATE, name) or State.MISSING)


def pending_detach(driver: Driver, table: str) -> str | None:
    """Return the partition whose detach an interrupted run has left pending; there can be only one."""
    found: str | None = fetch_value(driver, _LEAVING, table)
    return found


def columns_of(driver: Driver, name: str) -> dict[str, str]:
    """Return the columns and their types, in order."""
    return dict(driver.execute(_COLUMNS, (name,)).fetchall())


def references_of(driver: Driver, name: str) -> list[Reference]:
    """Return the foreign keys of a table."""
    return [Reference(*row) for row in driver.execute(_REFERENCES, (name,))]


def key_of(driver: Driver, table: str) -> str:
    """Return the column that a table is partitioned by."""
    found: str = fetch_value(driver, _KEY, table)
    return found


def run(driver: Driver, statement: str, *names: str, **literals: Any) -> None:
    """Run a statement with quoted names for ``{}`` and literals for ``{name}``: DDL takes no parameters."""
    parts = {name: sql.Literal(value) for name, value in literals.items()}
    driver.execute(sql.SQL(statement).format(*map(sql.Identifier, names), **parts))


def set_exact_formats(driver: Driver) -> None:
    """Set the options of this transaction so that it writes and reads values exactly."""
    for statement in _AS_STORED:
        driver.execute(statement)


@contextmanager
def row_security_off(driver: Driver, name: str) -> Iterator[None]:
    """Make all rows of a month's own table visible, in a transaction that is rolled back.

    Row-level security is forced, so it applies to the owner as well. The change is never committed, and its exclusive
    lock hides the table from all others meanwhile.
    """
    with driver.transaction(force_rollback=True):
        set_exact_formats(driver)
        run(driver, "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", name)
        yield


def copy_out(driver: Driver, name: str, columns: list[str]) -> Iterator[bytes]:
    """Yield a table's rows as CSV with a header line, in their physical order."""
    statement = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT csv, HEADER)").format(sql.Identifier(name), _names(columns))
    buffer = bytearray()
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in copy:
            buffer += row
            if len(buffer) >= BLOCK_BYTES:
                yield bytes(buffer)
                buffer.clear()
    yield bytes(buffer)


def copy_in(driver: Driver, name: str, columns: list[str], blocks: Iterator[bytes]) -> int:
    """Copy CSV into a table; its header line must match the columns. Return the number of rows."""
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER MATCH)").format(sql.Identifier(name), _names(columns))
    with driver.cursor() as cursor:
        with cursor.copy(into) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def _names(columns: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
