"""Reads of students."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Integer, Uuid, and_, case, cast, column, exists, func, select
from sqlalchemy.dialects.postgresql import JSONB

from campshub.core import names
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.memoized import memoized, whole_organization
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, GroupTrainer, Student, StudentGuardian
from campshub.students.queries import included
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.students.queries.custom_fields import Conditions, matching_values, shown_values, visible_values
from campshub.students.queries.guardians import guardians_of_student, written
from campshub.students.queries.in_group import enrolled_on, in_group, not_left

# The columns of lists, in the order of the schema; ``columns_for`` leaves out hidden values of custom fields.
LISTED_COLUMNS = (
    Student.id,
    Student.code,
    Student.external_id,
    Student.user_id,
    Student.given_name,
    Student.family_name,
    Student.preferred_name,
    Student.date_of_birth,
    Student.gender,
    Student.email,
    Student.phone,
    Student.photo_id,
    Student.tags,
    Student.custom_fields,
    Student.status,
    Student.joined_on,
    Student.left_on,
    Student.deleted_at,
    Student.created_at,
    Student.updated_at,
    Student.version,
)
COLUMNS = (*LISTED_COLUMNS, Student.address, Student.emergency_contacts)
MIN_SEARCH_LENGTH = 3
_EXACT = ("status", "code", "external_id", "phone", "email")
_STUDENT_ID: Any = column("student_id", Uuid)


def columns_for(principal: Principal, columns: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the columns with only those values of custom fields that the principal may see."""
    return tuple(visible_values(principal) if column is Student.custom_fields else column for column in columns)


def list_students(
    session: Session,
    principal: Principal,
    *,
    q: str | None,
    custom: Conditions | None,
    page: PageRequest,
    **filters: Any,
) -> Page:
    """List the students that the principal sees, by name; with ``q`` the best matches first.

    :raises Invalid: a condition names no custom field that the principal sees, or no value of it.
    """
    tag = filters.pop("tag", None) or None
    values = matching_values(session, principal, custom) if custom else None
    filters["include"] = frozenset(filters["include"] or ())
    query = _listed(principal, page=page, tag=tag, custom=values, **_search_arguments(q), **filters)
    return page.read(session, query)


def _search_arguments(q: str | None) -> dict[str, str | None]:
    """Return the search arguments for a text: ``exactly``, or with typos (``words``) if few match exactly."""
    words = names.folded(q)
    if not words:
        return {"words": None, "starts": None, "exactly": None}
    if len(words) < MIN_SEARCH_LENGTH:
        return {"words": None, "starts": None, "exactly": names.starts(words)}
    if " " not in words and any(character.isdigit() for character in words):  # a code: no typos
        return {"words": None, "starts": None, "exactly": names.containing(words)}
    return {"words": words, "starts": names.starts(words), "exactly": None}


@prepared
def _listed(
    principal: Principal, *, page: PageRequest, words: Any, starts: Any, exactly: Any, **filters: Any
) -> AnySelect:
    columns = page.choose(columns_for(principal, LISTED_COLUMNS))
    columns = [*columns, *included.columns(principal, filters["on"], filters["include"])]
    rows = select(*columns).where(visible_to(principal, Student), *_conditions(principal, filters))
    orders: dict[str, tuple[Any, ...]] = {
        "name": (Student.sort_name, Student.id),
        "code": (Student.code, Student.id),
        "created": (Student.id,),
    }
    if exactly is not None:
        found = func.students_with_words(exactly).table_valued(_STUDENT_ID)
        rows = rows.join(found, found.c.student_id == Student.id)
    elif words is not None:
        found = func.search_students(words, starts).table_valued(_STUDENT_ID, column("is_ranked", Boolean))
        rows = rows.join(found, found.c.student_id == Student.id)
        distance = case((found.c.is_ranked, _distance(words)), else_=0)
        orders[""] = orders["relevance"] = (distance, Student.sort_name, Student.id)
    return page.ordered(rows, order=orders.get(page.sort, orders["name"]))


def _distance(words: Any) -> ColumnElement[int]:
    """Return the distance between a student's names and the words, from 0; parts of a name weigh more than the whole.

    It is computed here and not in the SQL function, so that only filtered students are ranked.
    """
    text = Student.search_text
    part = 2 - func.word_similarity(words, text) - func.strict_word_similarity(words, text)
    return cast(1000 * (part + (1 - func.similarity(words, text)) / 10), Integer)


def _conditions(principal: Principal, filters: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Return one condition per filter."""
    found: list[ColumnElement[bool]] = [
        Student.deleted_at.is_not(None) if filters["deleted"] else Student.deleted_at.is_(None)
    ]
    if filters["tag"] is not None:
        found.append(filters["tag"] == Student.tags.any_())
    if filters["custom"] is not None:
        found.append(Student.custom_fields.contains(cast(filters["custom"], JSONB)))
    if filters["joined_from"] is not None:
        found.append(Student.joined_on >= filters["joined_from"])
    if filters["joined_to"] is not None:
        found.append(Student.joined_on <= filters["joined_to"])
    found += [getattr(Student, name) == filters[name] for name in _EXACT if filters[name] is not None]
    if filters["updated_from"] is not None:
        found.append(Student.updated_at >= filters["updated_from"])
    if filters["guardian"] is not None:
        of_guardian = and_(visible_to(principal, StudentGuardian), StudentGuardian.guardian_id == filters["guardian"])
        found.append(Student.id.in_(select(StudentGuardian.student_id).where(of_guardian)))
    if filters["group_id"] is not None:
        found.append(_in_group(principal, filters["on"], Enrolment.group_id == filters["group_id"]))
    if filters["trainer_id"] is not None:
        trained = and_(
            GroupTrainer.organization_id == principal.organization_id, GroupTrainer.user_id == filters["trainer_id"]
        )
        groups = select(GroupTrainer.group_id).where(trained)
        found.append(_in_group(principal, filters["on"], Enrolment.group_id.in_(groups)))
    return found


def _in_group(principal: Principal, on: date, is_group: ColumnElement[bool]) -> ColumnElement[bool]:
    # Another filter decides whether deleted students are listed.
    return not_left(on) & exists(
        select(1)
        .select_from(Enrolment)
        .where(
            and_(Enrolment.organization_id == Student.organization_id, Enrolment.student_id == Student.id),
            visible_to(principal, Enrolment),
            is_group,
            enrolled_on(on),
        )
        .correlate(Student)
    )


def get_student(session: Session, principal: Principal, student_id: UUID) -> AnyRow:
    """Return one student.

    :raises NotFound: the principal sees no such student.
    """
    row: AnyRow | None = session.execute(_one(principal, student_id=student_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, student_id: UUID) -> AnySelect:
    alive = and_(Student.id == student_id, Student.deleted_at.is_(None))
    columns = (*columns_for(principal, COLUMNS), guardians_of_student(principal))
    return select(*columns).where(visible_to(principal, Student), alive)


def get_written(session: Session, principal: Principal, student_id: UUID) -> AnyRow:
    """Return a student whom the principal has just written, and sees even if they are in none of their groups."""
    return session.execute(_written(principal, student_id=student_id)).one()


@prepared
def _written(principal: Principal, *, student_id: UUID) -> AnySelect:
    own = and_(Student.organization_id == principal.organization_id, Student.id == student_id)
    return select(*columns_for(principal, COLUMNS), guardians_of_student(principal)).where(own)


def as_shown(
    session: Session, principal: Principal, student: Student, *, guardians: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return a student that the principal has just written, with the values of custom fields that they may see.

    The guardians are read, unless they are given.
    """
    session.flush()
    shown = {column.key: getattr(student, column.key) for column in COLUMNS}
    values = shown_values(session, principal, student.custom_fields)
    found = written(session, principal, student) if guardians is None else guardians
    return {**shown, "custom_fields": values, "guardians": found}


def require_student(session: Session, principal: Principal, student_id: UUID) -> None:
    """Check that the principal sees a student.

    :raises NotFound: the principal sees no such student.
    """
    photo_of(session, principal, student_id)


def photo_of(session: Session, principal: Principal, student_id: UUID) -> UUID | None:
    """Return the id of a student's photo.

    :raises NotFound: the principal sees no such student.
    """
    row = session.execute(_photo(principal, student_id=student_id)).one_or_none()
    if row is None:
        raise NotFound
    photo_id: UUID | None = row.photo_id
    return photo_id


@prepared
def _photo(principal: Principal, *, student_id: UUID) -> AnySelect:
    alive = and_(Student.id == student_id, Student.deleted_at.is_(None))
    return select(Student.photo_id).where(visible_to(principal, Student), alive)


def medical_note_of(session: Session, principal: Principal, student_id: UUID) -> bytes | None:
    """Return a student's encrypted medical note.

    :raises NotFound: the principal sees no such student.
    """
    row = session.execute(_medical_note(principal, student_id=student_id)).one_or_none()
    if row is None:
        raise NotFound
    sealed: bytes | None = row.medical_note
    return sealed


@prepared
def _medical_note(principal: Principal, *, student_id: UUID) -> AnySelect:
    # A guardian reads no medical note, whatever their role.
    own = [Student.user_id == principal.user_id] if principal.scope is Scope.OWN else []
    return select(Student.medical_note).where(
        visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None), *own
    )


def statistics(session: Session, principal: Principal, *, on: date) -> dict[str, Any]:
    """Count students by status, by month of joining, and by group on a date."""
    by_status: dict[str, int] = {}
    by_month: dict[str, int] = {}
    for status, month, students in _counts(session, principal):
        by_status[status] = by_status.get(status, 0) + students
        if month is not None:
            by_month[month] = by_month.get(month, 0) + students
    return {
        "total": sum(by_status.values()),
        "by_status": [{"status": status, "count": count} for status, count in sorted(by_status.items())],
        "by_month": [{"month": m, "count": count} for m, count in sorted(by_month.items())],
        "by_group": _by_group(session, principal, on=on),
    }


@memoized(tags=("students",), key=whole_organization)
def _counts(session: Session, principal: Principal) -> list[list[Any]]:
    """Count students by status and month of joining."""
    return [[row.status, row.month, row.students] for row in session.execute(_counted(principal))]


@prepared
def _counted(principal: Principal) -> AnySelect:
    month = func.to_char(Student.joined_on, "YYYY-MM")
    return (
        select(Student.status, month.label("month"), func.count().label("students"))
        .where(visible_to(principal, Student), Student.deleted_at.is_(None))
        .group_by(Student.status, month)
    )


@memoized(tags=("students", "enrolments"), key=whole_organization)
def _by_group(session: Session, principal: Principal, *, on: date) -> list[dict[str, Any]]:
    """Count students by group on a date."""
    rows = session.execute(_in_groups(principal, on=on))
    return [{"group_id": row.group_id, "count": row.students} for row in rows]


@prepared
def _in_groups(principal: Principal, *, on: date) -> AnySelect:
    students = func.count(Enrolment.student_id.distinct())
    return (
        select(Enrolment.group_id, students.label("students"))
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(visible_to(principal, Student), visible_to(principal, Enrolment), in_group(on))
        .group_by(Enrolment.group_id)
        .order_by(students.desc(), Enrolment.group_id)
    )
