"""Stamp the attaching or detaching of a month, so that no cached response from before is used afterwards.

A month contains rows of every organization, so the change is stamped like a write of each of them (see
``unit_of_work.commit_with_effects``): during the change reads go to the primary, and afterwards older cached responses
are not current.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from campshub.core.db.models import PLATFORM_ID, Base
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.partitions.locks import Driver, fetch_value
from campshub.core.service_base import Services

AT_ONCE = 1_000

_ORGANIZATIONS = text("SELECT id FROM organizations")


@contextmanager
def stamped_change(services: Services, driver: Driver, table: str) -> Iterator[None]:
    """Stamp that rows of a table appear or disappear in this block, which must take no longer than a commit.

    Stamps are raised whether or not the block succeeds: it may have changed what is visible and failed later. If Redis
    does not reply, or the begin is too old, the epoch changes instead, which every process knows in half a second.
    """
    primary = fetch_value(driver, "SELECT server_identity()")
    begun = [services.freshness.begin(stamps, primary) for stamps in _stamps(table)]
    try:
        yield
    finally:
        if not driver.closed:  # else the outcome is unknown: the entries are overdue in ten seconds and repaired
            if any(one is None or one.is_late() for one in begun):
                with unit_of_work(system=True) as session:
                    session.execute(epoch.ADD)
                services.freshness.wait_for_leases()
            position = fetch_value(driver, "SELECT pg_current_wal_flush_lsn()::text")
            for one in begun:
                if one is not None:
                    services.freshness.end(one, position)


def _stamps(table: str) -> list[set[tuple[UUID, str]]]:
    """Return the stamps of all organizations, in batches small enough that other Redis clients hardly wait."""
    tag = next(m.class_.__tag__ for m in Base.registry.mappers if m.local_table.name == table)  # type: ignore[attr-defined] # a table
    with unit_of_work(system=True, read_only=True) as session:
        organizations = [*session.scalars(_ORGANIZATIONS), PLATFORM_ID]
    return [
        {(organization, tag) for organization in organizations[first : first + AT_ONCE]}
        for first in range(0, len(organizations), AT_ONCE)
    ]
