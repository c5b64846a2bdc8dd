"""Reads of weekly meetings."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.queries.groups import group_is_visible, require_visible_group
from campshub.timetables.models import WeeklyMeeting
from campshub.timetables.queries import visibility as _rules  # noqa: F401 - registers the visibility rules

COLUMNS = (
    *(WeeklyMeeting.id, WeeklyMeeting.group_id, WeeklyMeeting.series_id, WeeklyMeeting.slot, WeeklyMeeting.weekday),
    *(WeeklyMeeting.start_time, WeeklyMeeting.end_time, WeeklyMeeting.weeks, WeeklyMeeting.anchor_date),
    *(WeeklyMeeting.place, WeeklyMeeting.trainer_ids, WeeklyMeeting.first_date, WeeklyMeeting.last_date),
    *(WeeklyMeeting.created_at, WeeklyMeeting.updated_at, WeeklyMeeting.version),
)


def list_meetings(
    session: Session,
    principal: Principal,
    group_id: UUID,
    *,
    on: date | None,
    series_id: UUID | None,
    page: PageRequest,
) -> Page:
    """List a group's weekly meetings by weekday and time; with ``on`` the versions that are valid on a date.

    :raises NotFound: the principal sees no such group.
    """
    query = _listed(principal, group_id=group_id, on=on, series_id=series_id, page=page)
    found = page.read(session, query)
    if not found.rows:
        require_visible_group(session, principal, group_id)
    return found


@prepared
def _listed(principal: Principal, *, group_id: UUID, on: Any, series_id: Any, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(
        visible_to(principal, WeeklyMeeting), WeeklyMeeting.group_id == group_id, group_is_visible(principal, group_id)
    )
    if on is not None:
        rows = rows.where(
            WeeklyMeeting.first_date <= on, or_(WeeklyMeeting.last_date.is_(None), WeeklyMeeting.last_date >= on)
        )
    if series_id is not None:
        rows = rows.where(WeeklyMeeting.series_id == series_id)
    return page.ordered(rows, order=(WeeklyMeeting.weekday, WeeklyMeeting.start_time, WeeklyMeeting.id))


def get_meeting(session: Session, principal: Principal, group_id: UUID, meeting_id: UUID) -> AnyRow:
    """Return one version of a weekly meeting.

    :raises NotFound: the principal sees no such meeting of the group.
    """
    row = session.execute(_one(principal, group_id=group_id, meeting_id=meeting_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, group_id: UUID, meeting_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(
        visible_to(principal, WeeklyMeeting), WeeklyMeeting.group_id == group_id, WeeklyMeeting.id == meeting_id
    )
