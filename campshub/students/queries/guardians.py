"""Reads of guardians, and of their links to students."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, column, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from campshub.core import names
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.normalization import email_key
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Guardian, Student, StudentGuardian
from campshub.students.names import phone_key
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules

COLUMNS = (
    Guardian.id,
    Guardian.external_id,
    Guardian.user_id,
    Guardian.name,
    Guardian.email,
    Guardian.phone,
    Guardian.deleted_at,
    Guardian.created_at,
    Guardian.updated_at,
    Guardian.version,
)
_STUDENT_COLUMNS = (
    *(Student.id, Student.code, Student.given_name, Student.family_name, Student.preferred_name, Student.status),
    *(StudentGuardian.relation, StudentGuardian.is_primary, StudentGuardian.may_pick_up),
    StudentGuardian.receives_notifications,
)
_GUARDIAN_ID: Any = column("guardian_id", Uuid)
_NONE: Any = literal_column("'[]'::json")


def list_guardians(
    session: Session, principal: Principal, *, q: str | None, phone: str | None, email: str | None, **filters: Any
) -> Page:
    """List the guardians that the principal sees, by name."""
    keys = {
        "words": names.starts(q) if q else None,
        "phone": phone_key(phone) if phone else None,
        "email": email_key(email) if email else None,
    }
    page: PageRequest = filters["page"]
    return page.read(session, _listed(principal, **keys, **filters))


@prepared
def _listed(
    principal: Principal, *, words: Any, phone: Any, email: Any, student_id: Any, deleted: bool, page: PageRequest
) -> AnySelect:
    is_deleted = Guardian.deleted_at.is_not(None) if deleted else Guardian.deleted_at.is_(None)
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, Guardian), is_deleted)
    if words is not None:
        found = func.guardians_with_words(words).table_valued(_GUARDIAN_ID)
        rows = rows.join(found, found.c.guardian_id == Guardian.id)
    if phone is not None:
        rows = rows.where(Guardian.phone_key == phone)
    if email is not None:
        rows = rows.where(Guardian.email_key == email)
    if student_id is not None:
        of_student = and_(visible_to(principal, StudentGuardian), StudentGuardian.student_id == student_id)
        rows = rows.where(Guardian.id.in_(select(StudentGuardian.guardian_id).where(of_student)))
    orders = {"name": (Guardian.sort_name, Guardian.id), "created": (Guardian.id,)}
    return page.ordered(rows, order=orders[page.sort or "name"])


def get_guardian(session: Session, principal: Principal, guardian_id: UUID) -> AnyRow:
    """Return one guardian.

    :raises NotFound: the principal sees no such guardian.
    """
    row = session.execute(_one(principal, guardian_id=guardian_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, guardian_id: UUID) -> AnySelect:
    alive = and_(Guardian.id == guardian_id, Guardian.deleted_at.is_(None))
    return select(*COLUMNS).where(visible_to(principal, Guardian), alive)


def list_students(session: Session, principal: Principal, guardian_id: UUID, *, page: PageRequest) -> Page:
    """List the students of a guardian, by name, each with the guardian's link to them.

    :raises NotFound: the principal sees no such guardian.
    """
    found = page.read(session, _students(principal, guardian_id=guardian_id, page=page))
    if not found.rows:
        get_guardian(session, principal, guardian_id)
    return found


@prepared
def _students(principal: Principal, *, guardian_id: UUID, page: PageRequest) -> AnySelect:
    own = and_(Student.organization_id == StudentGuardian.organization_id, Student.id == StudentGuardian.student_id)
    guardian = and_(visible_to(principal, Guardian), Guardian.id == guardian_id, Guardian.deleted_at.is_(None))
    rows = (
        select(*page.choose(_STUDENT_COLUMNS))
        .select_from(StudentGuardian)
        .join(Student, own)
        .where(visible_to(principal, StudentGuardian), visible_to(principal, Student), Student.deleted_at.is_(None))
        .where(StudentGuardian.guardian_id == guardian_id, select(Guardian.id).where(guardian).exists())
    )
    return page.ordered(rows, order=(Student.sort_name, Student.id))


def guardians_of_student(principal: Principal) -> ColumnElement[Any]:
    """Return the guardians of the statement's student as JSON: the primary one first, then in the student's order.

    With the scope ``own``, a guardian sees only themselves among them, because guardians may be in dispute; a student
    sees their own guardians. With other scopes, callers who see a student see the student's guardians.
    """
    shown = func.json_build_object(
        *("guardian_id", Guardian.id, "name", Guardian.name, "relation", StudentGuardian.relation),
        *("phone", Guardian.phone, "email", Guardian.email, "is_primary", StudentGuardian.is_primary),
        *("may_pick_up", StudentGuardian.may_pick_up),
        *("receives_notifications", StudentGuardian.receives_notifications),
    )
    order = (StudentGuardian.is_primary.desc(), StudentGuardian.position, StudentGuardian.id)
    own = Guardian.organization_id == StudentGuardian.organization_id
    return (
        select(func.coalesce(func.json_agg(aggregate_order_by(shown, *order)), _NONE))
        .select_from(StudentGuardian)
        .join(Guardian, and_(own, Guardian.id == StudentGuardian.guardian_id))
        .where(
            StudentGuardian.organization_id == Student.organization_id,
            StudentGuardian.student_id == Student.id,
            Guardian.deleted_at.is_(None),
            *([visible_to(principal, Guardian)] if principal.scope is Scope.OWN else []),
        )
        .correlate(Student)
        .scalar_subquery()
        .label("guardians")
    )


def of_student(session: Session, principal: Principal, student_id: UUID) -> AnyRow:
    """Return a student's guardians, and the version of the student.

    :raises NotFound: the principal sees no such student.
    """
    row = session.execute(_of_student(principal, student_id=student_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _of_student(principal: Principal, *, student_id: UUID) -> AnySelect:
    alive = and_(Student.id == student_id, Student.deleted_at.is_(None))
    columns = (Student.id.label("student_id"), guardians_of_student(principal), Student.version)
    return select(*columns).where(visible_to(principal, Student), alive)


def written(session: Session, principal: Principal, student: Student) -> list[dict[str, Any]]:
    """Return the guardians of a student whom the principal has just written."""
    return list(session.scalar(_written(principal, student_id=student.id)) or ())


@prepared
def _written(principal: Principal, *, student_id: UUID) -> AnySelect:
    own = and_(Student.organization_id == principal.organization_id, Student.id == student_id)
    return select(guardians_of_student(principal)).where(own)
