"""Reads without an ORM session: a prepared statement travels with its own transaction and tenant, in one round trip.

``BEGIN READ ONLY``, the tenant, the statement and ``COMMIT`` go out together, and the connection is given back before
the rows are written. Each statement of a unit is a transaction of its own, which under READ COMMITTED sees what it
would have seen as the next statement of the same one. Whatever is not prepared gets an ordinary session.
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
# SQLSTATE of a server that shuts down, has crashed, or starts; class 08 is a lost connection.
_SHUT = frozenset({"57P01", "57P02", "57P03"})


class OrdinarySession(Protocol):
    """What a read session needs of the SQLAlchemy session that runs what is not prepared."""

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
    """A read-only unit of work in one tenant; it answers as an ordinary session does."""

    def __init__(self, unit: Unit, ordinary: Callable[..., OrdinarySession]) -> None:
        self.unit = unit
        self._open = ordinary
        # A transaction that has begun with the question who calls, and waits for its statement.
        self._begun: PoolProxiedConnection | None = None
        self._ordinary: OrdinarySession | None = None

    def read_caller(self) -> None:
        """Begin, set the tenant, and learn who calls."""
        words = f"{self.unit.begin_sql}; {self.unit.enter_sql()}"
        connection = self._connect()
        try:
            results = self._round_trip(connection, words, words.encode())
        except BaseException:
            connection.close()
            raise
        self._begun = connection
        self.unit.caller_row = CallerRow(*_rows(connection, results[-1])[0])

    def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._ask(statement)
        return self._session().execute(statement, params, **options)

    def scalar(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement and return the first column of its first row."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._ask(statement).scalar()
        return self._session().scalar(statement, params, **options)

    def scalars(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement and return the first column of its rows."""
        if isinstance(statement, PreparedQuery) and self._ordinary is None:
            return self._ask(statement).scalars()
        return self._session().scalars(statement, params, **options)

    def flush(self) -> None:
        """Let an ordinary session find out that it has something to write, which is refused."""
        if self._ordinary is not None:
            self._ordinary.flush()

    def release(self) -> None:
        """Give the connection back while something slow runs; the next statement begins anew."""
        self.close()

    def close(self) -> None:
        """Give back what is still held."""
        session, self._ordinary = self._ordinary, None
        if session is not None:
            session.close()
        connection, self._begun = self._begun, None
        if connection is not None:
            connection.close()

    def finish(self, commit: Callable[[Any], str | None]) -> None:
        """End the transaction, if one is under way."""
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
        """Answer what only an ordinary session can do."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._session(), name)

    def _session(self) -> OrdinarySession:
        """Return the ordinary session, in the transaction that has begun."""
        if self._ordinary is None:
            begun, self._begun = self._begun, None
            self._ordinary = self._open(self.unit, begun)
        return self._ordinary

    def _ask(self, question: PreparedQuery) -> IteratorResult[Any]:
        """Run a prepared statement; a lost connection is replaced once, since a read may be asked again."""
        try:
            rows = self._asked(question)
        except DBAPIError as error:
            if error.statement is None or not is_gone(error):
                raise
            self.unit.engine.dispose()
            rows = self._asked(question)
        return IteratorResult(question.statement.keys, iter(rows))

    def _asked(self, question: PreparedQuery) -> list[tuple[Any, ...]]:
        connection: BorrowedConnection | PoolProxiedConnection | None = self._begun
        self._begun, opening = None, b""
        if connection is None:
            connection = self._borrow()
            opening = f"{self.unit.begin_sql}; {self.unit.tenant_sql()}; ".encode()
        try:
            driver: Any = connection.driver_connection
            statement = question.statement.write(question.values, driver)
            results = self._round_trip(connection, question.statement.text, b"%b%b; COMMIT" % (opening, statement))
            if opening and results[1].get_value(0, 0) != b"t":
                raise ReplicaBehind
            result = results[-2]
            question.statement.check([result.ftype(number) for number in range(result.nfields)])
            return _rows(connection, result)
        finally:
            connection.close()

    def _connect(self) -> PoolProxiedConnection:
        """Return a connection that an ordinary session may take over."""
        return self._connected(self.unit.engine.raw_connection)

    def _borrow(self) -> BorrowedConnection:
        """Return a connection for one round trip."""
        pool: Any = self.unit.engine.pool
        lent: BorrowedConnection = self._connected(pool.borrow)
        return lent

    def _connected(self, connect: Callable[[], C]) -> C:
        try:
            return connect()
        except psycopg.Error as error:
            raise DBAPIError.instance(None, None, error, psycopg.Error, dialect=self.unit.engine.dialect) from error

    def _round_trip(self, connection: BorrowedConnection | PoolProxiedConnection, text: str, words: bytes) -> list[Any]:
        """Send several statements at once and return their results."""
        driver: Any = connection.driver_connection
        started = time.perf_counter()
        try:
            results = _exchange(driver.pgconn, words)
        except psycopg.Error as error:
            if driver.pgconn.status != ConnStatus.OK:
                connection.invalidate(error)
            dialect = self.unit.engine.dialect
            raise DBAPIError.instance(text, None, error, psycopg.Error, dialect=dialect) from error
        except BaseException as error:
            connection.invalidate(error)  # the answer is still on its way
            raise
        finally:
            metrics.sql_done(text, time.perf_counter() - started)
        return results


def _exchange(pgconn: Any, words: bytes) -> list[Any]:
    """Send statements and wait for their results; psycopg's own way takes two polls and a generator.

    :raises psycopg.Error: the server refused a statement, and left out those that followed.
    """
    pgconn.send_query(words)
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
    if loader is None:  # made once for a connection: it remembers how each type is read
        loader = connection.info[_LOADER] = Transformer(connection.driver_connection)
    loader.set_pgresult(result)
    rows: list[tuple[Any, ...]] = loader.load_rows(0, result.ntuples, tuple)
    return rows


def is_gone(error: DBAPIError) -> bool:
    """Tell a lost connection, or one that was never made, from a refusal of the server."""
    if not isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.orig.sqlstate
    return state is None or state.startswith("08") or state in _SHUT


def _wait_until(fileno: int, *, writable: bool = False) -> None:
    """Wait until there is something to read, or room to write; other greenlets go on meanwhile."""
    if monkey.is_module_patched("select"):
        (socket.wait_write if writable else socket.wait_read)(fileno)
        return
    poll = select.poll()
    poll.register(fileno, select.POLLOUT if writable else select.POLLIN)
    poll.poll()
