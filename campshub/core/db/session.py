"""Sessions: each belongs to one unit of work, on one engine, in one tenant, in one transaction.

The engines run in the driver's autocommit mode, and this module sends BEGIN and COMMIT itself: BEGIN travels together
with the statement that sets the tenant, and COMMIT with the query for the WAL position after it. A session outside a
unit of work has no engine and cannot run a statement.
"""

import time
from typing import Any
from uuid import UUID

import psycopg
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Connection, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, SessionTransaction

from campshub.core.db.models import Base
from campshub.core.db.prepared import Executable, PreparedQuery
from campshub.core.db.read_session import Reader, ReadSession, Session, is_gone
from campshub.core.db.unit import PRIMARY, REPLICA, CallerRow, ReplicaBehind, Unit
from campshub.core.observe import metrics

__all__ = [
    "PRIMARY",
    "REPLICA",
    "CallerRow",
    "OrmSession",
    "Reader",
    "ReplicaBehind",
    "RolledBack",
    "Session",
    "Unit",
    "begin",
    "commit",
    "db",
    "is_gone",
]


class RolledBack(RuntimeError):
    """The transaction had failed before its COMMIT."""


class OrmSession(FlaskSession):
    """A session of one unit of work."""

    unit: Unit
    # A connection whose transaction has already begun, in the unit's tenant.
    begun: Connection | None = None

    def get_bind(self, *_args: Any, **_kwargs: Any) -> Engine | Connection:
        """Return the unit's engine: a unit never changes it."""
        return self.begun or self.unit.engine

    def execute(self, statement: Executable, params: Any = None, **options: Any) -> Any:
        """Run a statement, also a prepared one."""
        return super().execute(*_plain(statement, params), **options)

    def scalar(self, statement: Executable, params: Any = None, **options: Any) -> Any:
        """Run a statement, also a prepared one, and return the first column of its first row."""
        return super().scalar(*_plain(statement, params), **options)

    def scalars(self, statement: Executable, params: Any = None, **options: Any) -> Any:
        """Run a statement, also a prepared one, and return the first column of its rows."""
        return super().scalars(*_plain(statement, params), **options)

    def close(self) -> None:
        """Return all connections."""
        super().close()
        if self.begun is not None:
            self.begun.close()

    def enter(self, organization_id: UUID, user_id: UUID | None = None) -> CallerRow:
        """Set the tenant of a unit that began without one, as sign-in does."""
        self.unit.organization_id, self.unit.user_id = organization_id, user_id
        return _note(self.unit, _batch(self.connection(), self.unit.enter_sql()))

    def release(self) -> None:
        """Return the connection during slow work; the next statement begins a new transaction.

        :raises RuntimeError: the unit has written, and its writes belong to one transaction.
        """
        if self.new or self.dirty or self.deleted or self.unit.stamped or self.unit.outbox:
            raise RuntimeError("a unit of work that has written cannot release its connection")
        self.rollback()


def _plain(statement: Executable, params: Any) -> tuple[Any, Any]:
    if isinstance(statement, PreparedQuery):
        return statement.statement.select, statement.values
    return statement, params


db = SQLAlchemy(metadata=Base.metadata, session_options={"class_": OrmSession, "expire_on_commit": False})


def open_session(unit: Unit) -> OrmSession:
    """Return a session of the unit; the first statement begins its transaction."""
    session: Any = db.session.session_factory()
    session.unit = unit
    opened: OrmSession = session
    return opened


def begin(unit: Unit) -> Session:
    """Return a session whose transaction has begun; for a read in a tenant, a ``ReadSession``, which begins later.

    Nothing has run yet, so if the connection was dead, the pool is emptied and a new connection is tried once. A
    connection that could not be opened (no statement has failed) is not tried again.
    """
    try:
        return _begun(unit)
    except DBAPIError as error:
        if error.statement is None or not is_gone(error):
            raise
    unit.engine.dispose()
    return _begun(unit)


def _begun(unit: Unit) -> Session:
    if not unit.read_only or unit.organization_id is None:
        return _ordinary(unit)
    read_session = ReadSession(unit, _ordinary)
    if unit.checks_caller:
        read_session.read_caller()
    return read_session


def _ordinary(unit: Unit, begun: PoolProxiedConnection | None = None) -> OrmSession:
    """Return an ordinary session; it continues the transaction of ``begun``, or begins its own."""
    session = open_session(unit)
    if begun is not None:
        session.begun = Connection(unit.engine, connection=begun)
    try:
        session.connection()
    except BaseException:
        session.close()
        raise
    return session


def commit(session: Session) -> str | None:
    """Commit; return the WAL position after the commit record, read outside the transaction; None for a read."""
    if isinstance(session, ReadSession):
        session.finish(commit)
        return None
    if not session.in_transaction():
        return None
    unit, connection = session.unit, session.connection()
    position = "" if unit.read_only else "; SELECT pg_current_wal_flush_lsn()"
    row = _batch(connection, f"COMMIT{position}", expect="COMMIT")
    session.commit()
    return str(row[0]) if row else None


@event.listens_for(OrmSession, "do_orm_execute")
def _only_through_writes(state: ORMExecuteState) -> None:
    """Refuse a statement that would change rows without ``core.db.writes``, which stamps and audits.

    :raises RuntimeError: always, for such a statement.
    """
    if state.is_insert or state.is_update or state.is_delete:
        raise RuntimeError("set-based writes go through campshub.core.db.writes")


@event.listens_for(OrmSession, "after_begin")
def _begin(session: OrmSession, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.nested or session.begun is not None:
        return
    unit = session.unit
    if unit.organization_id is not None:
        caller_row = _note(unit, _batch(connection, f"{unit.begin_sql}; {unit.enter_sql()}"))
        if not unit.checks_caller and not caller_row.fresh:
            raise ReplicaBehind
    elif unit.read_only:
        _batch(connection, unit.begin_sql)
    else:
        (unit.primary,) = _batch(connection, f"{unit.begin_sql}; SELECT server_identity()")


def _note(unit: Unit, row: Any) -> CallerRow:
    """Store the result of the statement that sets the tenant in the unit."""
    if not unit.read_only:
        unit.primary, *row = row
    unit.caller_row = CallerRow(*row)
    return unit.caller_row


def _batch(connection: Connection, statements: str, *, expect: str | None = None) -> Any:
    """Run statements without parameters in one round trip; return the row of the last one, if any."""
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
        metrics.count_statement(statements, time.perf_counter() - started)
