"""Rows that appear or vanish with a month: what was kept of before must not be shown again.

A month belongs to every organization, so the change is announced like a write of each of them (see ``work.complete``):
readers go to the primary while it happens, and afterwards nothing counts that was kept before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from campshub.core.db import epoch
from campshub.core.db.base import PLATFORM_ID, Base
from campshub.core.db.partitions.patience import Driver, ask
from campshub.core.db.work import unit_of_work
from campshub.core.platform import Platform

_ORGANIZATIONS = text("SELECT id FROM organizations")


@contextmanager
def announced(platform: Platform, driver: Driver, table: str) -> Iterator[None]:
    """Announce that rows of a table appear or vanish in this block, which must take no longer than a commit.

    Stamps are raised whether or not the block succeeds: it may have changed what is seen and failed later. Where Redis
    cannot be told, or was told too long ago, the epoch changes instead, which every process knows in half a second.
    """
    begun = platform.freshness.begin(_stamps(table), ask(driver, "SELECT server_identity()"))
    try:
        yield
    finally:
        if not driver.closed:  # else nobody knows: the entries are overdue in ten seconds and repaired
            if begun is None or begun.is_late():
                with unit_of_work(system=True) as session:
                    session.execute(epoch.ADD)
                platform.freshness.wait_out()
            if begun is not None:
                platform.freshness.end(begun, ask(driver, "SELECT pg_current_wal_flush_lsn()::text"))


def _stamps(table: str) -> set[tuple[UUID, str]]:
    tag = next(m.class_.__tag__ for m in Base.registry.mappers if m.local_table.name == table)  # type: ignore[attr-defined] # a table
    with unit_of_work(system=True, read_only=True) as session:
        return {(organization, tag) for organization in (*session.scalars(_ORGANIZATIONS), PLATFORM_ID)}
