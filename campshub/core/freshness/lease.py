"""The lease: for how long this process may trust stamps and caches, and how far each replica has replayed.

A process may trust its value of the epoch while the last successful query for it was sent less than half a second ago.
Native threads send these queries, one thread per server, because a greenlet would be late whenever the hub is busy. The
threads take no lock that the hub may hold: they use libpq directly, no pool, no logging, no metrics, and store each
result in one attribute. See `docs/decisions/0010-freshness.md`.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from gevent import monkey
from psycopg import pq
from psycopg.conninfo import make_conninfo

from campshub.config import Settings

LEASE_S = 0.5
RENEWED_EVERY_S = 0.15
WATCHED_EVERY_S = 0.1
ANSWER_WITHIN_S = 1.0
CONNECT_WITHIN_S = 2.0

_EPOCH = b"SELECT freshness_epoch(), server_identity()"
# A replica that does not follow the same server on the same timeline returns another identity.
_REPLAYED = b"""
SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint, replica_identity()
"""

# The functions patched by gevent would create a hub in each of these threads.
_start_native: Callable[..., Any] = monkey.get_original("_thread", "start_new_thread")
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")
_poll: Callable[[], Any] = monkey.get_original("select", "poll")
# CLOCK_BOOTTIME also counts the time during which the machine is suspended, so that a process does not trust an old
# lease after a resume. Only Linux has it; elsewhere the monotonic clock is used, which stops during suspension.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the seconds since a fixed moment in the past; they never decrease."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class Granted:
    """The reply of the primary, and when the query was sent by this process's own clock."""

    epoch: int
    primary: str
    sent_at: float

    def is_valid(self) -> bool:
        """Return whether the lease may still be trusted."""
        return elapsed() - self.sent_at < LEASE_S


@dataclass(frozen=True)
class Replayed:
    """A position that a replica has replayed at least, and the identity of the primary that it follows."""

    position: int
    primary: str
    seen_at: float


class _Watch:
    """One server, to which a native thread sends the same query every ``every_s`` seconds."""

    def __init__(self, conninfo: str, query: bytes, every_s: float, on_row: Callable[[Any, float], None]) -> None:
        self._conninfo = conninfo.encode()
        self._query = query
        self._every_s = every_s
        self._on_row = on_row
        self.is_stopped = False
        self.is_failing = False
        self.has_ended = True

    def start(self) -> None:
        self.has_ended = False
        _start_native(self._run, ())

    def _run(self) -> None:
        connection: Any = None
        try:
            while not self.is_stopped:
                try:
                    connection = connection or self._connect()
                    sent_at = elapsed()
                    row = self._fetch_row(connection)
                    self._on_row(row, sent_at)
                    self.is_failing = False
                except (psycopg.Error, OSError, ValueError):
                    self.is_failing = True
                    if connection is not None:
                        connection.finish()
                        connection = None
                _sleep(self._every_s)
        finally:
            if connection is not None:
                connection.finish()
            self.has_ended = True

    def _connect(self) -> Any:
        """Connect in steps: a blocking connect of psycopg holds the interpreter's lock, and so stops every request.

        :raises psycopg.OperationalError: the connection failed or timed out.
        """
        connection = pq.PGconn.connect_start(self._conninfo)
        try:
            _finish_connecting(connection)
        except BaseException:
            connection.finish()
            raise
        connection.nonblocking = 1
        return connection

    def _fetch_row(self, connection: Any) -> list[Any]:
        """Send the query and return its row.

        :raises psycopg.OperationalError: the query failed or timed out.
        """
        connection.send_query(self._query)
        connection.flush()
        until = time.monotonic() + ANSWER_WITHIN_S
        while connection.is_busy():
            _wait(connection.socket, select.POLLIN, until)
            connection.consume_input()
        row: list[Any] | None = None
        while (result := connection.get_result()) is not None:
            if result.status == pq.ExecStatus.TUPLES_OK:
                row = [_text(result.get_value(0, column)) for column in range(result.nfields)]
        if row is None:
            raise psycopg.OperationalError("the query failed")
        return row


def _finish_connecting(connection: Any) -> None:
    until = time.monotonic() + CONNECT_WITHIN_S
    state = pq.PollingStatus.WRITING
    while state != pq.PollingStatus.OK:
        if state == pq.PollingStatus.FAILED or connection.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError("the connection failed")
        _wait(connection.socket, select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT, until)
        state = connection.connect_poll()


def _wait(socket: int, event: int, until: float) -> None:
    """Wait until a socket is ready.

    :raises psycopg.OperationalError: it is not ready in time.
    """
    poll = _poll()
    poll.register(socket, event)
    left = until - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise psycopg.OperationalError("no reply in time")


def _text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None


class Lease:
    """One process's lease on the primary, and its watch on the replicas."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._last: Granted | None = None
        self._replayed: dict[int, Replayed] = {}
        self._watches: list[_Watch] = []

    def granted(self) -> Granted | None:
        """Return the lease if it is valid. The first call starts the threads."""
        if not self._watches or self._process != os.getpid():
            self._start()
        last = self._last
        return last if last is not None and last.is_valid() else None

    def wait(self) -> Granted:
        """Return the lease; wait for it at most for the time-outs of a connection and a query.

        :raises psycopg.OperationalError: the primary has not replied in time.
        """
        until = time.monotonic() + ANSWER_WITHIN_S + CONNECT_WITHIN_S
        while (granted := self.granted()) is None:
            if time.monotonic() > until:
                raise psycopg.OperationalError("the primary does not answer")
            time.sleep(0.01)
        return granted

    def last(self) -> Granted | None:
        """Return the last known lease, valid or expired."""
        return self._last

    def primary_is_unavailable(self) -> bool:
        """Return whether the last query to the primary failed and the lease has expired."""
        return bool(self._watches) and self._watches[0].is_failing and self.granted() is None

    def replayed(self, number: int) -> Replayed | None:
        """Return the last known state of a replica."""
        return self._replayed.get(number)

    def stop(self) -> None:
        """Stop the threads; wait for them at most for the time-outs of a connection and a query."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.is_stopped = True
        until = time.monotonic() + ANSWER_WITHIN_S + CONNECT_WITHIN_S
        while not all(watch.has_ended for watch in watches) and time.monotonic() < until:
            time.sleep(0.005)

    def _start(self) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._forget()
            if self._watches:
                return
            settings = self._settings
            direct = (settings.postgres_direct_host, settings.postgres_direct_port)
            watches = [_Watch(_conninfo(settings, *direct), _EPOCH, RENEWED_EVERY_S, self._renew)]
            for number, (host, port) in enumerate(settings.replicas):
                conninfo = _conninfo(settings, host, port)
                watches.append(_Watch(conninfo, _REPLAYED, WATCHED_EVERY_S, self._on_replayed(number)))
            for watch in watches:
                watch.start()
            self._watches = watches

    def _renew(self, row: list[Any], sent_at: float) -> None:
        self._last = Granted(int(row[0]), row[1], sent_at)

    def _on_replayed(self, number: int) -> Callable[[list[Any], float], None]:
        def store(row: list[Any], sent_at: float) -> None:
            self._replayed[number] = Replayed(int(row[0] or 0), row[1] or "", sent_at)

        return store


def _conninfo(settings: Settings, host: str, port: int) -> str:
    url = settings.database_url("app", host, port)
    return make_conninfo(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=url.database,
        sslmode=settings.postgres_sslmode,
        application_name="campshub lease",
    )
