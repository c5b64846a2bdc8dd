"""Reads without an ORM session: a prepared statement runs in its own transaction and tenant, in one round trip.

``BEGIN READ ONLY``, the tenant, the statement and ``COMMIT`` are sent together, and the connection is returned before
the rows are serialized. Each statement of a unit is a transaction of its own. Under READ COMMITTED it sees the same as
it would see as the next statement of one transaction. Statements that are not prepared run in an ordinary session.
"""

import select
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import psycopg
from gevent import monkey, socket
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.engine import IteratorResult
from sqlalchemy.exc import DBAPIError

from campshub.core.db.engine import BorrowedConnection
from campshub.core.db.prepared import PreparedQuery
from campshub.core.db.unit import CallerRow, ReplicaBehind, Unit
from campshub.core.observe import metrics

C = TypeVar("C")

_LOADER = "campshub.loader"
_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE})
# SQLSTATE of a server that shuts down, has crashed, or is starting; class 08 is a lost connection.
_SHUT = frozenset({"57P01", "57P02", "57P03"})


class OrdinarySession(Protocol):
    """The part of a SQLAlchemy session that a read session uses for statements that are not prepared."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run a statement."""

    def scalar(self, *args: Any, **options: Any) -> Any:
        """Run a statement and return the first column of its first row."""

    def scalars(self, *args: Any, **options: Any) -> Any:
        """Run a statement and return the first column of its rows."""

    def flush(self) -> None:
        """Send pending changes."""

    def close(self) -> None:
        """Return the connection."""


class ReadSession:
    """A read-only unit of work in one tenant, with the interface of an ordinary session."""

    def __init__(self, unit: Unit, ordinary: Callable[..., OrdinarySession]) -> None:
        self.unit = unit
        self._open = ordinary
        # A transaction that has begun with the query for the caller, and waits for its statement.
        self._begun: PoolProxiedConnection | None = None
        self._ordinary: OrdinarySession | None = None

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

    def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement)
        return self._session().execute(statement, params, **options)

    def scalar(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement and return the first column of its first row."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement).scalar()
        return self._session().scalar(statement, params, **options)

    def scalars(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement and return the first column of its rows."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._fetch(statement).scalars()
        return self._session().scalars(statement, params, **options)

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

    def __getattr__(self, name: str) -> Any:
        """Delegate all other attributes to the ordinary session."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._session(), name)

    def _session(self) -> OrdinarySession:
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
