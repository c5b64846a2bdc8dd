"""Record what each transaction of the application locks, read from PostgreSQL before the transaction ends.

A statement locks every table that it names before it reads a row, including tables behind views, policies and
functions, and the lock lasts until the transaction ends. So empty tables count too, unlike in statistics of scans. A
partition is reported as its parent table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from campshub.core.db import session as sessions
from campshub.core.db import unit_of_work
from campshub.core.db.models import Base
from campshub.core.db.read_session import ReadSession
from campshub.core.db.unit import Unit
from campshub.core.freshness.protocol import Freshness
from campshub.core.http import read_routing
from campshub.modules import load_models

READS = "AccessShareLock", "RowShareLock"
# Every table with every lock mode, such as "students AccessShareLock".
LOCKS = """
SELECT coalesce(string_agg(DISTINCT c.relname || ' ' || l.mode, ','), '')
  FROM pg_locks l JOIN pg_class c ON c.oid = coalesce(pg_partition_root(l.relation), l.relation)
 WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation'
   AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')
"""
# The organizations of the rows of a table that this transaction has inserted or changed.
OWNERS = """
SELECT DISTINCT {1} FROM {0}
 WHERE xmin::text::bigint = pg_current_xact_id()::text::bigint % (1::bigint << 32)
"""
OWNER = {
    "organizations": ("organizations", "id"),
    "users": ("(SELECT u.xmin, m.organization_id FROM users u, memberships_of(u.id) m) AS known", "organization_id"),
}
UNOWNED = {
    "epoch_base",
    "exchanged_id_tokens",
    "external_identities",
    "password_resets",
    "recovery_codes",
    "sign_in_attempts",
    "totp_secrets",
    "unstamped_writes",
    "user_credentials",
}


@dataclass
class Touched:
    """A committed transaction: its tables, and its stamps."""

    unit: Unit
    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    # The organizations of the written rows, by table.
    owners: dict[str, set[str]] = field(default_factory=dict)
    stamped: set[tuple[str, str]] = field(default_factory=set)


def tags() -> dict[str, str]:
    """Return the tag of each table."""
    load_models()
    return {mapper.class_.__tablename__: mapper.class_.__tag__ for mapper in Base.registry.mappers}


@contextmanager
def watched() -> Iterator[list[Touched]]:
    """Collect the transactions that the application commits."""
    seen: list[Touched] = []
    stamped: list[set[tuple[str, str]]] = []
    commit, round_trip, begin = sessions.commit, ReadSession._round_trip, Freshness.begin

    def committed(session: Any) -> Any:
        if not isinstance(session, ReadSession) and session.in_transaction():
            touched = _touched(session.unit, _queried(session, LOCKS)[0])
            for table in touched.written - UNOWNED:
                rows = _queried(session, OWNERS.format(*OWNER.get(table, (table, "organization_id"))))
                touched.owners[table] = {str(owner) for owner in rows}
            touched.stamped = stamped.pop() if stamped else set()
            seen.append(touched)
        return commit(session)

    def counted_round_trip(session: Any, connection: Any, text: str, command: bytes) -> Any:
        opening = command.removesuffix(b"COMMIT")
        if opening == command:
            return round_trip(session, connection, text, command)
        results = round_trip(session, connection, text, b"%b%b; COMMIT" % (opening, LOCKS.encode()))
        seen.append(_touched(session.unit, results.pop(-2).get_value(0, 0).decode()))
        return results

    def begun(freshness: Any, pairs: Any, primary: str) -> Any:
        stamped.append({(str(organization), tag) for organization, tag in pairs})
        return begin(freshness, pairs, primary)

    with pytest.MonkeyPatch.context() as patch:
        for module in (sessions, unit_of_work, read_routing):
            patch.setattr(module, "commit", committed)
        patch.setattr(ReadSession, "_round_trip", counted_round_trip)
        patch.setattr(Freshness, "begin", begun)
        yield seen


def _queried(session: Any, statement: str) -> list[Any]:
    cursor = session.connection().connection.cursor()
    try:
        return [row[0] for row in cursor.execute(statement, prepare=False)]
    finally:
        cursor.close()


def _touched(unit: Unit, locks: str) -> Touched:
    touched = Touched(unit)
    for table, mode in (lock.split(" ") for lock in locks.split(",") if lock):
        (touched.read if mode in READS else touched.written).add(table)
    return touched
