"""Restore a month: verify its archive, fill a new table, then attach it in a short transaction."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from campshub.core.dates import add_months
from campshub.core.partitions import months
from campshub.core.partitions.archive import VERIFIED, ReportStage
from campshub.core.partitions.locks import (
    Driver,
    MonthsProblem,
    driver_of,
    exclusive,
    fetch_value,
    retry_on_lock_timeout,
)
from campshub.core.partitions.manifests import DamagedArchive, Manifest
from campshub.core.partitions.month_table import (
    Reference,
    State,
    columns_of,
    copy_in,
    key_of,
    references_of,
    run,
    set_exact_formats,
    state_of,
)
from campshub.core.partitions.store import Archives, NotArchived
from campshub.core.partitions.visibility import stamped_change
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

FILLED, RESTORED = "filled", "restored"
_ENTER = "SELECT set_config('app.organization_id', %s, true)"
_BOUNDS_CHECK = "restored_month"
_TYPE = "SELECT format_type(to_regtype(%s), to_regtypemod(%s))"


class MonthInDatabase(MonthsProblem):
    """The month is in the database."""


class IncompatibleRows(MonthsProblem):
    """The archived rows do not fit into the table as it is today."""


class DeletedReferences(MonthsProblem):
    """Archived rows reference rows that have been deleted since."""


@dataclass
class Restored:
    """The result of a restore."""

    manifest: Manifest
    rows: int = 0
    # Rows of organizations that have been erased since: they are not restored.
    erased: int = 0
    # Rows whose referenced row has been deleted, by the foreign key's name.
    without: Counter[str] = field(default_factory=Counter)
    # Columns that the table no longer has.
    columns: list[str] = field(default_factory=list)


def restore(
    services: Services,
    connection: Connection,
    *,
    table: str,
    month: date,
    leave_out: bool = False,
    allow_unsigned: bool = False,
    report: ReportStage = log.info,
) -> Restored:
    """Restore an archived month; the archive is not changed.

    Columns that were added to the table since get their defaults. A kill at any point leaves nothing behind.

    :param month: its first day.
    :param leave_out: skip rows whose referenced rows have been deleted, instead of refusing.
    :param allow_unsigned: accept an archive without a signature, which was written before there were keys.
    :raises NotArchived, DamagedArchive: there is no archive of it, or it differs from what was written.
    :raises MonthInDatabase: the month is in the database.
    :raises IncompatibleRows, DeletedReferences: the table refuses the rows, or they reference deleted rows.
    :raises TableLocked, PartitionsBusy: a table was locked in all tries, or another run is working on this one.
    """
    archives, name = Archives(services.settings, allow_unsigned=allow_unsigned), months.name_of(table, month)
    with exclusive(connection, f"partitions.archive {table}") as driver:
        state = state_of(driver, name)
        if state is not State.MISSING:
            why = "" if state is State.ATTACHED else ", half archived: run flask partitions archive again first"
            raise MonthInDatabase(f"{name} already exists{why}.")
        manifest = archives.newest(table, month)
        if manifest is None:
            raise NotArchived(f"there is no archive of {table} {month:%Y-%m}.")
        archives.verify(manifest)
        report(VERIFIED)
        with _transaction(driver):
            restored = _fill(driver, archives, manifest, leave_out=leave_out)
            report(FILLED)
            _attach(services, driver, table, name, month)
        run(driver, "ANALYZE {}", name)
        report(RESTORED)
    return restored


@contextmanager
def _transaction(driver: Driver) -> Iterator[None]:
    """Roll back unless the block has committed."""
    driver.execute("BEGIN")
    try:
        yield
    finally:
        if not driver.closed and driver.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            driver.execute("ROLLBACK")


def _fill(driver: Driver, archives: Archives, manifest: Manifest, *, leave_out: bool) -> Restored:
    """Create the month's table with its rows; it is invisible to others before the commit."""
    table, name = manifest.table, months.name_of(manifest.table, manifest.month)
    set_exact_formats(driver)
    driver.execute("SELECT make_month(%s::regclass, %s)", (table, manifest.month))
    run(driver, "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", name)  # COPY FROM does not work with row-level security
    present = columns_of(driver, name)
    restored = Restored(manifest, columns=[column for column in manifest.columns if column not in present])
    for column in restored.columns:
        _add_column(driver, name, column, manifest.columns[column])
    try:
        restored.rows = copy_in(driver, name, list(manifest.columns), archives.read(manifest))
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise IncompatibleRows(f"{name} refuses the archived rows: {str(error).splitlines()[0]}.") from error
    if restored.rows != manifest.rows:
        raise DamagedArchive(f"{manifest.file} contains {restored.rows} rows instead of {manifest.rows}.")
    for column in restored.columns:
        run(driver, "ALTER TABLE {} DROP COLUMN {}", name, column)
    _leave_out(driver, table, name, restored, may=leave_out)
    run(driver, "ALTER TABLE {} FORCE ROW LEVEL SECURITY", name)
    return restored


def _add_column(driver: Driver, name: str, column: str, type_: str) -> None:
    """Add a column that the archive has and the table no longer has.

    A manifest is untrusted, and DDL takes no parameters. So PostgreSQL parses the text as the name of a type, and only
    the name that PostgreSQL returns becomes part of the statement.
    """
    try:
        known = fetch_value(driver, _TYPE, type_, type_)
        if known != type_:
            raise DamagedArchive(f"the manifest names a type that does not exist: {type_!r}.")
        statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}")
        driver.execute(statement.format(sql.Identifier(name), sql.Identifier(column), sql.SQL(known)))
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise DamagedArchive(f"the manifest names a column that is not valid: {column!r} {type_!r}.") from error


def _leave_out(driver: Driver, table: str, name: str, restored: Restored, *, may: bool) -> None:
    """Delete rows of erased organizations, and with ``may`` those whose referenced rows have been deleted.

    Attaching would not find them: it checks foreign keys as the owner, to whom row-level security shows no rows. So
    this function checks organization by organization, with the tenant set.
    """
    references = references_of(driver, table)
    organizations = driver.execute(
        sql.SQL("SELECT DISTINCT organization_id FROM {}").format(sql.Identifier(name))
    ).fetchall()
    for (organization,) in organizations:
        driver.execute(_ENTER, (str(organization),))
        if driver.execute("SELECT 1 FROM organizations WHERE id = %s", (organization,)).fetchone() is None:
            restored.erased += _remove(driver, name, organization, sql.SQL("true"))
            continue
        for reference in references:
            restored.without[reference.name] += _remove(driver, name, organization, _is_gone(reference))
    driver.execute(_ENTER, ("",))
    skipped = sum(restored.without.values())
    if skipped and not may:
        counts = ", ".join(f"{key}: {count}" for key, count in restored.without.items() if count)
        raise DeletedReferences(f"{skipped} rows of {name} reference rows that have been deleted since ({counts}).")
    restored.rows -= restored.erased + skipped


def _remove(driver: Driver, name: str, organization: UUID, which: sql.Composable) -> int:
    statement = sql.SQL("DELETE FROM {} m WHERE m.organization_id = %s AND ({})").format(sql.Identifier(name), which)
    return driver.execute(statement, (organization,)).rowcount


def _is_gone(reference: Reference) -> sql.Composable:
    """Return the SQL condition under which a row's reference has no row."""
    others = sql.SQL(" AND ").join(
        sql.SQL("o.{} = m.{}").format(sql.Identifier(other), sql.Identifier(own))
        for own, other in zip(reference.columns, reference.others, strict=True)
    )
    not_null = sql.SQL(" AND ").join(
        sql.SQL("m.{} IS NOT NULL").format(sql.Identifier(own)) for own in reference.columns
    )
    condition = sql.SQL("{} AND NOT EXISTS (SELECT FROM {} o WHERE {})")
    return condition.format(not_null, sql.Identifier(reference.table), others)


def _attach(services: Services, driver: Driver, table: str, name: str, month: date) -> None:
    """Attach and commit at once, so that writes to the referenced tables are blocked only for this moment."""
    key, until = key_of(driver, table), add_months(month, 1)
    # With this constraint, attaching does not have to scan the table.
    statement = "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NOT NULL AND {} >= {first} AND {} < {until})"
    run(driver, statement, name, _BOUNDS_CHECK, key, key, key, first=month, until=until)
    driver.execute("SET LOCAL lock_timeout = '500ms'")

    def attempt() -> None:
        with stamped_change(services, driver, table):
            with driver.transaction():  # a savepoint: a failed try releases its locks
                attach = "ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({first}) TO ({until})"
                run(driver, attach, table, name, first=month, until=until)
                run(driver, "ALTER TABLE {} DROP CONSTRAINT {}", name, _BOUNDS_CHECK)
            driver.execute("COMMIT")

    retry_on_lock_timeout(attempt, table=table)


class HalfArchived(MonthsProblem):
    """The archiving of the month has begun and has not ended."""


def provide_all(services: Services, connection: Connection, *, tables: Sequence[str], month: date) -> None:
    """Create a month of several tables, or none of them if the archive of one is damaged.

    :raises DamagedArchive, HalfArchived, MonthsProblem: as ``provide``.
    """
    archives, driver = Archives(services.settings), driver_of(connection)
    for table in tables:
        if state_of(driver, months.name_of(table, month)) is State.MISSING:
            manifest = archives.newest(table, month)
            if manifest is not None:
                archives.verify(manifest)
    for table in tables:
        provide(services, connection, table=table, month=month)


def provide(services: Services, connection: Connection, *, table: str, month: date) -> None:
    """Create a month of a table, with its rows if it is archived; an existing month is not changed.

    :param month: its first day.
    :raises HalfArchived: its archiving has begun and has not ended.
    :raises MonthsProblem: it could not be restored, or a table was locked in all tries.
    """
    driver, name = driver_of(connection), months.name_of(table, month)
    state = state_of(driver, name)
    if state is State.MISSING and Archives(services.settings).newest(table, month) is None:
        months.ensure(connection, table, month, month)
        return
    if state is State.MISSING:
        try:
            restore(services, connection, table=table, month=month)
        except MonthInDatabase:  # another run was faster
            state = state_of(driver, name)
        else:
            return
    if state is not State.ATTACHED:
        raise HalfArchived(f"the archiving of {name} has begun and not finished.")
