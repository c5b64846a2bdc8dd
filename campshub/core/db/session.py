"""Sessions: each belongs to one unit of work, on one engine, in one tenant, in one transaction.

The engines run in the driver's autocommit mode and the transaction is opened and closed here in words, because that
way BEGIN travels together with the statement that sets the tenant, and COMMIT with the one that asks for the WAL
position after it. A session outside a unit of work has no engine and can ask nothing.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, SessionTransaction

from campshub.config import Settings
from campshub.core.db.base import Base
from campshub.core.db.pool import FairPool
from campshub.core.observe import metrics

PRIMARY = "primary"
REPLICA = "replica"
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
# SQLSTATE of a server that shuts down, has crashed, or starts; class 08 is a lost connection.
_SHUT = frozenset({"57P01", "57P02", "57P03"})


class RolledBack(RuntimeError):
    """The transaction had failed before it was to be committed."""


@dataclass
class Entered:
    """What the statement that sets the tenant tells: the membership, the session version, an earlier answer."""

    role: str | None
    session_version: int | None
    time_zone: str | None
    organization_status: str | None
    fresh: bool
    key_is_free: bool | None
    answer: dict[str, Any] | None


@dataclass
class Unit:
    """One unit of work: where it runs, for whom, and what its commit carries beside its own rows."""

    engine: Engine
    read_only: bool = True
    organization_id: UUID | None = None
    user_id: UUID | None = None
    server: str = PRIMARY
    needed_lsn: str | None = None
    # Whether the statement that sets the tenant also looks up the caller's role; not if that is known already.
    checks_caller: bool = True
    idempotency_key: UUID | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace_id: str = ""
    address: str | None = None
    entered: Entered | None = None
    # Who the primary is, which the stamps of what is written here belong to.
    primary: str = ""
    stamped: set[tuple[UUID, str]] = field(default_factory=set)
    # Why all that the unit changes is changed; it stands in each of its audit entries.
    reason: str | None = None
    audit: list[Any] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    person_keys: dict[UUID, bytes] = field(default_factory=dict)
    new_persons: set[UUID] = field(default_factory=set)
    answer: dict[str, Any] | None = None
    apart: list[Callable[["Session"], None]] = field(default_factory=list)


class Session(FlaskSession):
    """A session of one unit of work."""

    unit: Unit

    def get_bind(self, *_args: Any, **_kwargs: Any) -> Engine:
        """Return the unit's engine: a unit never changes it."""
        return self.unit.engine

    def enter(self, organization_id: UUID, user_id: UUID | None = None) -> Entered:
        """Take a tenant within a unit that began without one, as sign-in does."""
        self.unit.organization_id, self.unit.user_id = organization_id, user_id
        row = _batch(self.connection(), f"SELECT * FROM {_enter(self.unit)}")
        self.unit.entered = Entered(*row)
        return self.unit.entered

    def let_go(self) -> None:
        """Give the connection back while something slow runs; the next statement begins anew.

        :raises RuntimeError: something has been written, which must not be cut in two.
        """
        if self.new or self.dirty or self.deleted or self.unit.stamped or self.unit.outbox:
            raise RuntimeError("a unit of work that has written cannot let its connection go")
        self.rollback()


db = SQLAlchemy(metadata=Base.metadata, session_options={"class_": Session, "expire_on_commit": False})


def engine_config(settings: Settings) -> dict[str, Any]:
    """Return Flask-SQLAlchemy's configuration: the primary, each replica, and the system role's engine."""

    def options(url: Any, size: int) -> dict[str, Any]:
        return {
            "url": url,
            "poolclass": FairPool,
            "pool_size": size,
            "max_overflow": 0,
            "pool_timeout": settings.db_pool_timeout_s,
            "pool_use_lifo": True,
            "pool_recycle": 600,
            "isolation_level": "AUTOCOMMIT",
            "hide_parameters": True,
            "json_deserializer": orjson.loads,
            "connect_args": {"prepare_threshold": settings.db_prepare_threshold, "connect_timeout": 3},
        }

    primary = options(settings.database_url("app"), settings.db_pool_size)
    binds: dict[str, Any] = {"system": options(settings.database_url("system"), 2)}
    for number, (host, port) in enumerate(settings.replicas):
        binds[f"replica{number}"] = options(settings.database_url("app", host, port), settings.db_pool_size)
    return {
        "SQLALCHEMY_DATABASE_URI": primary.pop("url"),
        "SQLALCHEMY_ENGINE_OPTIONS": primary,
        "SQLALCHEMY_BINDS": binds,
    }


def open_session(unit: Unit) -> Session:
    """Return a session of the unit; the first statement begins its transaction."""
    session: Any = db.session.session_factory()
    session.unit = unit
    opened: Session = session
    return opened


def begin(unit: Unit) -> Session:
    """Return a session whose transaction has begun.

    Nothing has been done yet, so a connection that has died in the pool is replaced, with all that lay there as long.
    One that could not be made in the first place (no statement of ours has failed) is not tried again.
    """
    try:
        return _begun(unit)
    except DBAPIError as error:
        if error.statement is None or not is_gone(error):
            raise
    unit.engine.dispose()
    return _begun(unit)


def _begun(unit: Unit) -> Session:
    session = open_session(unit)
    try:
        session.connection()
    except BaseException:
        session.close()
        raise
    return session


def commit(session: Session) -> str | None:
    """Commit; return the WAL position after the commit record, asked outside the transaction, None of a read."""
    if not session.in_transaction():
        return None
    unit, connection = session.unit, session.connection()
    position = "" if unit.read_only else "; SELECT pg_current_wal_insert_lsn()"
    row = _batch(connection, f"COMMIT{position}", expect="COMMIT")
    session.commit()
    return str(row[0]) if row else None


def is_gone(error: DBAPIError) -> bool:
    """Tell a lost connection, or one that was never made, from a refusal of the server."""
    if not isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.orig.sqlstate
    return state is None or state.startswith("08") or state in _SHUT


@event.listens_for(Session, "do_orm_execute")
def _only_through_writes(state: ORMExecuteState) -> None:
    """Refuse a statement that would change rows past ``core.db.writes``, which stamps and audits.

    :raises RuntimeError: always, for such a statement.
    """
    if state.is_insert or state.is_update or state.is_delete:
        raise RuntimeError("set-based writes go through campshub.core.db.writes")


@event.listens_for(Session, "after_begin")
def _begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.nested:
        return
    unit = session.unit
    if unit.read_only:
        entered = f"; SELECT * FROM {_enter(unit)}" if unit.organization_id is not None else ""
        row = _batch(connection, f"BEGIN READ ONLY{entered}")
    else:
        entered = f", entered.* FROM {_enter(unit)} AS entered" if unit.organization_id is not None else ""
        unit.primary, *row = _batch(connection, f"BEGIN; SELECT server_identity(){entered}")
    if row:
        unit.entered = Entered(*row)


def _enter(unit: Unit) -> str:
    """Write the call that sets the tenant, with values whose types leave no room for anything else."""
    lsn = "NULL"
    if unit.needed_lsn is not None:
        if not _LSN.fullmatch(unit.needed_lsn):
            raise ValueError("not a WAL position")
        lsn = f"'{unit.needed_lsn}'"
    organization, user, key = (
        "NULL" if value is None else f"'{UUID(str(value))}'"
        for value in (unit.organization_id, unit.user_id if unit.checks_caller else None, unit.idempotency_key)
    )
    return f"enter({organization}, {user}, {lsn}, {key})"


def _batch(connection: Connection, statements: str, *, expect: str | None = None) -> Any:
    """Run statements without parameters in one round trip; return the last one's row, if it gave one."""
    cursor: Any = connection.connection.cursor()
    started = time.perf_counter()
    try:
        cursor.execute(statements, prepare=False)  # several statements at once cannot be prepared
        if expect and cursor.statusmessage != expect:
            # PostgreSQL answers COMMIT of a broken transaction with ROLLBACK and no error.
            raise RolledBack(f"the transaction had failed before: {cursor.statusmessage} instead of {expect}")
        while cursor.nextset():
            pass
        return cursor.fetchone() if cursor.description else None
    except psycopg.Error as error:
        driver: Any = connection.connection.driver_connection
        if driver.closed:
            connection.invalidate(error)
        raise DBAPIError.instance(statements, None, error, psycopg.Error, dialect=connection.dialect) from error
    finally:
        cursor.close()
        metrics.sql_done(statements, time.perf_counter() - started)
