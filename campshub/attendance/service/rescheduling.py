"""Cancel and move sessions for a reason, and delete them."""

from datetime import date, datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

from campshub.attendance.models import AttendanceSession, RegisterVersion
from campshub.attendance.queries import sessions as reads
from campshub.attendance.service import followers, sessions
from campshub.core.dates import local_instant
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions
from campshub.core.errors import Conflict
from campshub.core.security.principal import Principal


class SessionPlanned(Conflict):
    """A weekly meeting plans the session, so it would be created again; cancel it instead."""

    code = "session_planned"
    default_detail = "A weekly meeting plans the session, so it would be created again; cancel it instead."


class Move(TypedDict, total=False):
    """Where a session moves to."""

    local_date: date
    slot: str | None
    starts_at: datetime | None
    ends_at: datetime | None


def cancel(
    session: Session, principal: Principal, *, session_id: UUID, reason: str, expected: Versions, now: datetime
) -> AttendanceSession:
    """Cancel a session without marks; the reason is stored with it and in the audit log. This is idempotent.

    :raises NotFound: the principal sees no such session.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SessionLocked, SessionSubmitted, SessionHasMarks: it cannot be cancelled.
    """
    session.unit.reason = reason
    return sessions.change(
        session, principal, session_id=session_id, expected=expected, now=now, reason=reason, status="cancelled"
    )


def move(
    session: Session,
    principal: Principal,
    *,
    session_id: UUID,
    reason: str,
    expected: Versions,
    now: datetime,
    **to: Unpack[Move],
) -> AttendanceSession:
    """Move a session to another date, slot or time; without times it keeps its local times.

    :raises NotFound: the principal sees no such session.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SessionCancelled: it is cancelled.
    :raises SessionLocked, SessionHasMarks: it cannot be moved.
    :raises SessionExists, NotThatDay, GroupClosed, SessionDateOutOfRange: it does not fit there.
    """
    session.unit.reason = reason
    followers.lock_schedule(session, principal.organization_id)  # before the session, as all changes of sessions do
    found = sessions.lock_for_change(session, principal, session_id, expected)
    if found.status == "cancelled":
        raise sessions.SESSIONS.conflict(sessions.SessionCancelled, found)
    if found.status == "submitted":
        raise sessions.SESSIONS.conflict(sessions.SessionSubmitted, found)
    changes: Any = {**_same_times(principal, found, to.get("local_date")), **to}
    return sessions.change(session, principal, session_id=session_id, expected=None, now=now, reason=reason, **changes)


def _same_times(principal: Principal, found: AttendanceSession, local_date: date | None) -> dict[str, datetime]:
    """Return the instants of a session's local times on another date."""
    if local_date is None:
        return {}
    zone, shift = ZoneInfo(principal.time_zone), local_date - found.local_date
    times = {}
    for name in ("starts_at", "ends_at"):
        instant: datetime | None = getattr(found, name)
        if instant is not None:
            shown = instant.astimezone(zone) + shift
            times[name] = local_instant(shown.date(), shown.time(), zone)
    return times


def delete(session: Session, principal: Principal, *, session_id: UUID, expected: Versions) -> None:
    """Delete a session that has no marks and comes from no weekly meeting.

    :raises NotFound: the principal sees no such session.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SessionLocked, SessionSubmitted, SessionHasMarks, SessionPlanned: it cannot be deleted.
    """
    followers.lock_schedule(session, principal.organization_id)
    found = sessions.lock_for_change(session, principal, session_id, expected)
    refusal: type[Conflict] | None = {"locked": sessions.SessionLocked, "submitted": sessions.SessionSubmitted}.get(
        found.status
    )
    if refusal is None and found.meeting_id is not None:
        refusal = SessionPlanned
    if refusal is None:
        followers.departs(session, found)
        if reads.has_marks(session, found):
            refusal = sessions.SessionHasMarks
    if refusal is not None:
        raise sessions.SESSIONS.conflict(refusal, found)
    # Marks that were removed again have left their number of changes.
    counter = session.get(RegisterVersion, (found.organization_id, found.id))
    if counter is not None:
        session.delete(counter)
        session.flush()
    session.delete(found)
