"""Archive a month: detach it without downtime, export it, verify the export, and only then drop the table.

A kill at any point loses no data. The state in the database and in the archive shows how far the run came: a partition
with a pending detach, a detached table, an archive with exactly the rows of this table. The next run continues there.
"""

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial

import psycopg
from sqlalchemy import Connection

from campshub.config import Settings
from campshub.core.dates import add_months, month_start
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.partitions import months
from campshub.core.partitions.locks import Driver, MonthsProblem, exclusive, fetch_value, retry_on_lock_timeout
from campshub.core.partitions.manifests import DamagedArchive, Manifest
from campshub.core.partitions.month_table import (
    State,
    columns_of,
    copy_out,
    pending_detach,
    references_of,
    row_security_off,
    run,
    state_of,
)
from campshub.core.partitions.store import Archives
from campshub.core.partitions.visibility import stamped_change
from campshub.core.partitions.writable import months_to_keep
from campshub.core.rollups import refresh
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

ReportStage = Callable[[str], None]

# The reported stages, each reported after it has been reached.
WAITING, DETACHED, EXPORTED, VERIFIED, LOOSENED, DROPPED = (
    "waiting for other transactions",
    "detached",
    "exported",
    "verified",
    "references dropped",
    "dropped",
)
STAGES = (DETACHED, EXPORTED, VERIFIED, LOOSENED, DROPPED)


class NoSuchMonth(MonthsProblem):
    """The table has no such month."""


class MonthNotOver(MonthsProblem):
    """The month has not ended yet."""


def due(connection: Connection, *, today: date, settings: Settings) -> list[tuple[str, date]]:
    """Return the months, with their tables, that are older than the retention time, and unfinished archivings.

    Months that may still be written are not archived, whatever ``RETENTION_MONTHS`` is.
    """
    if not settings.retention_months:
        return []
    oldest = {table: add_months(today, -months_to_keep(settings, table)) for table in months.tables(connection)}
    found = {(partition.table, partition.first) for partition in months.present(connection)}
    return sorted(one for one in found | set(months.detached(connection)) if one[1] < oldest[one[0]])


def archive(
    services: Services, connection: Connection, *, table: str, month: date, report: ReportStage = log.info
) -> Manifest:
    """Archive a month of a table and drop it; return the manifest of its archive.

    :param month: its first day.
    :param report: called with each stage after it has been reached.
    :raises NoSuchMonth: the table has no such month.
    :raises MonthNotOver: the month has not ended.
    :raises DamagedArchive: the archive does not read back as it was written; the month's table still exists.
    :raises TableLocked: the table, or a table that it references, was locked in all tries.
    :raises PartitionsBusy: another run is archiving or restoring months of the table.
    """
    if month >= month_start(datetime.now(UTC).date()):
        raise MonthNotOver(f"{month:%Y-%m} has not ended.")
    archives, name = Archives(services.settings), months.name_of(table, month)
    with exclusive(connection, f"partitions.archive {table}") as driver:
        _detach(services, driver, table, name, report)
        report(DETACHED)
        manifest = _stored(driver, archives, table, month)
        report(EXPORTED)
        archives.verify(manifest)
        archives.clear(table, month)
        report(VERIFIED)
        _drop(driver, name, report)
        report(DROPPED)
    return manifest


def _refresh_rollups() -> None:
    """Refresh all stale rollups while the rows that they aggregate still exist."""
    is_complete = False
    while not is_complete:
        with unit_of_work(system=True) as session:
            is_complete = refresh.refresh_due(session).is_whole


def _detach(services: Services, driver: Driver, table: str, name: str, report: ReportStage) -> None:
    """Detach a month's table from its parent, so that no query reads or writes it any more."""
    # The pending detach may be of this month or another: PostgreSQL allows one per table.
    if other := pending_detach(driver, table):
        _finish_detach(driver, table, other, report)
    state = state_of(driver, name)
    if state is State.MISSING:
        raise NoSuchMonth(f"{table} has no month {months.month_of(name):%Y-%m}.")
    if state is State.DETACHED:
        with stamped_change(services, driver, table):
            return  # the run that detached it may have been killed before it raised the stamps
    _refresh_rollups()

    def attempt() -> None:
        with stamped_change(services, driver, table):
            try:
                run(driver, "ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY", table, name)
            except psycopg.errors.LockNotAvailable:
                if state_of(driver, name) is State.ATTACHED:
                    raise

    retry_on_lock_timeout(attempt, table=table)
    if state_of(driver, name) is State.DETACHING:
        _finish_detach(driver, table, name, report)


def _finish_detach(driver: Driver, table: str, name: str, report: ReportStage) -> None:
    """Wait, in short tries, until no transaction is left that still uses the partition."""

    def attempt() -> None:
        report(WAITING)
        run(driver, "ALTER TABLE {} DETACH PARTITION {} FINALIZE", table, name)

    retry_on_lock_timeout(attempt, table=table)


def _stored(driver: Driver, archives: Archives, table: str, month: date) -> Manifest:
    """Return an archive with exactly the current rows of the month's table; write it unless an earlier run has."""
    name = months.name_of(table, month)
    existing = archives.newest(table, month)
    with row_security_off(driver, name):
        columns = columns_of(driver, name)
        if existing is not None and _is_current(driver, archives, existing, name):
            return existing
        rows = fetch_value(driver, f'SELECT count(*) FROM "{name}"')  # noqa: S608 - a name of the catalogue
        written = archives.write(table, month, copy_out(driver, name, list(columns)))
        manifest = Manifest(
            table=table,
            month=month,
            id=written.id,
            columns=columns,
            rows=rows,
            plain=written.plain,
            stored=written.stored,
            at=datetime.now(UTC),
            revision=fetch_value(driver, "SELECT version_num FROM alembic_version"),
        )
    return archives.finish(manifest, written)


def _is_current(driver: Driver, archives: Archives, existing: Manifest, name: str) -> bool:
    """Return whether an archive contains exactly the rows of the month's table, and reads back."""
    columns = columns_of(driver, name)
    if existing.columns != columns:
        return False
    digest = hashlib.sha256()
    for block in copy_out(driver, name, list(columns)):
        digest.update(block)
    if digest.hexdigest() != existing.plain.sha256:
        return False
    try:
        archives.verify(existing)
    except DamagedArchive:
        return False
    return True


def _drop(driver: Driver, name: str, report: ReportStage) -> None:
    """Drop a month's table, after its foreign keys one by one.

    Dropping a foreign key blocks the readers of the referenced table, for example students. So each foreign key has its
    own short transaction; dropping the table afterwards blocks no other table.
    """
    for reference in references_of(driver, name):
        statement = "ALTER TABLE {} DROP CONSTRAINT {}"
        retry_on_lock_timeout(partial(run, driver, statement, name, reference.name), table=reference.table)
    report(LOOSENED)
    retry_on_lock_timeout(partial(run, driver, "DROP TABLE {}", name), table=name)
