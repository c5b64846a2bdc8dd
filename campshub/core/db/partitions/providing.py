"""Providing a month that a write needs: it is restored where it lies in the archive, else made."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection

from campshub.core.db.partitions import months, restoring
from campshub.core.db.partitions.archives import Archives
from campshub.core.db.partitions.month_table import State, state_of
from campshub.core.db.partitions.patience import MonthsProblem, driver_of
from campshub.core.platform import Platform


class HalfArchived(MonthsProblem):
    """The month is on its way into the archive."""


def provide_all(platform: Platform, connection: Connection, *, tables: Sequence[str], month: date) -> None:
    """Make a month of several tables, or none of them where the archive of one is damaged.

    :raises Damaged, HalfArchived, MonthsProblem: as ``provide``.
    """
    archives, driver = Archives(platform.settings), driver_of(connection)
    for table in tables:
        if state_of(driver, months.name_of(table, month)) is State.GONE:
            manifest = archives.newest(table, month)
            if manifest is not None:
                archives.verify(manifest)
    for table in tables:
        provide(platform, connection, table=table, month=month)


def provide(platform: Platform, connection: Connection, *, table: str, month: date) -> None:
    """Make a month of a table, with its rows where it lies in the archive; one that is there stays as it is.

    :param month: its first day.
    :raises HalfArchived: its archiving has begun and has not ended.
    :raises MonthsProblem: it could not be restored, or others held what it needs for all of the tries.
    """
    driver, name = driver_of(connection), months.name_of(table, month)
    state = state_of(driver, name)
    if state is State.GONE and Archives(platform.settings).newest(table, month) is None:
        months.ensure(connection, table, month, month)
        return
    if state is State.GONE:
        try:
            restoring.restore(platform, connection, table=table, month=month)
        except restoring.AlreadyThere:  # another run was faster
            state = state_of(driver, name)
        else:
            return
    if state is not State.IN:
        raise HalfArchived(f"{name} is half archived.")
