"""Reads of enrolments across groups, and of the groups of a student."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, select

from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.students.queries.groups import ENROLMENT_COLUMNS
from campshub.students.queries.in_group import in_group, is_latest

GROUP_COLUMNS = (
    Group.id,
    Group.code,
    Group.name,
    Group.kind,
    Group.status,
    Enrolment.id.label("enrolment_id"),
    Enrolment.begins_on,
    Enrolment.ends_on,
)
_OF_STUDENT = and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id)


def list_enrolments(
    session: Session,
    principal: Principal,
    *,
    student_id: UUID | None,
    group_id: UUID | None,
    status: str | None,
    updated_from: datetime | None,
    on: date | None,
    page: PageRequest,
) -> Page:
    """List enrolments by start date; with ``on`` only those by which the student is in the group on that date."""
    found = {"student_id": student_id, "group_id": group_id, "status": status, "updated_from": updated_from}
    return page.read(session, _listed(principal, on=on, page=page, **found))


@prepared
def _listed(
    principal: Principal,
    *,
    student_id: Any,
    group_id: Any,
    status: Any,
    updated_from: Any,
    on: Any,
    page: PageRequest,
) -> AnySelect:
    rows = select(*page.choose(ENROLMENT_COLUMNS)).where(visible_to(principal, Enrolment))
    if student_id is not None:
        rows = rows.where(Enrolment.student_id == student_id)
    if group_id is not None:
        rows = rows.where(Enrolment.group_id == group_id)
    if status is not None:
        rows = rows.where(Enrolment.status == status)
    if updated_from is not None:
        rows = rows.where(Enrolment.updated_at >= updated_from)
    if on is not None:
        rows = rows.join(Student, _OF_STUDENT).where(in_group(on))
    return page.ordered(rows, order=(Enrolment.begins_on, Enrolment.id))


def list_of_student(
    session: Session,
    principal: Principal,
    student_id: UUID,
    *,
    status: str | None,
    updated_from: datetime | None,
    page: PageRequest,
) -> Page:
    """List a student's past and current enrolments, by start date.

    :raises NotFound: the principal sees no such student.
    """
    query = _of_student(principal, student_id=student_id, status=status, updated_from=updated_from, page=page)
    found = page.read(session, query)
    if not found.rows:
        require_visible_student(session, principal, student_id)
    return found


@prepared
def _of_student(
    principal: Principal, *, student_id: UUID, status: Any, updated_from: Any, page: PageRequest
) -> AnySelect:
    rows = select(*page.choose(ENROLMENT_COLUMNS)).where(
        visible_to(principal, Enrolment), Enrolment.student_id == student_id, _student_is_visible(principal, student_id)
    )
    if status is not None:
        rows = rows.where(Enrolment.status == status)
    if updated_from is not None:
        rows = rows.where(Enrolment.updated_at >= updated_from)
    return page.ordered(rows, order=(Enrolment.begins_on, Enrolment.id))


def list_groups_of_student(
    session: Session, principal: Principal, student_id: UUID, *, on: date, page: PageRequest
) -> Page:
    """List the groups in which a student is on a date, by name, each group once.

    :raises NotFound: the principal sees no such student.
    """
    found = page.read(session, _groups_of_student(principal, student_id=student_id, on=on, page=page))
    if not found.rows:
        require_visible_student(session, principal, student_id)
    return found


@prepared
def _groups_of_student(principal: Principal, *, student_id: UUID, on: date, page: PageRequest) -> AnySelect:
    rows = (
        select(*page.choose(GROUP_COLUMNS))
        .select_from(Enrolment)
        .join(Student, _OF_STUDENT)
        .join(Group, and_(Group.organization_id == Enrolment.organization_id, Group.id == Enrolment.group_id))
        .where(visible_to(principal, Enrolment), visible_to(principal, Group), visible_to(principal, Student))
        .where(Enrolment.student_id == student_id, in_group(on), is_latest(on), Group.deleted_at.is_(None))
    )
    return page.ordered(rows, order=(Group.sort_name, Group.id))


def _student_is_visible(principal: Principal, student_id: UUID) -> Any:
    seen = and_(visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
    return exists(select(1).where(seen))


def require_visible_student(session: Session, principal: Principal, student_id: UUID) -> None:
    """Check, for an empty list, that the principal sees the student.

    :raises NotFound: the principal sees no such student.
    """
    if session.scalar(_seen(principal, student_id=student_id)) is None:
        raise NotFound


@prepared
def _seen(principal: Principal, *, student_id: UUID) -> AnySelect:
    return select(Student.id).where(
        visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None)
    )
