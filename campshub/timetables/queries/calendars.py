"""Reads of calendars, their terms and holidays, and the calendars that groups follow."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, select

from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, Prepared, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Group
from campshub.timetables.models import Calendar, CalendarHoliday, CalendarTerm, GroupCalendar
from campshub.timetables.queries import visibility as _rules  # noqa: F401 - registers the visibility rules

COLUMNS = (Calendar.id, Calendar.name, Calendar.created_at, Calendar.updated_at, Calendar.version)


def list_calendars(session: Session, principal: Principal, *, group_id: UUID | None, page: PageRequest) -> Page:
    """List calendars by name; with ``group_id`` the one that a group follows."""
    return page.read(session, _calendars(principal, group_id=group_id, page=page))


@prepared
def _calendars(principal: Principal, *, group_id: Any, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, Calendar))
    if group_id is not None:
        followed = select(1).where(
            visible_to(principal, GroupCalendar),
            GroupCalendar.id == group_id,
            GroupCalendar.calendar_id == Calendar.id,
        )
        rows = rows.where(exists(followed.correlate(Calendar)))
    return page.ordered(rows, order=(Calendar.sort_name, Calendar.id))


def get_calendar(session: Session, principal: Principal, calendar_id: UUID) -> AnyRow:
    """Return one calendar.

    :raises NotFound: there is no such calendar.
    """
    return _found(session, _calendar(principal, calendar_id=calendar_id))


@prepared
def _calendar(principal: Principal, *, calendar_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(visible_to(principal, Calendar), Calendar.id == calendar_id)


def list_parts(
    session: Session,
    principal: Principal,
    model: Any,
    calendar_id: UUID,
    *,
    first_date: date | None,
    last_date: date | None,
    page: PageRequest,
) -> Page:
    """List the terms or holidays of a calendar that have a day in a range of dates, by first date.

    :raises NotFound: there is no such calendar.
    """
    listed, _ = _PARTS[model]
    query = listed(principal, calendar_id=calendar_id, first_date=first_date, last_date=last_date, page=page)
    found = page.read(session, query)
    if not found.rows:
        get_calendar(session, principal, calendar_id)
    return found


def get_part(session: Session, principal: Principal, model: Any, calendar_id: UUID, part_id: UUID) -> AnyRow:
    """Return a term or holiday of a calendar.

    :raises NotFound: the calendar has no such one.
    """
    _, one = _PARTS[model]
    return _found(session, one(principal, calendar_id=calendar_id, part_id=part_id))


def _reads_of(model: Any) -> tuple[Prepared, Prepared]:
    """Return the statements of a calendar's terms or holidays: the list, and one."""
    columns = (
        *(model.id, model.calendar_id, model.name, model.first_date, model.last_date),
        *(model.created_at, model.updated_at, model.version),
    )

    @prepared
    def listed(
        principal: Principal, *, calendar_id: UUID, first_date: Any, last_date: Any, page: PageRequest
    ) -> AnySelect:
        rows = select(*page.choose(columns)).where(visible_to(principal, model), model.calendar_id == calendar_id)
        if first_date is not None:
            rows = rows.where(model.last_date >= first_date)
        if last_date is not None:
            rows = rows.where(model.first_date <= last_date)
        return page.ordered(rows, order=(model.first_date, model.id))

    @prepared
    def one(principal: Principal, *, calendar_id: UUID, part_id: UUID) -> AnySelect:
        own = and_(visible_to(principal, model), model.calendar_id == calendar_id)
        return select(*columns).where(own, model.id == part_id)

    return listed, one


_PARTS = {model: _reads_of(model) for model in (CalendarTerm, CalendarHoliday)}


def followed_by(session: Session, principal: Principal, group_id: UUID) -> AnyRow:
    """Return the group's id and the calendar that it follows, if any.

    :raises NotFound: the principal sees no such group.
    """
    return _found(session, _followed(principal, group_id=group_id))


@prepared
def _followed(principal: Principal, *, group_id: UUID) -> AnySelect:
    follows = and_(GroupCalendar.organization_id == Group.organization_id, GroupCalendar.id == Group.id)
    named = and_(Calendar.organization_id == Group.organization_id, Calendar.id == GroupCalendar.calendar_id)
    return (
        select(
            *(Group.id.label("group_id"), GroupCalendar.calendar_id, Calendar.name.label("calendar_name")),
            GroupCalendar.version,
        )
        .outerjoin(GroupCalendar, follows)
        .outerjoin(Calendar, named)
        .where(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None))
    )


def _found(session: Session, statement: Any) -> AnyRow:
    row: AnyRow | None = session.execute(statement).one_or_none()
    if row is None:
        raise NotFound
    return row
