"""Find the session that an event belongs to, and decide whether it accepts the event."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from campshub.check_ins.queries.people import EventSession
from campshub.check_ins.service.refusals import NoSession, NotNearThatDay, SessionClosed, UnknownSession
from campshub.core.security.principal import Principal

_FAR = timedelta(days=9)  # later than any session with times


def find_meeting(
    principal: Principal, meetings: Mapping[UUID, EventSession], given: Mapping[str, Any], at: datetime
) -> EventSession:
    """Return the session of an event: the one that it names, or the one of the group that is nearest in time.

    :raises UnknownSession: the principal sees no such session.
    :raises NoSession: the group has no session on the day of the event.
    :raises NotNearThatDay: the session is more than a day away from the event.
    """
    day = principal.today(at)
    if (session_id := given.get("session_id")) is not None:
        if session_id not in meetings:
            raise UnknownSession
        meeting = meetings[session_id]
        if abs((day - meeting.local_date).days) > 1:
            raise NotNearThatDay
        return meeting
    of_group = [
        one
        for one in meetings.values()
        if one.group_id == given["group_id"] and one.status != "cancelled" and (one.local_date == day or _runs(one, at))
    ]
    if not of_group:
        raise NoSession
    return min(of_group, key=lambda one: (_distance(one, at), one.starts_at or at, one.id))


def require_open(meeting: EventSession, at: datetime) -> None:
    """Refuse an event for a session that accepts no more events of that time.

    :raises SessionClosed: the session is cancelled or locked, or was submitted before the event.
    """
    is_submitted = meeting.submitted_at is not None and at > meeting.submitted_at
    if meeting.status in ("cancelled", "locked") or is_submitted:
        raise SessionClosed


def _runs(meeting: EventSession, at: datetime) -> bool:
    """Return whether a session, which may have begun the day before, runs at a moment."""
    return bool(meeting.starts_at and meeting.ends_at and meeting.starts_at <= at <= meeting.ends_at)


def _distance(meeting: EventSession, at: datetime) -> timedelta:
    """Return how far a moment is from a session; one without times comes after those with times."""
    if meeting.starts_at is None:
        return _FAR
    ends_at = meeting.ends_at or meeting.starts_at
    return max(meeting.starts_at - at, at - ends_at, timedelta(0))
