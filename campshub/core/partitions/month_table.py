"""What a month's own table needs while it is no part of its parent: its state, its columns, its rows past policies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from campshub.core.partitions.locks import Driver, ask

# On a table that nobody else knows of; long enough that an autovacuum there is sent away.
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
# Values written the same way whatever a role's settings are, and rows in the order in which they lie.
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
    """How a month's table stands to its parent."""

    IN = "in"
    LEAVING = "leaving"  # taken out for all who ask from now on, but not to the end
    OUT = "out"
    GONE = "gone"


@dataclass(frozen=True)
class Reference:
    """A foreign key."""

    name: str
    table: str
    columns: list[str]
    others: list[str]


def state_of(driver: Driver, name: str) -> State:
    """Return how a month's table stands."""
    return State(ask(driver, _STATE, name) or State.GONE)


def leaving(driver: Driver, table: str) -> str | None:
    """Return the partition that an interrupted run has left half taken out; there can be one."""
    found: str | None = ask(driver, _LEAVING, table)
    return found


def columns_of(driver: Driver, name: str) -> dict[str, str]:
    """Return the columns with their types, in order."""
    return dict(driver.execute(_COLUMNS, (name,)).fetchall())


def references_of(driver: Driver, name: str) -> list[Reference]:
    """Return the foreign keys of a table."""
    return [Reference(*row) for row in driver.execute(_REFERENCES, (name,))]


def key_of(driver: Driver, table: str) -> str:
    """Return the column that a table is partitioned by."""
    found: str = ask(driver, _KEY, table)
    return found


def run(driver: Driver, words: str, *names: str, **literals: Any) -> None:
    """Run a statement with names in the place of ``{}`` and values in that of ``{name}``: DDL takes no parameters."""
    parts = {name: sql.Literal(value) for name, value in literals.items()}
    driver.execute(sql.SQL(words).format(*map(sql.Identifier, names), **parts))


def settle(driver: Driver) -> None:
    """Let this transaction write and read values exactly."""
    for words in _AS_STORED:
        driver.execute(words)


@contextmanager
def past_policies(driver: Driver, name: str) -> Iterator[None]:
    """See all rows of a month's own table, in a transaction that leaves nothing of it behind.

    Policies are forced, so they bind the owner as well. Lifting that is never committed, and nobody else sees the table
    meanwhile: the lock is exclusive.
    """
    with driver.transaction(force_rollback=True):
        settle(driver)
        run(driver, "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", name)
        yield


def copied(driver: Driver, name: str, columns: list[str]) -> Iterator[bytes]:
    """Yield a table's rows as CSV, with a line of names first, in the order in which they lie."""
    words = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT csv, HEADER)").format(sql.Identifier(name), _names(columns))
    held = bytearray()
    with driver.cursor() as cursor, cursor.copy(words) as copy:
        for row in copy:
            held += row
            if len(held) >= BLOCK_BYTES:
                yield bytes(held)
                held.clear()
    yield bytes(held)


def copy_in(driver: Driver, name: str, columns: list[str], blocks: Iterator[bytes]) -> int:
    """Write CSV into a table; the names in its first line must be the columns. Return how many rows there were."""
    words = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER MATCH)").format(sql.Identifier(name), _names(columns))
    with driver.cursor() as cursor:
        with cursor.copy(words) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def _names(columns: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
