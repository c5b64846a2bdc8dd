"""Request, decide and cancel leave, and keep the marks of approved requests.

A request is approved while no session is being created (``followers.lock_schedule``), so that each session is excused
by the approval or by its own creation.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.attendance.models import AttendanceSession
from campshub.attendance.service import excuses, followers
from campshub.attendance.service.excuses import Absence, ExcusedMark, LeftMark, NoExcusedCode
from campshub.core.db import creates, writes
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid, UnknownReference
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal
from campshub.leave import queries
from campshub.leave.models import LeaveMark, LeaveRequest

log = logging.getLogger(__name__)

MOST_DAYS = 366
DAYS_AWAY = 400
_NEWEST_WINS = (
    "(organization_id, session_id, student_id) DO UPDATE SET leave_request_id = excluded.leave_request_id,"
    " record_id = excluded.record_id, record_version = excluded.record_version, previous = excluded.previous,"
    " version = leave_marks.version + 1, updated_at = now()"
)
REQUESTS = creates.Collection(LeaveRequest, "/api/attendance/leave-requests/{row.id}/")


class LeaveDecided(Conflict):
    """The request is not pending any more."""

    code = "leave_decided"
    default_detail = "The request is not pending any more."


class LeaveOver(Conflict):
    """The days of the approved request are over; only staff can cancel it."""

    code = "leave_over"
    default_detail = "The days of the approved request are over; only staff can cancel it."


class LeaveEndsBeforeStart(Invalid):
    """The last date is before the first."""

    code = "ends_before_start"
    default_detail = "The last date is before the first."
    constraint = "ck_leave_requests_last_after_first"
    pointer = "/last_date"


def create(
    session: Session,
    principal: Principal,
    *,
    student_id: UUID,
    first_date: date,
    last_date: date,
    group_id: UUID | None,
    session_id: UUID | None,
    reason: str,
    today: date,
    id: UUID | None = None,
) -> tuple[LeaveRequest, bool]:
    """Request leave for a student; an identical call returns the same request.

    :raises UnknownReference: the principal sees no such student, group or session.
    :raises Invalid: the dates are no valid period, or do not contain the session's date.
    """
    body: dict[str, Any] = {
        "student_id": student_id,
        "first_date": first_date,
        "last_date": last_date,
        "group_id": group_id,
        "session_id": session_id,
        "reason": reason,
    }
    present = creates.find_created(session, principal, REQUESTS, id=id, body=body)
    if present is not None:
        return present, False
    _require_period(first_date, last_date, today)
    if group_id is not None and session_id is not None:
        raise Invalid.at("/session_id", "invalid", "Name a group or a session, not both.")
    _require_seen(session, principal, body)
    row = {**body, "requested_by": principal.user_id}
    return creates.create(session, principal, REQUESTS, id=id, body=body, row=row)


def _require_period(first_date: date, last_date: date, today: date) -> None:
    """Refuse dates that are no valid period.

    :raises LeaveEndsBeforeStart: the last date is before the first.
    :raises Invalid: the period is too long or too far away.
    """
    if last_date < first_date:
        raise LeaveEndsBeforeStart
    if (last_date - first_date).days >= MOST_DAYS:
        raise Invalid.at("/last_date", "too_far", f"Leave has at most {MOST_DAYS} days.")
    for name, day in (("first_date", first_date), ("last_date", last_date)):
        if abs((day - today).days) > DAYS_AWAY:
            raise Invalid.at(f"/{name}", "too_far", f"Must be at most {DAYS_AWAY} days from today.")


def _require_seen(session: Session, principal: Principal, body: Mapping[str, Any]) -> None:
    """Refuse references to rows that the principal does not see.

    :raises UnknownReference: the principal sees no such student, group or session.
    :raises Invalid: the session is on another day.
    """
    names = ("student_id", "group_id", "session_id")
    found = queries.references(session, principal, **{name: body[name] for name in names})
    if not found.sees_student:
        raise UnknownReference.at("/student_id", "unknown_reference", "No such student.")
    if body["group_id"] is not None and not found.sees_group:
        raise UnknownReference.at("/group_id", "unknown_reference", "No such group.")
    if body["session_id"] is None:
        return
    if found.session_date is None:
        raise UnknownReference.at("/session_id", "unknown_reference", "No such session of a group.")
    if not body["first_date"] <= found.session_date <= body["last_date"]:
        raise Invalid.at("/session_id", "not_that_day", "The session is on another day.")


def approve(
    session: Session,
    principal: Principal,
    *,
    leave_request_id: UUID,
    expected: Versions,
    comment: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Approve a request and excuse its absences; approving it again changes nothing.

    :raises NotFound: the principal sees no such request.
    :raises LeaveDecided: it is rejected or cancelled.
    :raises NoExcusedCode: no attendance code counts as excused.
    """
    followers.lock_schedule(session, principal.organization_id, alone=True)
    request = lock(session, principal, LeaveRequest, leave_request_id, expected=expected)
    if request.status == "approved":
        return _shown(request, 0, [])
    _decide(session, principal, request, status="approved", comment=comment, now=now)
    marks, left = _excuse(session, request)
    return _shown(request, len(marks), left)


def reject(
    session: Session, principal: Principal, *, leave_request_id: UUID, expected: Versions, comment: str, now: datetime
) -> LeaveRequest:
    """Reject a request; rejecting it again changes nothing.

    :raises NotFound: the principal sees no such request.
    :raises LeaveDecided: it is approved or cancelled.
    """
    request = lock(session, principal, LeaveRequest, leave_request_id, expected=expected)
    if request.status != "rejected":
        _decide(session, principal, request, status="rejected", comment=comment, now=now)
    return request


def _decide(
    session: Session, principal: Principal, request: LeaveRequest, *, status: str, comment: str | None, now: datetime
) -> None:
    """Set the decision.

    :raises LeaveDecided: the request is not pending.
    """
    if request.status != "pending":
        raise REQUESTS.conflict(LeaveDecided, request)
    request.status, request.comment = status, comment
    request.decided_by, request.decided_at = principal.user_id, now
    session.flush()


def cancel(
    session: Session, principal: Principal, *, leave_request_id: UUID, expected: Versions, today: date
) -> dict[str, Any]:
    """Cancel a request, and take back the marks that it has made and that no one has changed since.

    Absences that other approved requests excuse stay excused. Cancelling again takes back the marks of registers that
    were locked.

    :raises NotFound: the principal sees no such request.
    :raises LeaveDecided: it is rejected.
    :raises LeaveOver: it is approved, its days are over, and the principal is not one of the staff.
    :raises NoExcusedCode: another approved request takes over an absence, and no code counts as excused any more.
    """
    followers.lock_schedule(session, principal.organization_id, alone=True)
    request = lock(session, principal, LeaveRequest, leave_request_id, expected=expected)
    if request.status == "rejected":
        raise REQUESTS.conflict(LeaveDecided, request)
    if request.status == "approved" and principal.scope is Scope.OWN and request.last_date < today:
        raise REQUESTS.conflict(LeaveOver, request)
    request.status = "cancelled"
    session.flush()
    left = _take_back(session, LeaveMark.leave_request_id == request.id, request.id)
    for other in queries.other_approved(session, request):
        _excuse(session, other)
    return _shown(request, 0, left)


def _shown(request: LeaveRequest, excused: int, left: Sequence[LeftMark]) -> dict[str, Any]:
    shown = {column.key: getattr(request, column.key) for column in queries.COLUMNS}
    return {**shown, "excused": excused, "left": left}


def _excuse(session: Session, request: LeaveRequest) -> tuple[list[ExcusedMark], list[LeftMark]]:
    """Excuse the absences of an approved request."""
    meetings = excuses.lock_sessions(session, *queries.sessions_of(request))
    absences = [Absence.of(meeting, request.student_id) for meeting in meetings]
    marks, left = excuses.excuse(session, absences, reason=_reason(request.id))
    _store(session, dict.fromkeys(absences, request.id), marks)
    return marks, left


def _store(session: Session, requests: Mapping[Absence, UUID], marks: Sequence[ExcusedMark]) -> None:
    """Store which request has made each mark."""
    rows = [
        {
            "leave_request_id": requests[mark.absence],
            "session_id": mark.absence.session_id,
            "student_id": mark.absence.student_id,
            "local_date": mark.absence.local_date,
            "record_id": mark.record_id,
            "record_version": mark.version,
            "previous": mark.previous,
        }
        for mark in marks
    ]
    writes.insert(session, LeaveMark, rows, on_conflict=_NEWEST_WINS)


def _take_back(session: Session, condition: Any, request_id: UUID | None) -> list[LeftMark]:
    """Take back the marks of a condition; return those that stay. The marks of locked registers can be tried again."""
    own = LeaveMark.organization_id == session.unit.organization_id
    made = session.scalars(select(LeaveMark).where(own, condition).order_by(LeaveMark.id)).all()
    if not made:
        return []
    one = AttendanceSession
    ids = {mark.session_id for mark in made}
    meetings = excuses.lock_sessions(session, one.organization_id == session.unit.organization_id, one.id.in_(ids))
    places = {meeting.id: meeting for meeting in meetings}
    open_ = [mark for mark in made if places[mark.session_id].status != "locked"]
    marks = [
        ExcusedMark(
            Absence.of(places[mark.session_id], mark.student_id), mark.record_id, mark.record_version, mark.previous
        )
        for mark in open_
    ]
    taken = set(excuses.take_back(session, marks, reason=_reason(request_id or made[0].leave_request_id)))
    for mark in open_:
        session.delete(mark)
    session.flush()
    stay = [mark for mark in made if mark.record_id not in taken]
    return [LeftMark(mark.session_id, mark.local_date, "changed" if mark in open_ else "locked") for mark in stay]


def _reason(request_id: UUID) -> str:
    """Return the reason in the audit log; the request's own text is personal, and is not repeated there."""
    return f"Leave request {request_id}."


@followers.on_arrival
def excuse_sessions(session: Session, meetings: Sequence[Any]) -> None:
    """Excuse the students whose approved requests are about new sessions."""
    places = {meeting.id: meeting for meeting in meetings}
    found = queries.approved_for(session, list(places))
    requests = {Absence.of(places[row.session_id], row.student_id): row.id for row in found}
    if not requests:
        return
    try:
        marks, _ = excuses.excuse(session, list(requests), reason="Approved leave.")
    except NoExcusedCode:  # no reason to refuse the sessions
        log.warning("an organization has approved leave, but no code that counts as excused")
        return
    _store(session, requests, marks)


@followers.on_departure
def release_sessions(session: Session, meetings: Sequence[Any]) -> None:
    """Take back the marks of approved requests in sessions that will be moved or cancelled."""
    _take_back(session, LeaveMark.session_id.in_([meeting.id for meeting in meetings]), None)
