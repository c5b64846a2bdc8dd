"""Reads without an ORM session: a prepared statement runs in its own transaction and tenant, in one round trip.

``BEGIN READ ONLY``, the tenant, the statement and ``COMMIT`` are sent together, and the connection is returned before
the rows are serialized. Each statement of a unit is a transaction of its own. Under READ COMMITTED it sees the same as
it would see as the next statement of one transaction. Statements that are not prepared run in an ordinary session.
"""

import select
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, TypeVarTuple, overload
from uuid import UUID

import psycopg
from gevent import monkey, socket
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from sqlalchemy import Connection, PoolProxiedConnection
from sqlalchemy.engine import IteratorResult, Result, ScalarResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.selectable import TypedReturnsRows

from campshub.core.db.engine import BorrowedConnection
from campshub.core.db.prepared import Executable, PreparedQuery
from campshub.core.db.unit import CallerRow, ReplicaBehind, Unit
from campshub.core.observe import metrics

C = TypeVar("C")
T = TypeVar("T")
Columns = TypeVarTuple("Columns")

_LOADER = "campshub.loader"
_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE})
# SQLSTATE of a server that shuts down, has crashed, or is starting; class 08 is a lost connection.
_SHUT = frozenset({"57P01", "57P02", "57P03"})


class Reader(Protocol):
    """A session that runs statements."""

    unit: Unit

    @overload
    def execute(self, statement: TypedReturnsRows[*Columns], params: Any = None) -> Result[*Columns]: ...
    @overload
    def execute(self, statement: Executable, params: Any = None) -> Result[*tuple[Any, ...]]: ...
    def execute(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement."""

    @overload
    def scalar(self, statement: TypedReturnsRows[T], params: Any = None) -> T | None: ...
    @overload
    def scalar(self, statement: Executable, params: Any = None) -> Any: ...
    def scalar(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement and return the first column of its first row."""

    @overload
    def scalars(self, statement: TypedReturnsRows[T], params: Any = None) -> ScalarResult[T]: ...
    @overload
    def scalars(self, statement: Executable, params: Any = None) -> ScalarResult[Any]: ...
    def scalars(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement and return the first column of its rows."""

    def release(self) -> None:
        """Return the connection during slow work; the next statement begins a new transaction."""

    def close(self) -> None:
        """Return all connections."""


class Session(Reader, Protocol):
    """A session that also changes rows; in a read-only unit of work, PostgreSQL refuses the changes."""

    def get(self, entity: type[T], ident: Any, *, with_for_update: Any = None) -> T | None:
        """Return the row with a primary key; None if there is none."""

    def add(self, instance: object) -> None:
        """Insert a row at the next flush."""

    def add_all(self, instances: Iterable[object]) -> None:
        """Insert rows at the next flush."""

    def delete(self, instance: object) -> None:
        """Delete a row at the next flush."""

    def flush(self) -> None:
        """Send pending changes."""

    def in_transaction(self) -> bool:
        """Return whether a transaction has begun."""

    def commit(self) -> None:
        """Commit without the WAL position; only ``core.db.session.commit`` calls it."""

    def rollback(self) -> None:
        """End the transaction without its changes."""

    def connection(self) -> Connection:
        """Return the connection, in the open transaction."""

    def enter(self, organization_id: UUID, user_id: UUID | None = None) -> CallerRow:
        """Set the tenant of a unit that began without one, as sign-in does."""


class ReadSession:
    """A read-only unit of work in one tenant, with the interface of an ordinary session."""

    def __init__(self, unit: Unit, ordinary: Callable[..., Session]) -> None:
        self.unit = unit
        self._open = ordinary
        # A transaction that has begun with the query for the caller, and waits for its statement.
        self._begun: PoolProxiedConnection | None = None
        self._ordinary: Session | None = None

    def read_caller(self) -> None:
        """Begin, set the tenant, and read the caller's row."""
        sql = f"{self.unit.begin_sql}; {self.unit.enter_sql()}"
        connection = self._connect()
        try:
            results = self._round_trip(connection, sql, sql.encode())
        except BaseException:
            connection.close()
            raise
        self._begun = connection
        self.unit.caller_row = CallerRow(*_rows(connection, results[-1])[0])

    def execute(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement)
        return self._session().execute(statement, params)

    def scalar(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement and return the first column of its first row."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement).scalar()
        return self._session().scalar(statement, params)

    def scalars(self, statement: Executable, params: Any = None) -> Any:
        """Run a statement and return the first column of its rows."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement).scalars()
        return self._session().scalars(statement, params)

    def flush(self) -> None:
        """Flush the ordinary session, if there is one, so that pending changes are refused."""
        if self._ordinary is not None:
            self._ordinary.flush()

    def release(self) -> None:
        """Return the connection during slow work; the next statement begins a new transaction."""
        self.close()

    def close(self) -> None:
        """Return all connections."""
        session, self._ordinary = self._ordinary, None
        if session is not None:
            session.close()
        connection, self._begun = self._begun, None
        if connection is not None:
            connection.close()

    def finish(self, commit: Callable[[Any], str | None]) -> None:
        """End the transaction, if one is open."""
        if self._ordinary is not None:
            commit(self._ordinary)
        connection, self._begun = self._begun, None
        if connection is None:
            return
        try:
            self._round_trip(connection, "COMMIT", b"COMMIT")
        finally:
            connection.close()

    # What is not a prepared statement runs in an ordinary session.

    def get(self, entity: type[T], ident: Any, *, with_for_update: Any = None) -> T | None:
        """Return the row with a primary key; None if there is none."""
        return self._session().get(entity, ident, with_for_update=with_for_update)

    def add(self, instance: object) -> None:
        """Insert a row at the next flush, which is refused."""
        self._session().add(instance)

    def add_all(self, instances: Iterable[object]) -> None:
        """Insert rows at the next flush, which is refused."""
        self._session().add_all(instances)

    def delete(self, instance: object) -> None:
        """Delete a row at the next flush, which is refused."""
        self._session().delete(instance)

    def in_transaction(self) -> bool:
        """Return whether a transaction has begun in the ordinary session."""
        return self._session().in_transaction()

    def commit(self) -> None:
        """End the transaction."""
        self._session().commit()

    def rollback(self) -> None:
        """End the transaction."""
        self._session().rollback()

    def connection(self) -> Connection:
        """Return the connection, in the open transaction."""
        return self._session().connection()

    def enter(self, organization_id: UUID, user_id: UUID | None = None) -> CallerRow:
        """Set another tenant."""
        return self._session().enter(organization_id, user_id)

    def _session(self) -> Session:
        """Return the ordinary session, in the open transaction if there is one."""
        if self._ordinary is None:
            begun, self._begun = self._begun, None
            self._ordinary = self._open(self.unit, begun)
        return self._ordinary

    def _fetch(self, query: PreparedQuery) -> IteratorResult[Any]:
        """Run a prepared statement; replace a lost connection once, because a read can be repeated."""
        try:
            rows = self._fetch_once(query)
        except DBAPIError as error:
            if error.statement is None or not is_gone(error):
                raise
            self.unit.engine.dispose()
            rows = self._fetch_once(query)
        return IteratorResult(query.statement.keys, iter(rows))

    def _fetch_once(self, query: PreparedQuery) -> list[tuple[Any, ...]]:
        connection: BorrowedConnection | PoolProxiedConnection | None = self._begun
        self._begun, opening = None, b""
        if connection is None:
            connection = self._borrow()
            opening = f"{self.unit.begin_sql}; {self.unit.tenant_sql()}; ".encode()
        try:
            driver: Any = connection.driver_connection
            statement = query.statement.write(query.values, driver)
            results = self._round_trip(connection, query.statement.text, b"%b%b; COMMIT" % (opening, statement))
            if opening and results[1].get_value(0, 0) != b"t":
                raise ReplicaBehind
            result = results[-2]
            query.statement.check([result.ftype(number) for number in range(result.nfields)])
            return _rows(connection, result)
        finally:
            connection.close()

    def _connect(self) -> PoolProxiedConnection:
        """Return a connection that an ordinary session may take over."""
        return self._connected(self.unit.engine.raw_connection)

    def _borrow(self) -> BorrowedConnection:
        """Return a connection for one round trip."""
        pool: Any = self.unit.engine.pool
        borrowed: BorrowedConnection = self._connected(pool.borrow)
        return borrowed

    def _connected(self, connect: Callable[[], C]) -> C:
        try:
            return connect()
        except psycopg.Error as error:
            raise DBAPIError.instance(None, None, error, psycopg.Error, dialect=self.unit.engine.dialect) from error

    def _round_trip(self, connection: BorrowedConnection | PoolProxiedConnection, text: str, sql: bytes) -> list[Any]:
        """Send several statements at once and return their results; ``text`` is for logs, without values."""
        driver: Any = connection.driver_connection
        started = time.perf_counter()
        try:
            results = _exchange(driver.pgconn, sql)
        except psycopg.Error as error:
            if driver.pgconn.status != ConnStatus.OK:
                connection.invalidate(error)
            dialect = self.unit.engine.dialect
            raise DBAPIError.instance(text, None, error, psycopg.Error, dialect=dialect) from error
        except BaseException as error:
            connection.invalidate(error)  # the result has not been read
            raise
        finally:
            metrics.count_statement(text, time.perf_counter() - started)
        return results


def _exchange(pgconn: Any, sql: bytes) -> list[Any]:
    """Send statements and wait for their results; psycopg's own function needs two polls and a generator.

    :raises psycopg.Error: the server refused a statement, and skipped those after it.
    """
    pgconn.send_query(sql)
    while pgconn.flush():
        _wait_until(pgconn.socket, writable=True)
    results: list[Any] = []
    while True:
        while pgconn.is_busy():
            _wait_until(pgconn.socket)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        results.append(result)
    if results[-1].status in _FAILED:
        raise error_from_result(results[-1])
    return results


def _rows(connection: BorrowedConnection | PoolProxiedConnection, result: Any) -> list[tuple[Any, ...]]:
    loader = connection.info.get(_LOADER)
    if loader is None:  # one per connection: it caches the loader of each type
        loader = connection.info[_LOADER] = Transformer(connection.driver_connection)
    loader.set_pgresult(result)
    rows: list[tuple[Any, ...]] = loader.load_rows(0, result.ntuples, tuple)
    return rows


def is_gone(error: DBAPIError) -> bool:
    """Return whether a connection was lost or could not be opened, rather than a statement refused by the server."""
    if not isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.orig.sqlstate
    return state is None or state.startswith("08") or state in _SHUT


def _wait_until(fileno: int, *, writable: bool = False) -> None:
    """Wait until the socket is readable, or writable; other greenlets run meanwhile."""
    if monkey.is_module_patched("select"):
        (socket.wait_write if writable else socket.wait_read)(fileno)
        return
    poll = select.poll()
    poll.register(fileno, select.POLLOUT if writable else select.POLLIN)
    poll.poll()
