"""Engines: their configuration, and a connection pool whose waiters are served in the order in which they came.

SQLAlchemy's own queue wakes a waiter and lets whoever runs next take the connection. Under gevent that is most often
not the one who was woken: at 64 connections on a pool of 20, a request in a hundred waited 1.5 s while the median was
60 ms, and some ran into the time-out (`make bench only=lists`). Here a connection that comes back is handed to whoever
has waited longest.

SQLAlchemy wraps what it hands out in a proxy that is returned when it is forgotten. A read that takes one round trip
forgets nothing, and is lent the bare entry instead: making and ending the proxy takes longer than the read's own work.
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

CONNECT_WITHIN_S = 2  # libpq's least


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
    """Someone who waits, and what they were handed."""

    __slots__ = ("given", "woken")

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.given: Any = None


class FairQueue(QueueCommon[Any]):
    """The queue of a pool: connections at rest, or waiters for one, never both."""

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:  # noqa: FBT001, FBT002 - the pool calls it so
        self.maxsize, self.use_lifo = maxsize, use_lifo
        self._at_rest: deque[Any] = deque()
        self._waiters: deque[_Waiter] = deque()
        # Reentrant: collecting garbage within a call may return a connection by another one.
        self._lock = threading.RLock()

    def qsize(self) -> int:
        """Return how many connections are at rest."""
        return len(self._at_rest)

    def empty(self) -> bool:
        """Tell whether none is at rest."""
        return not self._at_rest

    def full(self) -> bool:
        """Tell whether no more can rest here."""
        return 0 < self.maxsize <= len(self._at_rest)

    def put_nowait(self, item: Any) -> None:
        """Hand a connection to whoever has waited longest, or let it rest.

        :raises Full: as many as there may be are at rest.
        """
        with self._lock:
            if self._waiters:
                waiter = self._waiters.popleft()
                waiter.given = item
                waiter.woken.set()
            elif self.full():
                raise Full
            else:
                self._at_rest.append(item)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - the pool calls it so
        """Hand a connection on; never waits, since the pool never has more than it may."""
        self.put_nowait(item)

    def get_nowait(self) -> Any:
        """Take a connection at rest.

        :raises Empty: there is none.
        """
        return self.get(block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - the pool calls it so
        """Take a connection, or wait in line for one, so many seconds at most.

        :raises Empty: there is none, and none has come.
        """
        with self._lock:
            if self._at_rest:
                return self._at_rest.pop() if self.use_lifo else self._at_rest.popleft()
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
                return waiter.given
            self._waiters.remove(waiter)
        raise Empty

    def _leave(self, waiter: _Waiter) -> None:
        """Take a waiter who was interrupted out of the line; what they were handed meanwhile goes to the next."""
        with self._lock:
            if waiter.woken.is_set():
                self.put_nowait(waiter.given)
            else:
                self._waiters.remove(waiter)


class FairPool(QueuePool):
    """SQLAlchemy's pool with that queue."""

    _queue_class: ClassVar[type[QueueCommon[Any]]] = FairQueue  # type: ignore[misc] # the base declares no ClassVar

    def borrow(self) -> "BorrowedConnection":
        """Lend a connection, whose borrower must close it.

        :raises sqlalchemy.exc.TimeoutError: none has come back in time.
        :raises psycopg.Error: there is none yet, and it could not be made.
        """
        return BorrowedConnection(self, self._do_get())


class BorrowedConnection:
    """A connection of the pool, for as long as one round trip takes."""

    __slots__ = ("_entry", "_pool", "driver_connection", "info")

    def __init__(self, pool: FairPool, entry: Any) -> None:
        self._pool, self._entry = pool, entry
        try:
            self.driver_connection: Any = entry.get_connection()  # a new one, where it has to be
            self.info: dict[Any, Any] = entry.info
        except BaseException as error:
            entry.invalidate(error)
            pool._do_return_conn(entry)  # noqa: SLF001 - what a pool of its own kind overrides
            raise
        pool.dispatch.checkout(self.driver_connection, entry, None)

    def invalidate(self, error: BaseException) -> None:
        """Close the connection itself: nobody may have it any more."""
        self._entry.invalidate(error)

    def close(self) -> None:
        """Give it back, with nothing under way on it."""
        entry, connection = self._entry, self._entry.dbapi_connection
        try:
            if connection is not None:
                reset(connection, entry, None)
        except BaseException as error:
            entry.invalidate(error)
            if not isinstance(error, psycopg.Error):  # whoever gives it back is being stopped
                raise
        finally:
            self._pool.dispatch.checkin(connection, entry)
            self._pool._do_return_conn(entry)  # noqa: SLF001 - see above


@event.listens_for(FairPool, "reset")
def reset(connection: Any, _record: object, _state: object) -> None:
    """Roll back what is under way on a connection that comes back; the usual way asks even where nothing is."""
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        connection.rollback()


# SQLAlchemy logs under the name of the pool's class, and this one's is among the application's own loggers.
logging.getLogger(f"{__name__}.{FairPool.__name__}").setLevel(logging.WARNING)
