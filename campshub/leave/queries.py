"""Reads of leave requests: staff and guardians see those of the students that they see, students their own."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, or_, select

from campshub.attendance.models import AttendanceSession
from campshub.attendance.queries import visibility as _attendance  # noqa: F401 - registers the visibility rules
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visibility, visible_to
from campshub.leave.models import LeaveRequest
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries import visibility as _students  # noqa: F401 - registers the visibility rules
from campshub.students.queries.in_group import enrolled_during, enrolled_on, still_there

COLUMNS = (
    LeaveRequest.id,
    LeaveRequest.student_id,
    LeaveRequest.first_date,
    LeaveRequest.last_date,
    LeaveRequest.group_id,
    LeaveRequest.session_id,
    LeaveRequest.reason,
    LeaveRequest.status,
    LeaveRequest.requested_by,
    LeaveRequest.decided_by,
    LeaveRequest.decided_at,
    LeaveRequest.comment,
    LeaveRequest.attachment_name,
    LeaveRequest.attachment_type,
    LeaveRequest.attachment_bytes,
    LeaveRequest.created_at,
    LeaveRequest.updated_at,
    LeaveRequest.version,
)

for _scope in (Scope.GROUPS, Scope.OWN):

    @visibility(LeaveRequest, _scope)
    def _of_visible_student(principal: Principal) -> ColumnElement[bool]:
        own = and_(visible_to(principal, Student), Student.id == LeaveRequest.student_id)
        return exists(select(1).select_from(Student).where(own).correlate(LeaveRequest))


def list_requests(session: Session, principal: Principal, *, page: PageRequest, **filters: Any) -> Page:
    """List leave requests by their first date."""
    return page.read(session, _listed(principal, page=page, **filters))


@prepared
def _listed(
    principal: Principal,
    *,
    page: PageRequest,
    status: Any,
    student_id: Any,
    group_id: Any,
    first_date: Any,
    last_date: Any,
) -> AnySelect:
    one = LeaveRequest
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, one))
    if status is not None:
        rows = rows.where(one.status == status)
    if student_id is not None:
        rows = rows.where(one.student_id == student_id)
    if group_id is not None:
        rows = rows.where(_concerns_group(principal, group_id))
    if first_date is not None:
        rows = rows.where(one.last_date >= first_date)
    if last_date is not None:
        rows = rows.where(one.first_date <= last_date)
    return page.ordered(rows, order=(one.first_date, one.id))


def _concerns_group(principal: Principal, group_id: Any) -> ColumnElement[bool]:
    """Return the condition that a request is for a group: for it alone, or for all groups of one of its students."""
    one = LeaveRequest
    member = exists(
        select(1)
        .select_from(Enrolment)
        .where(Enrolment.organization_id == principal.organization_id, Enrolment.group_id == group_id)
        .where(Enrolment.student_id == one.student_id, enrolled_during(one.first_date, one.last_date))
        .correlate(one)
    )
    in_session = exists(
        select(1)
        .select_from(AttendanceSession)
        .where(AttendanceSession.organization_id == principal.organization_id, AttendanceSession.id == one.session_id)
        .where(AttendanceSession.group_id == group_id)
        .correlate(one)
    )
    everywhere = and_(one.group_id.is_(None), one.session_id.is_(None), member)
    return or_(one.group_id == group_id, in_session, everywhere)


def get_request(session: Session, principal: Principal, leave_request_id: UUID) -> AnyRow:
    """Return one request.

    :raises NotFound: the principal sees no such request.
    """
    row = session.execute(_one(principal, leave_request_id=leave_request_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, leave_request_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(visible_to(principal, LeaveRequest), LeaveRequest.id == leave_request_id)


def references(
    session: Session, principal: Principal, *, student_id: UUID, group_id: UUID | None, session_id: UUID | None
) -> AnyRow:
    """Return whether the principal sees a student, a group and a session, and the session's date."""
    one = AttendanceSession
    student = and_(visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
    group = and_(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None))
    meeting = select(one.local_date).where(visible_to(principal, one), one.id == session_id, one.group_id.is_not(None))
    return session.execute(
        select(
            exists(select(1).select_from(Student).where(student)).label("sees_student"),
            exists(select(1).select_from(Group).where(group)).label("sees_group"),
            meeting.scalar_subquery().label("session_date"),
        )
    ).one()


def sessions_of(request: LeaveRequest) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the sessions that a request is about: its student is on their rosters."""
    one = AttendanceSession
    conditions: list[ColumnElement[bool]] = [
        one.organization_id == request.organization_id,
        one.local_date.between(request.first_date, request.last_date),
        one.status != "cancelled",
        _on_roster(request.student_id),
    ]
    if request.group_id is not None:
        conditions.append(one.group_id == request.group_id)
    if request.session_id is not None:
        conditions.append(one.id == request.session_id)
    return tuple(conditions)


def _on_roster(student_id: Any, *others: Any) -> ColumnElement[bool]:
    one = AttendanceSession
    return exists(
        select(1)
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(Enrolment.organization_id == one.organization_id, Enrolment.group_id == one.group_id)
        .where(Enrolment.student_id == student_id, enrolled_on(one.local_date), still_there(one.local_date))
        .correlate(one, *others)
    )


def approved_for(session: Session, session_ids: Sequence[UUID]) -> Sequence[AnyRow]:
    """Return the approved requests about sessions whose rosters contain their students: id, student and session."""
    one, meeting = LeaveRequest, AttendanceSession
    days = and_(one.first_date <= meeting.local_date, one.last_date >= meeting.local_date)
    return session.execute(
        select(one.id, one.student_id, meeting.id.label("session_id"))
        .join(meeting, and_(meeting.organization_id == one.organization_id, days))
        .where(one.organization_id == session.unit.organization_id, one.status == "approved")
        .where(meeting.id.in_(session_ids), _on_roster(one.student_id, one))
        .where(or_(one.group_id.is_(None), one.group_id == meeting.group_id))
        .where(or_(one.session_id.is_(None), one.session_id == meeting.id))
        .order_by(one.id)
    ).all()


def other_approved(session: Session, request: LeaveRequest) -> Sequence[LeaveRequest]:
    """Return the student's other approved requests for some of the same days."""
    one = LeaveRequest
    return session.scalars(
        select(one)
        .where(one.organization_id == request.organization_id, one.student_id == request.student_id)
        .where(one.status == "approved", one.id != request.id)
        .where(one.first_date <= request.last_date, one.last_date >= request.first_date)
        .order_by(one.id)
    ).all()
