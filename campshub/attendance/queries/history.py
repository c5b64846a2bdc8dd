"""Reads of the history of a mark: its entries in the audit log, also after the mark was removed."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, Uuid, and_, cast, exists, or_, select

from campshub.accounts.queries.audit import opened
from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.audit import AuditEntry
from campshub.core.security.crypto import KeyRing
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries import visibility as _students  # noqa: F401 - the students' rules

# A session may be 60 days ahead of the mark; the log's dates are of UTC, up to a day before the organization's.
_DAYS_BEFORE = 62
_COLUMNS = (
    AuditEntry.id,
    AuditEntry.recorded_on,
    AuditEntry.at,
    AuditEntry.user_id,
    AuditEntry.api_key_id,
    AuditEntry.action,
    AuditEntry.entity,
    AuditEntry.entity_id,
    AuditEntry.person_id,
    AuditEntry.reason,
    AuditEntry.before,
    AuditEntry.after,
)


def history_of(
    session: Session,
    principal: Principal,
    ring: KeyRing,
    record_id: UUID,
    *,
    on: date,
    now: datetime,
    page: PageRequest,
) -> Page:
    """List the changes of a mark, newest first, with the values before and after.

    The values of an erased person cannot be decrypted and are ``{"erased": true}``.

    :raises NotFound: the principal sees no such mark on that date, and saw none before it was removed.
    """
    # The clocks of servers differ; the months that come later have no entries.
    days = {"since": on - timedelta(days=_DAYS_BEFORE), "until": now.date() + timedelta(days=1)}
    if session.scalar(_is_seen(principal, record_id=record_id, on=on, **days)) is None:
        raise NotFound
    rows = select(*_COLUMNS).where(*_of(principal, record_id, **days))
    found = page.of(session, rows, order=(AuditEntry.recorded_on, AuditEntry.id))
    return replace(found, rows=opened(session, principal.organization_id, ring, found.rows))


@prepared
def _is_seen(principal: Principal, *, record_id: UUID, on: date, since: date, until: date) -> AnySelect:
    record, meeting = AttendanceRecord, AttendanceSession
    present = exists(select(1).where(visible_to(principal, record), record.local_date == on, record.id == record_id))
    # Of a removed mark only the log knows the session and the student.
    removed = exists(
        select(1)
        .select_from(AuditEntry)
        .join(
            meeting,
            and_(
                meeting.organization_id == AuditEntry.organization_id,
                meeting.id == cast(AuditEntry.before["session_id"].astext, Uuid),
            ),
        )
        .where(*_of(principal, record_id, since, until), AuditEntry.action == "deleted")
        .where(AuditEntry.before["local_date"].astext == cast(on, Text))
        .where(visible_to(principal, meeting), _sees_student(principal))
    )
    return select(1).where(or_(present, removed))


def _of(principal: Principal, record_id: Any, since: Any, until: Any) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the entries of a mark; the log itself has rules only for the whole organization."""
    return (
        AuditEntry.organization_id == principal.organization_id,
        AuditEntry.recorded_on >= since,
        AuditEntry.recorded_on <= until,
        AuditEntry.entity == AttendanceRecord.__tablename__,
        AuditEntry.entity_id == record_id,
    )


def _sees_student(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that the principal may see the marks of a student in a session that they see.

    A trainer sees all marks of their groups, also those of students who have left since.
    """
    student = exists(
        select(1)
        .select_from(Student)
        .where(visible_to(principal, Student), Student.id == cast(AuditEntry.before["student_id"].astext, Uuid))
        .correlate(AuditEntry)
    )
    if principal.scope is Scope.OWN:
        return student
    return or_(AttendanceSession.group_id.is_not(None), student)
