"""Engines: their configuration, and a fair connection pool that serves waiters in the order of their arrival.

SQLAlchemy's own queue wakes a waiter, but the next greenlet that runs takes the connection. Under gevent that is most
often not the one that was woken: with 64 client connections on a pool of 20, one request in a hundred waited 1.5 s
while the median was 60 ms, and some timed out (`make bench only=lists`). Here a returned connection goes to the waiter
that has waited longest.

SQLAlchemy wraps each checked-out connection in a proxy that returns it when the proxy is garbage-collected. A read of
one round trip always closes its connection, so it borrows the bare pool entry: creating and ending the proxy takes
longer than the read's own work.
"""

import logging
import threading
from collections import deque
from typing import Any, ClassVar

import orjson
import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.pool import QueuePool
from sqlalchemy.util.queue import Empty, Full, QueueCommon

from campshub.config import Settings

CONNECT_WITHIN_S = 2  # the minimum of libpq


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
            "pool_reset_on_return": None,  # ``pool.reset`` does it
            "pool_recycle": 600,
            "isolation_level": "AUTOCOMMIT",
            "hide_parameters": True,
            "json_deserializer": orjson.loads,
            "connect_args": {"prepare_threshold": settings.db_prepare_threshold, "connect_timeout": CONNECT_WITHIN_S},
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


class _Waiter:
    """One caller that waits, and the connection that it receives."""

    __slots__ = ("connection", "woken")

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.connection: Any = None


class FairQueue(QueueCommon[Any]):
    """The queue of a pool: idle connections, or waiters for one, never both."""

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:  # noqa: FBT001, FBT002 - the pool calls it so
        self.maxsize, self.use_lifo = maxsize, use_lifo
        self._idle: deque[Any] = deque()
        self._waiters: deque[_Waiter] = deque()
        # Reentrant: garbage collection during a call may return a connection in a nested call.
        self._lock = threading.RLock()

    def qsize(self) -> int:
        """Return the number of idle connections."""
        return len(self._idle)

    def empty(self) -> bool:
        """Return whether no connection is idle."""
        return not self._idle

    def full(self) -> bool:
        """Return whether the queue is full."""
        return 0 < self.maxsize <= len(self._idle)

    def put_nowait(self, item: Any) -> None:
        """Pass a connection to the waiter that has waited longest, or queue it as idle.

        :raises Full: the maximum number of connections is idle.
        """
        with self._lock:
            if self._waiters:
                waiter = self._waiters.popleft()
                waiter.connection = item
                waiter.woken.set()
            elif self.full():
                raise Full
            else:
                self._idle.append(item)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - the pool calls it so
        """Pass a connection on; never blocks, because the pool never has more connections than its size."""
        self.put_nowait(item)

    def get_nowait(self) -> Any:
        """Take an idle connection.

        :raises Empty: there is none.
        """
        return self.get(block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - the pool calls it so
        """Take a connection, or wait for one for at most ``timeout`` seconds.

        :raises Empty: there is none, and none was returned in time.
        """
        with self._lock:
            if self._idle:
                return self._idle.pop() if self.use_lifo else self._idle.popleft()
            if not block:
                raise Empty
            waiter = _Waiter()
            self._waiters.append(waiter)
        try:
            waiter.woken.wait(timeout)
        except BaseException:
            self._leave(waiter)
            raise
        with self._lock:
            if waiter.woken.is_set():
                return waiter.connection
            self._waiters.remove(waiter)
        raise Empty

    def _leave(self, waiter: _Waiter) -> None:
        """Remove an interrupted waiter; a connection that it has received meanwhile goes to the next one."""
        with self._lock:
            if waiter.woken.is_set():
                self.put_nowait(waiter.connection)
            else:
                self._waiters.remove(waiter)


class FairPool(QueuePool):
    """SQLAlchemy's pool with the fair queue."""

    _queue_class: ClassVar[type[QueueCommon[Any]]] = FairQueue  # type: ignore[misc] # the base declares no ClassVar

    def borrow(self) -> "BorrowedConnection":
        """Return a connection that the caller must close.

        :raises sqlalchemy.exc.TimeoutError: none was returned in time.
        :raises psycopg.Error: a new connection was needed and could not be opened.
        """
        return BorrowedConnection(self, self._do_get())


class BorrowedConnection:
    """A connection of the pool, borrowed for one round trip."""

    __slots__ = ("_entry", "_pool", "driver_connection", "info")

    def __init__(self, pool: FairPool, entry: Any) -> None:
        self._pool, self._entry = pool, entry
        try:
            self.driver_connection: Any = entry.get_connection()  # opens a new one where needed
            self.info: dict[Any, Any] = entry.info
        except BaseException as error:
            entry.invalidate(error)
            pool._do_return_conn(entry)  # noqa: SLF001 - a hook for subclasses of the pool
            raise
        pool.dispatch.checkout(self.driver_connection, entry, None)

    def invalidate(self, error: BaseException) -> None:
        """Close the connection itself, so that no one gets it again."""
        self._entry.invalidate(error)

    def close(self) -> None:
        """Return it to the pool, with no open transaction."""
        entry, connection = self._entry, self._entry.dbapi_connection
        try:
            if connection is not None:
                reset(connection, entry, None)
        except BaseException as error:
            entry.invalidate(error)
            if not isinstance(error, psycopg.Error):  # the greenlet that returns it is being killed
                raise
        finally:
            self._pool.dispatch.checkin(connection, entry)
            self._pool._do_return_conn(entry)  # noqa: SLF001 - see above


@event.listens_for(FairPool, "reset")
def reset(connection: Any, _record: object, _state: object) -> None:
    """Roll back an open transaction on a returned connection; SQLAlchemy's own reset always sends a ROLLBACK."""
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        connection.rollback()


# SQLAlchemy logs under the name of the pool's class, which for this one is a child of the application's logger.
logging.getLogger(f"{__name__}.{FairPool.__name__}").setLevel(logging.WARNING)
