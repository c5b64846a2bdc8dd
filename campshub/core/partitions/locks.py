"""How maintenance waits for others: never long in a queue, since all who come later would wait behind it."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection

# Below PostgreSQL's deadlock_timeout (1 s), so that in a circle of waiters this one gives way and no request does.
LOCK_TIMEOUT_MS = 500
TRIES = 20
PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0
BUSY_TRIES = 20

Result = TypeVar("Result")
Driver = psycopg.Connection[Any]


class MonthsProblem(Exception):
    """What maintenance of partitions gives up for; the message is one line."""


class StaysLocked(MonthsProblem):
    """Others held a table for all of the tries."""


class PartitionsBusy(MonthsProblem):
    """Another run is at work on the same table."""


@contextmanager
def exclusive(connection: Connection, task: str) -> Iterator[Driver]:
    """Do a task alone: of two at once the second waits a little for the first. Yield the driver's connection.

    :raises PartitionsBusy: another run goes on with it.
    """
    driver = driver_of(connection)
    for number in range(1, BUSY_TRIES + 1):
        if ask(driver, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", task):
            break
        if number == BUSY_TRIES:
            raise PartitionsBusy(f"another run is at work on this: {task}.")
        time.sleep(PAUSE_S)
    try:
        driver.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        yield driver
    finally:
        if not driver.closed:  # a connection that ends lets go of the lock by itself
            driver.execute("RESET lock_timeout")
            driver.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (task,))


def driver_of(connection: Connection) -> Driver:
    """Return psycopg's own connection, which knows COPY; it is in autocommit mode."""
    driver: Driver = connection.connection.driver_connection  # type: ignore[assignment] # psycopg's, by the address
    return driver


def ask(driver: Driver, statement: Any, *given: Any) -> Any:
    """Return the first column of the first row; None where there is no row."""
    row = driver.execute(statement, given).fetchone()
    return row[0] if row else None


def retry_on_lock_timeout(attempt: Callable[[], Result], *, table: str) -> Result:
    """Try again a few times what could not get its locks at once.

    :raises StaysLocked: it never could.
    """
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if number == TRIES:
                break
        pause = min(PAUSE_S * number, LONGEST_PAUSE_S)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - dice, not secrets
    raise StaysLocked(
        f"{table} stayed locked in {TRIES} tries: a long transaction holds it or what it refers to."
        " End that one (pg_stat_activity shows it), and run this again: it goes on where it stopped."
    )
