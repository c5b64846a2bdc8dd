"""Providing a month that a write needs: it is restored where it lies in the archive, else made."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection

from campshub.core.partitions import months, restore
from campshub.core.partitions.locks import MonthsProblem, driver_of
from campshub.core.partitions.month_table import State, state_of
from campshub.core.partitions.store import Archives
from campshub.core.service_base import Services


class HalfArchived(MonthsProblem):
    """The month is on its way into the archive."""


def provide_all(services: Services, connection: Connection, *, tables: Sequence[str], month: date) -> None:
    """Make a month of several tables, or none of them where the archive of one is damaged.

    :raises Damaged, HalfArchived, MonthsProblem: as ``provide``.
    """
    archives, driver = Archives(services.settings), driver_of(connection)
    for table in tables:
        if state_of(driver, months.name_of(table, month)) is State.GONE:
            manifest = archives.newest(table, month)
            if manifest is not None:
                archives.verify(manifest)
    for table in tables:
        provide(services, connection, table=table, month=month)


def provide(services: Services, connection: Connection, *, table: str, month: date) -> None:
    """Make a month of a table, with its rows where it lies in the archive; one that is there stays as it is.

    :param month: its first day.
    :raises HalfArchived: its archiving has begun and has not ended.
    :raises MonthsProblem: it could not be restored, or others held what it needs for all of the tries.
    """
    driver, name = driver_of(connection), months.name_of(table, month)
    state = state_of(driver, name)
    if state is State.GONE and Archives(services.settings).newest(table, month) is None:
        months.ensure(connection, table, month, month)
        return
    if state is State.GONE:
        try:
            restore.restore(services, connection, table=table, month=month)
        except restore.AlreadyThere:  # another run was faster
            state = state_of(driver, name)
        else:
            return
    if state is not State.IN:
        raise HalfArchived(f"{name} is half archived.")
