"""Create and change calendars, their terms and holidays, and the groups that follow them.

A change enqueues a job, which applies it to the sessions of the groups that follow the calendar.
"""

from datetime import date
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid, PreconditionFailed, UnknownReference
from campshub.core.jobs.store import enqueue
from campshub.core.names import sort_key
from campshub.core.security.authorization import require_whole_organization
from campshub.core.security.principal import Principal
from campshub.students.models import Group
from campshub.timetables.models import Calendar, CalendarHoliday, CalendarTerm, GroupCalendar
from campshub.timetables.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.timetables.service import generation
from campshub.timetables.service.generation import Effects

Part = CalendarTerm | CalendarHoliday


class CalendarNameTaken(Conflict):
    """Another calendar has this name."""

    code = "name_taken"
    default_detail = "Another calendar has this name."
    constraint = "uq_calendars_sort_name"
    pointer = "/name"


class CalendarInUse(Conflict):
    """Groups follow the calendar, so it cannot be deleted."""

    code = "calendar_in_use"
    default_detail = "Groups follow the calendar, so it cannot be deleted."
    constraint = "fk_group_calendars_calendar_id"


class DaysReversed(Invalid):
    """The last date is before the first date."""

    code = "last_before_first"
    default_detail = "The last date is before the first date."
    pointer = "/last_date"


CALENDARS = creates.Collection(
    Calendar, "/api/calendars/{row.id}/", (creates.unique(CalendarNameTaken, Calendar.sort_name),)
)
PARTS: dict[type[Part], creates.Collection] = {
    CalendarTerm: creates.Collection(CalendarTerm, "/api/calendars/{row.calendar_id}/terms/{row.id}/"),
    CalendarHoliday: creates.Collection(CalendarHoliday, "/api/calendars/{row.calendar_id}/holidays/{row.id}/"),
}


class PartChanges(TypedDict, total=False):
    """Fields of a term or holiday that a change may have."""

    name: str
    first_date: date
    last_date: date | None


class NewPart(TypedDict):
    """The fields of a new term or holiday; without a last date it is one day."""

    name: str
    first_date: date
    last_date: date | None


def create(session: Session, principal: Principal, *, name: str, id: UUID | None = None) -> tuple[Calendar, bool]:
    """Create a calendar; an identical call returns the same one.

    :raises IdTaken: the id belongs to a calendar with another name.
    :raises CalendarNameTaken: another calendar has the name.
    """
    _require_whole(principal)
    row = {"name": name, "sort_name": sort_key(name)}
    return creates.create(session, principal, CALENDARS, id=id, body={"name": name}, row=row)


def change(
    session: Session, principal: Principal, *, calendar_id: UUID, expected: Versions, name: str | None = None
) -> Calendar:
    """Change a calendar's name.

    :raises NotFound: there is no such calendar.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises CalendarNameTaken: another calendar has the name.
    """
    _require_whole(principal)
    calendar = lock(session, principal, Calendar, calendar_id, expected=expected)
    if name is not None:
        calendar.name, calendar.sort_name = name, sort_key(name)
    creates.flush(session, principal, CALENDARS, calendar)
    return calendar


def delete_calendar(session: Session, principal: Principal, *, calendar_id: UUID, expected: Versions) -> None:
    """Delete a calendar that no group follows, with its terms and holidays.

    :raises NotFound: there is no such calendar.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises CalendarInUse: a group follows it.
    """
    _require_whole(principal)
    calendar = lock(session, principal, Calendar, calendar_id, expected=expected)
    owner = principal.organization_id
    followed = select(GroupCalendar.id).where(
        GroupCalendar.organization_id == owner, GroupCalendar.calendar_id == calendar_id
    )
    if session.scalar(followed.limit(1)) is not None:
        raise CALENDARS.conflict(CalendarInUse, calendar)
    for model in PARTS:
        for part in session.scalars(
            select(model).where(model.organization_id == owner, model.calendar_id == calendar_id)
        ):
            session.delete(part)
    session.flush()  # the parts first: the tables have no relationship that gives an order
    session.delete(calendar)


def add_part(
    session: Session,
    principal: Principal,
    model: type[Part],
    *,
    calendar_id: UUID,
    id: UUID | None = None,
    **given: Unpack[NewPart],
) -> tuple[Any, bool]:
    """Add a term or a holiday to a calendar; an identical call returns the same one.

    :raises NotFound: there is no such calendar.
    :raises IdTaken: the id belongs to another one.
    :raises DaysReversed: the last date is before the first.
    """
    _require_whole(principal)
    lock(session, principal, Calendar, calendar_id)
    last_date = given["last_date"] or given["first_date"]
    if last_date < given["first_date"]:
        raise DaysReversed
    body = {**given, "calendar_id": calendar_id, "last_date": last_date}
    part, is_new = creates.create(session, principal, PARTS[model], id=id, body=body)
    if is_new:
        _enqueue(session, calendar_id)
    return part, is_new


def change_part(
    session: Session,
    principal: Principal,
    model: type[Part],
    *,
    calendar_id: UUID,
    part_id: UUID,
    expected: Versions,
    **changes: Unpack[PartChanges],
) -> Any:
    """Change a term or a holiday.

    :raises NotFound: the calendar has no such one.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises DaysReversed: the last date would be before the first.
    """
    part = _lock_part(session, principal, model, calendar_id, part_id, expected)
    for name, value in changes.items():
        setattr(part, name, value)
    part.last_date = part.last_date or part.first_date
    if part.last_date < part.first_date:
        raise DaysReversed
    session.flush()
    _enqueue(session, calendar_id)
    return part


def remove(
    session: Session,
    principal: Principal,
    model: type[Part],
    *,
    calendar_id: UUID,
    part_id: UUID,
    expected: Versions,
) -> None:
    """Remove a term or a holiday from a calendar.

    :raises NotFound: the calendar has no such one.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    session.delete(_lock_part(session, principal, model, calendar_id, part_id, expected))
    _enqueue(session, calendar_id)


def _lock_part(
    session: Session,
    principal: Principal,
    model: type[Part],
    calendar_id: UUID,
    part_id: UUID,
    expected: Versions,
) -> Any:
    _require_whole(principal)
    lock(session, principal, Calendar, calendar_id)
    return lock(session, principal, model, part_id, model.calendar_id == calendar_id, expected=expected)


def _require_whole(principal: Principal) -> None:
    """Refuse a change by a caller who may not see all groups that follow the calendar.

    :raises Forbidden: the caller's scope is narrower than the organization.
    """
    require_whole_organization(principal, "change calendars")


def _enqueue(session: Session, calendar_id: UUID) -> None:
    enqueue(session, "timetables.apply_calendar", calendar_id=str(calendar_id))


def follow(
    session: Session, principal: Principal, *, group_id: UUID, calendar_id: UUID | None, expected: Versions
) -> Effects:
    """Let a group follow a calendar, or none; return what happened to its sessions. This is idempotent.

    :raises NotFound: the principal sees no such group.
    :raises PreconditionFailed: what it follows has changed since the caller read it.
    :raises UnknownReference: there is no such calendar.
    """
    window = generation.window_of(session, session.unit.now)
    lock(session, principal, Group, group_id, Group.deleted_at.is_(None))
    followed = session.get(GroupCalendar, (principal.organization_id, group_id))
    if expected is not None and (followed is None or followed.version not in expected):
        raise PreconditionFailed
    if (followed.calendar_id if followed else None) == calendar_id:
        return Effects()
    if calendar_id is None:
        session.delete(followed)
    else:
        known = select(Calendar.id).where(
            Calendar.organization_id == principal.organization_id, Calendar.id == calendar_id
        )
        if session.scalar(known.with_for_update(read=True)) is None:
            raise UnknownReference.at("/calendar_id", "unknown_reference", "No such calendar.")
        if followed is None:
            session.add(GroupCalendar(id=group_id, calendar_id=calendar_id))
        else:
            followed.calendar_id = calendar_id
    session.flush()
    return generation.apply(session, group_id, window)


def apply_to_groups(organization_id: UUID, calendar_id: UUID) -> None:
    """Apply a calendar to the sessions of the groups that follow it, with a unit of work for each group."""
    with unit_of_work(organization_id=organization_id, read_only=True) as session:
        groups = session.scalars(
            select(GroupCalendar.id)
            .where(GroupCalendar.organization_id == organization_id, GroupCalendar.calendar_id == calendar_id)
            .order_by(GroupCalendar.id)
        ).all()
    for group_id in groups:
        with unit_of_work(organization_id=organization_id) as session:
            generation.apply(session, group_id, generation.window_of(session, session.unit.now))
