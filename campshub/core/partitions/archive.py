"""Archiving a month: taken out while everybody works, exported, read back, and only then dropped.

A kill at any point loses nothing. What is left says how far it came: a partition that is leaving, a table of a month
that is no partition, an archive that holds exactly what this table holds. The next run goes on from there.
"""

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial

import psycopg
from sqlalchemy import Connection

from campshub.config import Settings
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.partitions import months
from campshub.core.partitions.locks import Driver, MonthsProblem, ask, exclusive, retry_on_lock_timeout
from campshub.core.partitions.manifests import Damaged, Manifest
from campshub.core.partitions.month_table import (
    State,
    columns_of,
    copied,
    leaving,
    past_policies,
    references_of,
    run,
    state_of,
)
from campshub.core.partitions.store import Archives
from campshub.core.partitions.visibility import announced
from campshub.core.partitions.writable import months_to_keep
from campshub.core.rollups import refresh
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

Tell = Callable[[str], None]

# What is told on the way, each after it has happened.
WAITING, TAKEN_OUT, EXPORTED, VERIFIED, LOOSENED, DROPPED = (
    "waiting for other transactions",
    "taken out",
    "exported",
    "verified",
    "references dropped",
    "dropped",
)
STAGES = (TAKEN_OUT, EXPORTED, VERIFIED, LOOSENED, DROPPED)


class NothingThere(MonthsProblem):
    """The table has no such month."""


class NotOver(MonthsProblem):
    """The month is not over yet."""


def due(connection: Connection, *, today: date, settings: Settings) -> list[tuple[str, date]]:
    """Return the months, with their tables, that are older than the platform keeps; those left half done as well.

    Months that may still be written stay, whatever ``RETENTION_MONTHS`` says.
    """
    if not settings.retention_months:
        return []
    oldest = {table: months.back(today, months_to_keep(settings, table)) for table in months.tables(connection)}
    found = {(partition.table, partition.first) for partition in months.present(connection)}
    return sorted(one for one in found | set(months.taken_out(connection)) if one[1] < oldest[one[0]])


def archive(services: Services, connection: Connection, *, table: str, month: date, tell: Tell = log.info) -> Manifest:
    """Archive a month of a table and drop it; return what its archive says of itself.

    :param month: its first day.
    :param tell: is told each stage once it has been reached.
    :raises NothingThere: the table has no such month.
    :raises NotOver: rows of this month are still to come.
    :raises Damaged: the archive does not read back as it was written; the month's table is still there.
    :raises StaysLocked: others held the table, or what it refers to, for all of the tries.
    :raises Busy: another run is at work on the table's archive.
    """
    if month >= datetime.now(UTC).date().replace(day=1):
        raise NotOver(f"{month:%Y-%m} is not over.")
    archives, name = Archives(services.settings), months.name_of(table, month)
    with exclusive(connection, f"partitions.archive {table}") as driver:
        _take_out(services, driver, table, name, tell)
        tell(TAKEN_OUT)
        manifest = _stored(driver, archives, table, month)
        tell(EXPORTED)
        archives.verify(manifest)
        archives.clear(table, month)
        tell(VERIFIED)
        _drop(driver, name, tell)
        tell(DROPPED)
    return manifest


def _count_figures() -> None:
    """Count the figures that are owed, while the rows that they are counted from are still there."""
    is_whole = False
    while not is_whole:
        with unit_of_work(system=True) as session:
            is_whole = refresh.refresh_due(session).is_whole


def _take_out(services: Services, driver: Driver, table: str, name: str, tell: Tell) -> None:
    """Make a month's table one of its own, which nobody reads or writes any more."""
    if other := leaving(driver, table):  # of this month or another; one at a time can leave
        _finish_leaving(driver, table, other, tell)
    state = state_of(driver, name)
    if state is State.GONE:
        raise NothingThere(f"{table} has no month {months.month_of(name):%Y-%m}.")
    if state is State.OUT:
        with announced(services, driver, table):
            return  # who took it out may have died before it said so
    _count_figures()

    def attempt() -> None:
        with announced(services, driver, table):
            try:
                run(driver, "ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY", table, name)
            except psycopg.errors.LockNotAvailable:
                if state_of(driver, name) is State.IN:
                    raise

    retry_on_lock_timeout(attempt, table=table)
    if state_of(driver, name) is State.LEAVING:
        _finish_leaving(driver, table, name, tell)


def _finish_leaving(driver: Driver, table: str, name: str, tell: Tell) -> None:
    """Wait, in short tries, until no transaction is left that knew the partition as one."""

    def attempt() -> None:
        tell(WAITING)
        run(driver, "ALTER TABLE {} DETACH PARTITION {} FINALIZE", table, name)

    retry_on_lock_timeout(attempt, table=table)


def _stored(driver: Driver, archives: Archives, table: str, month: date) -> Manifest:
    """Return the archive that holds what the month's table holds now; write it unless an earlier run has."""
    name = months.name_of(table, month)
    known = archives.newest(table, month)
    with past_policies(driver, name):
        columns = columns_of(driver, name)
        if known is not None and _is_whole(driver, archives, known, name):
            return known
        rows = ask(driver, f'SELECT count(*) FROM "{name}"')  # noqa: S608 - a name of the catalogue
        written = archives.write(table, month, copied(driver, name, list(columns)))
        manifest = Manifest(
            table=table,
            month=month,
            id=written.id,
            columns=columns,
            rows=rows,
            plain=written.plain,
            stored=written.stored,
            at=datetime.now(UTC),
            revision=ask(driver, "SELECT version_num FROM alembic_version"),
        )
    return archives.finish(manifest, written)


def _is_whole(driver: Driver, archives: Archives, known: Manifest, name: str) -> bool:
    """Tell whether an archive holds exactly what the month's table holds, and reads back."""
    columns = columns_of(driver, name)
    if known.columns != columns:
        return False
    digest = hashlib.sha256()
    for block in copied(driver, name, list(columns)):
        digest.update(block)
    if digest.hexdigest() != known.plain.sha256:
        return False
    try:
        archives.verify(known)
    except Damaged:
        return False
    return True


def _drop(driver: Driver, name: str, tell: Tell) -> None:
    """Drop a month's table, its references one by one before it.

    Dropping a reference locks out the readers of the table that it refers to, students for example. So each has a
    transaction of its own, which is over at once; the table that is left touches nobody.
    """
    for reference in references_of(driver, name):
        words = "ALTER TABLE {} DROP CONSTRAINT {}"
        retry_on_lock_timeout(partial(run, driver, words, name, reference.name), table=reference.table)
    tell(LOOSENED)
    retry_on_lock_timeout(partial(run, driver, "DROP TABLE {}", name), table=name)
