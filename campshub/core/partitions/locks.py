"""Locks of maintenance. Each wait is short, because all later transactions queue behind a waiting exclusive lock."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection

# Below PostgreSQL's deadlock_timeout (1 s), so that in a deadlock maintenance fails and not a request.
LOCK_TIMEOUT_MS = 500
TRIES = 20
PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0
BUSY_TRIES = 20  # with a pause of PAUSE_S between them

Result = TypeVar("Result")
Driver = psycopg.Connection[Any]


class MonthsProblem(Exception):
    """An error that ends the maintenance of partitions; the message is one line."""


class TableLocked(MonthsProblem):
    """A table was locked in all tries."""


class PartitionsBusy(MonthsProblem):
    """Another run is working on the same table."""


@contextmanager
def exclusive(connection: Connection, task: str) -> Iterator[Driver]:
    """Run a task under its advisory lock, and yield psycopg's connection; a second run waits up to 5 s for the first.

    :raises PartitionsBusy: another run still has the lock.
    """
    driver = driver_of(connection)
    for number in range(1, BUSY_TRIES + 1):
        if fetch_value(driver, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", task):
            break
        if number == BUSY_TRIES:
            raise PartitionsBusy(f"another run is working on this: {task}.")
        time.sleep(PAUSE_S)
    try:
        driver.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        yield driver
    finally:
        if not driver.closed:  # a closed connection has released the lock
            driver.execute("RESET lock_timeout")
            driver.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (task,))


def driver_of(connection: Connection) -> Driver:
    """Return psycopg's own connection, which supports COPY; it is in autocommit mode."""
    driver: Driver = connection.connection.driver_connection  # type: ignore[assignment] # psycopg's, by the URL
    return driver


def fetch_value(driver: Driver, statement: Any, *values: Any) -> Any:
    """Run a query and return the first column of the first row; None if there is no row."""
    row = driver.execute(statement, values).fetchone()
    return row[0] if row else None


def retry_on_lock_timeout(attempt: Callable[[], Result], *, table: str) -> Result:
    """Call a function, and repeat the call a few times if it cannot get its locks.

    :raises TableLocked: all tries have failed.
    """
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if number == TRIES:
                break
        pause = min(PAUSE_S * number, LONGEST_PAUSE_S)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
    raise TableLocked(
        f"{table} stayed locked in {TRIES} tries: a long transaction holds a lock on it or on a table that it"
        " references. End that transaction (see pg_stat_activity), and run this again: it continues where it stopped."
    )
