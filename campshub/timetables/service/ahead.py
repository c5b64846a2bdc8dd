"""Create the sessions of all organizations ahead, in batches of groups with a unit of work each."""

import logging
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Organization
from campshub.core.db.unit_of_work import unit_of_work
from campshub.students.models import Group
from campshub.timetables.models import WeeklyMeeting
from campshub.timetables.service import generation

log = logging.getLogger(__name__)

GROUPS_AT_ONCE = 50


def create_all(organization_id: UUID | None = None) -> tuple[int, int]:
    """Create the missing sessions of all active organizations, or of one; return how many, and the failed batches.

    A batch is one transaction. Running this again, or twice at the same moment, creates each session once.
    """
    created = failed = 0
    for owner, groups in _batches(organization_id):
        try:
            with unit_of_work(organization_id=owner) as session:
                window = generation.window_of(session, session.unit.now)
                created += len(generation.create_ahead(session, groups, window))
        except Exception:  # one failure must not stop the others
            failed += 1
            log.exception("sessions of an organization could not be created: %s", owner)
    return created, failed


def _batches(organization_id: UUID | None) -> Iterator[tuple[UUID, tuple[UUID, ...]]]:
    """Yield the groups with weekly meetings, by organization."""
    with unit_of_work(system=True, read_only=True) as session:
        statement = (
            select(WeeklyMeeting.organization_id, WeeklyMeeting.group_id)
            .join(Organization, Organization.id == WeeklyMeeting.organization_id)
            .join(Group, (Group.organization_id == Organization.id) & (Group.id == WeeklyMeeting.group_id))
            .where(Organization.status == "active", Group.status == "active", Group.deleted_at.is_(None))
            .distinct()
            .order_by(WeeklyMeeting.organization_id, WeeklyMeeting.group_id)
        )
        if organization_id is not None:
            statement = statement.where(WeeklyMeeting.organization_id == organization_id)
        rows = session.execute(statement).all()
    owners = dict.fromkeys(row.organization_id for row in rows)
    for owner in owners:
        groups = [row.group_id for row in rows if row.organization_id == owner]
        for start in range(0, len(groups), GROUPS_AT_ONCE):
            yield owner, tuple(groups[start : start + GROUPS_AT_ONCE])
