"""Create and change attendance sessions, and the states of their registers."""

from datetime import date, datetime, timedelta
from typing import TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, literal, select

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.queries import sessions as reads
from campshub.attendance.service import followers
from campshub.core.db import creates
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, FieldError, Forbidden, Invalid, UnknownReference
from campshub.core.partitions.writable import stays_writable
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Group
from campshub.students.service.places import GroupClosed, require_open

DAYS_BACK = 400
DAYS_AHEAD = 60
MONTHS_BACK = 15  # 400 days reach into the 14th month back, and the organization's day may be in the month before UTC's
stays_writable(AttendanceRecord.__tag__, lambda _: MONTHS_BACK)
# The columns that decide whether a group accepts a session on a date.
_GROUP = (Group.id.label("of_group"), Group.status, Group.begins_on, Group.ends_on)


class SessionDateOutOfRange(Invalid):
    """A session's date must be from 400 days ago to 60 days ahead."""

    code = "date_out_of_range"
    default_detail = "A session's date must be from 400 days ago to 60 days ahead."
    pointer = "/local_date"


class UnknownGroup(UnknownReference):
    """The group does not exist, or you may not see it."""

    default_detail = "The group does not exist, or you may not see it."
    constraint = "fk_attendance_sessions_group_id"
    pointer = "/group_id"


class GroupRequired(Invalid):
    """Open gym belongs to the whole organization; choose one of your groups."""

    code = "required"
    default_detail = "Open gym belongs to the whole organization; choose one of your groups."
    pointer = "/group_id"


class SessionExists(Conflict):
    """The group has a session on this date and slot."""

    code = "session_exists"
    default_detail = "The group has a session on this date and slot."
    constraint = "uq_attendance_sessions_meeting"


class EndsBeforeStart(Invalid):
    """A session must end after it starts."""

    code = "ends_before_start"
    default_detail = "A session must end after it starts."
    constraint = "ck_attendance_sessions_ends_after_start"
    pointer = "/ends_at"


class NotThatDay(Invalid):
    """A session must start on its date in the organization's time zone, and end on that date or the next."""

    code = "not_that_day"
    default_detail = (
        "A session must start on its date in the organization's time zone, and end on that date or the next."
    )


class SessionHasMarks(Conflict):
    """The session has marks, so it cannot be moved or cancelled."""

    code = "session_has_marks"
    default_detail = "The session has marks, so it cannot be moved or cancelled."


class SessionSubmitted(Conflict):
    """The register has been submitted; reopen it first."""

    code = "session_submitted"
    default_detail = "The register has been submitted; reopen it first."


class SessionLocked(Conflict):
    """The register is locked."""

    code = "session_locked"
    default_detail = "The register is locked."


class SessionCancelled(Conflict):
    """The session is cancelled."""

    code = "session_cancelled"
    default_detail = "The session is cancelled."


SESSIONS = creates.Collection(
    AttendanceSession,
    "/api/attendance/sessions/{row.id}/",
    (
        creates.unique(
            SessionExists,
            AttendanceSession.group_id,
            AttendanceSession.local_date,
            AttendanceSession.slot,
            nulls_equal=True,
            among=AttendanceSession.status != "cancelled",
        ),
    ),
)


class _SessionFields(TypedDict, total=False):
    """Fields common to creating and changing a session."""

    slot: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    notes: str | None
    status: str


class NewSession(_SessionFields):
    """The fields of a new session."""

    group_id: UUID | None
    local_date: date


class SessionChanges(_SessionFields, total=False):
    """Fields of a session that a change may have."""

    local_date: date


def create(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    id: UUID | None = None,
    **values: Unpack[NewSession],
) -> tuple[AttendanceSession, bool]:
    """Create a session; return it, and False if an earlier, identical call has created it.

    A person may create one in the slot of a cancelled session. Code that creates sessions from a timetable must not: it
    must skip each slot that has a session of any status, so that a cancelled meeting stays cancelled.

    :raises IdTaken: the id belongs to a session with other content.
    :raises UnknownGroup: the principal sees no such group.
    :raises SessionDateOutOfRange: the date is too far in the past or future.
    :raises GroupClosed: the group is archived, or the date is outside its term.
    :raises NotThatDay: it starts or ends on another day than its date.
    :raises SessionExists: the group has one on this date and slot that is not cancelled.
    """
    group_id, local_date = values["group_id"], values["local_date"]
    present, is_seen, group = _before(session, principal, id, group_id)
    if present is not None:
        return creates.require_same_create(SESSIONS, present, fingerprint=fingerprint(values), is_seen=is_seen), False
    if group_id is None and principal.scope is not Scope.ALL:
        raise GroupRequired
    if group_id is not None and group is None:
        raise UnknownGroup
    _require_in_range(principal, local_date, now)
    if group is not None:
        require_open(group, {"/local_date": local_date})
    _require_that_day(principal, local_date, values.get("starts_at"), values.get("ends_at"))
    made, is_new = creates.create(session, principal, SESSIONS, id=id, body=values)
    if is_new:
        followers.arrived(session, [made])
    return made, is_new


def _before(
    session: Session, principal: Principal, row_id: UUID | None, group_id: UUID | None
) -> tuple[AttendanceSession | None, bool, AnyRow | None]:
    """Return the existing session with the id, whether the principal sees it, and the group of the new session."""
    if row_id is None and group_id is None:
        return None, False, None
    one = select(literal(1).label("one")).subquery()
    own = and_(AttendanceSession.organization_id == principal.organization_id, AttendanceSession.id == row_id)
    lock = followers.shares_schedule(principal.organization_id).label("lock")
    row = session.execute(
        select(AttendanceSession, visible_to(principal, AttendanceSession).label("is_seen"), lock, *_GROUP)
        .select_from(one)
        .outerjoin(AttendanceSession, own)
        .outerjoin(Group, _this_group(principal, group_id))
    ).one()
    return row.AttendanceSession, bool(row.is_seen), row if row.of_group is not None else None


def _this_group(principal: Principal, group_id: UUID | None) -> ColumnElement[bool]:
    return and_(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None))


def change(
    session: Session,
    principal: Principal,
    *,
    session_id: UUID,
    expected: Versions,
    now: datetime,
    reason: str | None = None,
    **changes: Unpack[SessionChanges],
) -> AttendanceSession:
    """Change a session that is not locked; ``reason`` is why it is cancelled or moved.

    :raises NotFound: the principal sees no such session.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises GroupClosed: it is moved or reinstated, and the group is archived or the date is outside its term.
    :raises SessionLocked, SessionSubmitted: it is locked, or submitted, so only reopening changes its status.
    :raises SessionHasMarks: it has marks, and would move to another date or be cancelled.
    :raises NotThatDay: it would start or end on another day than its date.
    :raises SessionExists: another session that is not cancelled has its date and slot.
    """
    if changes.keys() & {"status", "local_date"}:
        followers.lock_schedule(session, principal.organization_id)
    meeting = _lock(session, principal, session_id, expected)
    status, local_date = changes.get("status", meeting.status), changes.get("local_date", meeting.local_date)
    _require_unlocked(meeting, status)
    moves, is_reinstated = local_date != meeting.local_date, meeting.status == "cancelled" != status
    if moves:
        _require_in_range(principal, local_date, now)
    if moves or is_reinstated:
        _require_open_group(session, principal, meeting.group_id, local_date)
    if moves or status == "cancelled":
        _vacate(session, meeting)
    if reason is not None or is_reinstated:
        meeting.reason = reason  # a session that is held after all loses it
    _write(session, principal, meeting, changes)
    if moves or is_reinstated:
        followers.arrived(session, [meeting])
    return meeting


def _write(session: Session, principal: Principal, meeting: AttendanceSession, changes: SessionChanges) -> None:
    """Write the changes of a session, if its times fit its date."""
    for name, value in changes.items():
        setattr(meeting, name, value)
    if changes.keys() & {"local_date", "starts_at", "ends_at"}:
        _require_that_day(principal, meeting.local_date, meeting.starts_at, meeting.ends_at)
    creates.flush(session, principal, SESSIONS, meeting)


def _require_unlocked(meeting: AttendanceSession, status: str) -> None:
    """Refuse a change of a locked register, and of the status of a submitted one.

    :raises SessionLocked: it is locked.
    :raises SessionSubmitted: it is submitted, so only reopening changes its status.
    """
    if meeting.status == "locked":
        raise _refused(SessionLocked, meeting)
    if status != meeting.status and meeting.status == "submitted":
        raise _refused(SessionSubmitted, meeting)


def _vacate(session: Session, meeting: AttendanceSession) -> None:
    """Remove the marks that modules above have made by themselves.

    :raises SessionHasMarks: there are others.
    """
    followers.departs(session, meeting)
    if reads.has_marks(session, meeting):
        raise _refused(SessionHasMarks, meeting)


def _require_open_group(session: Session, principal: Principal, group_id: UUID | None, local_date: date) -> None:
    """Refuse a date on which a session's group accepts no sessions.

    :raises GroupClosed: the group is deleted or archived, or the date is outside its term.
    """
    if group_id is None:
        return
    group = session.execute(select(*_GROUP).where(_this_group(principal, group_id))).one_or_none()
    if group is None:
        raise GroupClosed("The group is deleted.")
    require_open(group, {"/local_date": local_date})


def submit(
    session: Session, principal: Principal, *, session_id: UUID, expected: Versions, now: datetime
) -> AttendanceSession:
    """Submit a register: from now on a change needs a reason. This is idempotent.

    :raises NotFound: the principal sees no such session.
    :raises SessionLocked: it is locked.
    :raises SessionCancelled: it is cancelled.
    """
    meeting = _lock(session, principal, session_id, expected)
    if meeting.status == "locked":
        raise _refused(SessionLocked, meeting)
    if meeting.status == "cancelled":
        raise _refused(SessionCancelled, meeting)
    if meeting.status != "submitted":
        meeting.status, meeting.submitted_at, meeting.submitted_by = "submitted", now, principal.user_id
        session.flush()
    return meeting


def lock_register(
    session: Session, principal: Principal, *, session_id: UUID, expected: Versions, now: datetime
) -> AttendanceSession:
    """Lock a register, and submit it if it is not submitted. This is idempotent.

    :raises NotFound: the principal sees no such session.
    :raises SessionCancelled: it is cancelled.
    """
    meeting = _lock(session, principal, session_id, expected)
    if meeting.status == "cancelled":
        raise _refused(SessionCancelled, meeting)
    if meeting.status == "locked":
        return meeting
    if meeting.submitted_at is None:
        meeting.submitted_at, meeting.submitted_by = now, principal.user_id
    meeting.status, meeting.locked_at = "locked", now
    session.flush()
    return meeting


def reopen(
    session: Session, principal: Principal, *, session_id: UUID, expected: Versions, now: datetime
) -> AttendanceSession:
    """Reopen a submitted or locked register; this does nothing for others.

    :raises NotFound: the principal sees no such session.
    :raises SessionCancelled: it is cancelled.
    """
    meeting = _lock(session, principal, session_id, expected)
    if meeting.status == "cancelled":
        raise _refused(SessionCancelled, meeting)
    if meeting.submitted_at is not None:
        meeting.status, meeting.reopened_at = "open", now
        meeting.submitted_at, meeting.submitted_by, meeting.locked_at = None, None, None
        session.flush()
    return meeting


def _lock(session: Session, principal: Principal, session_id: UUID, expected: Versions) -> AttendanceSession:
    """Lock a session that the principal may change until the unit of work ends, and return it.

    :raises NotFound: the principal sees no such session.
    :raises Forbidden: it is open gym, which trainers may mark but not change.
    """
    meeting = lock(session, principal, AttendanceSession, session_id, expected=expected)
    if meeting.group_id is None and principal.scope is not Scope.ALL:
        raise Forbidden("Only callers who see the whole organization can manage open gym sessions.")
    return meeting


lock_for_change = _lock  # also for the files beside this one


def _refused(problem: type[Conflict], meeting: AttendanceSession) -> Conflict:
    """Return the conflict with the session's current state."""
    return SESSIONS.conflict(problem, meeting)


def _require_that_day(
    principal: Principal, local_date: date, starts_at: datetime | None, ends_at: datetime | None
) -> None:
    """Check that a session starts on its date, and ends on it or the day after.

    :raises NotThatDay: one of the times is on another day.
    """
    zone = ZoneInfo(principal.time_zone)
    allowed = {
        "starts_at": (starts_at, {local_date}, "Not on the session's date in the organization's time zone."),
        "ends_at": (
            ends_at,
            {local_date, local_date + timedelta(days=1)},
            "Neither on the session's date in the organization's time zone nor on the day after.",
        ),
    }
    errors = [
        FieldError(f"/{name}", NotThatDay.code, detail)
        for name, (instant, days, detail) in allowed.items()
        if instant is not None and instant.astimezone(zone).date() not in days
    ]
    if errors:
        raise NotThatDay.of(errors)


def _require_in_range(principal: Principal, local_date: date, now: datetime) -> None:
    days = (local_date - principal.today(now)).days
    if not -DAYS_BACK <= days <= DAYS_AHEAD:
        raise SessionDateOutOfRange
