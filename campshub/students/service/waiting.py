"""Waiting lists: when a place in a group becomes free, the first student on its list for whom it fits gets it."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import aliased

from campshub.accounts.models import Organization
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries.in_group import not_left
from campshub.students.service import places

# On the waiting list of one group; more wait for the next place.
MOST_TRIED = 50


def is_freed(before: places.Term, after: places.Term) -> bool:
    """Return whether a change of an enrolment gives up days of a place."""
    if not before.is_counted:
        return False
    return not after.is_counted or any(True for _ in before.beyond(after))


def promote(session: Session, group: Group, *, today: date) -> list[Enrolment]:
    """Enrol the students on the waiting list of a group, locked by the caller, as far as there are places.

    They come in the order of the list. One whose days do not fit stays on the list, and the next one is tried.
    """
    if group.status == "archived" or group.deleted_at is not None:
        return []
    promoted = []
    for enrolment in _waiting(session, group, today):
        begins_on = max(enrolment.begins_on, today)
        term = places.Term("active", begins_on, enrolment.ends_on)
        try:
            places.require(session, group, enrolment.student_id, before=None, after=term, today=today)
        except (places.GroupFull, places.GroupClosed):
            continue
        enrolment.status, enrolment.is_waiting, enrolment.begins_on = "active", False, begins_on
        session.flush()
        promoted.append(enrolment)
    return promoted


def _waiting(session: Session, group: Group, today: date) -> Sequence[Enrolment]:
    """Return the enrolments on a waiting list that can begin, in order: not of those who have left or are enrolled."""
    other = aliased(Enrolment)
    overlaps = exists(
        select(1)
        .where(
            other.organization_id == Enrolment.organization_id,
            other.student_id == Enrolment.student_id,
            other.group_id == Enrolment.group_id,
            other.status.in_(("active", "completed")),
            or_(Enrolment.ends_on.is_(None), other.begins_on <= Enrolment.ends_on),
            or_(other.ends_on.is_(None), and_(other.ends_on >= Enrolment.begins_on, other.ends_on >= today)),
        )
        .correlate(Enrolment)
    )
    return session.scalars(
        select(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(
            Enrolment.organization_id == group.organization_id,
            Enrolment.group_id == group.id,
            Enrolment.is_waiting,
            or_(Enrolment.ends_on.is_(None), Enrolment.ends_on >= today),
            *(Student.deleted_at.is_(None), not_left(today), ~overlaps),
        )
        .order_by(Enrolment.created_at, Enrolment.id)
        .limit(MOST_TRIED)
        .with_for_update(of=Enrolment)
    ).all()


def promote_all(organization_id: UUID | None = None, *, student_id: UUID | None = None) -> int:
    """Promote the waiting lists of all groups, or those that a student has left; return how many were enrolled.

    Each group has its own unit of work.
    """
    promoted = 0
    for owner, group_id, time_zone in _groups(organization_id, student_id):
        with unit_of_work(organization_id=owner) as session:
            group = session.get(Group, (owner, group_id), with_for_update=True)
            if group is not None:
                today = session.unit.now.astimezone(ZoneInfo(time_zone)).date()
                promoted += len(promote(session, group, today=today))
    return promoted


def _groups(organization_id: UUID | None, student_id: UUID | None) -> list[tuple[UUID, UUID, str]]:
    """Return the groups with a waiting list: their organization, id and time zone."""
    statement = (
        select(Enrolment.organization_id, Enrolment.group_id, Organization.time_zone)
        .join(Organization, Organization.id == Enrolment.organization_id)
        .where(Enrolment.is_waiting, Organization.status == "active")
        .distinct()
        .order_by(Enrolment.organization_id, Enrolment.group_id)
    )
    if organization_id is not None:
        statement = statement.where(Enrolment.organization_id == organization_id)
    if student_id is not None:
        of_student = select(Enrolment.group_id).where(
            Enrolment.organization_id == organization_id, Enrolment.student_id == student_id
        )
        statement = statement.where(Enrolment.group_id.in_(of_student))
    with unit_of_work(system=True, read_only=True) as session:
        return [(row.organization_id, row.group_id, row.time_zone) for row in session.execute(statement)]
