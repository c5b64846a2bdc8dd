"""Reads of groups, their trainers, enrolments and rosters."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, select

from campshub.accounts.models import User
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.names import has_words, patterns
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Group, GroupTrainer, Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.students.queries.in_group import in_group, is_latest

COLUMNS = (
    Group.id,
    Group.code,
    Group.external_id,
    Group.name,
    Group.kind,
    Group.status,
    Group.capacity,
    Group.begins_on,
    Group.ends_on,
    Group.deleted_at,
    Group.created_at,
    Group.updated_at,
    Group.version,
)
ENROLMENT_COLUMNS = (
    Enrolment.id,
    Enrolment.group_id,
    Enrolment.student_id,
    Enrolment.begins_on,
    Enrolment.ends_on,
    Enrolment.status,
    Enrolment.is_waiting,
    Enrolment.created_at,
    Enrolment.updated_at,
    Enrolment.version,
)
ROSTER_COLUMNS = (
    Student.id,
    Student.code,
    Student.given_name,
    Student.family_name,
    Student.preferred_name,
    Student.status,
    Enrolment.id.label("enrolment_id"),
    Enrolment.begins_on,
    Enrolment.ends_on,
)

_NONE: Any = literal_column("'[]'::json")


def list_groups(
    session: Session,
    principal: Principal,
    *,
    q: str | None,
    page: PageRequest,
    **filters: Any,
) -> Page:
    """List the groups that the principal sees, by name."""
    return page.read(session, _listed(principal, words=patterns(q), page=page, **filters))


@prepared
def _listed(
    principal: Principal,
    *,
    words: Any,
    trainer_id: Any,
    updated_from: Any,
    deleted: bool,
    page: PageRequest,
    **equal: Any,
) -> AnySelect:
    is_deleted = Group.deleted_at.is_not(None) if deleted else Group.deleted_at.is_(None)
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, Group), is_deleted)
    if words is not None:
        rows = rows.where(has_words(Group.search_text, words))
    for name, value in equal.items():
        if value is not None:
            rows = rows.where(getattr(Group, name) == value)
    if updated_from is not None:
        rows = rows.where(Group.updated_at >= updated_from)
    if trainer_id is not None:
        trained = select(GroupTrainer.group_id).where(
            GroupTrainer.organization_id == principal.organization_id, GroupTrainer.user_id == trainer_id
        )
        rows = rows.where(Group.id.in_(trained))
    orders = {"name": (Group.sort_name, Group.id), "code": (Group.code, Group.id), "created": (Group.id,)}
    return page.ordered(rows, order=orders[page.sort or "name"])


def get_group(
    session: Session, principal: Principal, group_id: UUID, *, on: date, is_written: bool = False
) -> dict[str, Any]:
    """Return one group with its trainers and the number of its students on a date.

    With ``is_written``, the principal has just written the group and sees it even without training it.

    :raises NotFound: the principal sees no such group.
    """
    row = session.execute(_one(principal, group_id=group_id, on=on, is_written=is_written)).one_or_none()
    if row is None:
        raise NotFound
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


@prepared
def _one(principal: Principal, *, group_id: UUID, on: date, is_written: bool) -> AnySelect:
    enrolled = (
        select(func.count(Enrolment.student_id.distinct()))
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(Enrolment.organization_id == Group.organization_id, Enrolment.group_id == Group.id, in_group(on))
        .scalar_subquery()
    )
    trainers = (
        select(func.coalesce(func.json_agg(func.json_build_object("id", User.id, "name", User.name)), _NONE))
        .select_from(GroupTrainer)
        .join(User, User.id == GroupTrainer.user_id)
        .where(GroupTrainer.organization_id == Group.organization_id, GroupTrainer.group_id == Group.id)
        .scalar_subquery()
    )
    seen = Group.organization_id == principal.organization_id if is_written else visible_to(principal, Group)
    return select(*COLUMNS, enrolled.label("enrolled"), trainers.label("trainers")).where(
        seen, Group.id == group_id, Group.deleted_at.is_(None)
    )


def list_enrolments(
    session: Session,
    principal: Principal,
    group_id: UUID,
    *,
    status: str | None,
    updated_from: datetime | None,
    page: PageRequest,
) -> Page:
    """List a group's past and current enrolments, by start date.

    :raises NotFound: the principal sees no such group.
    """
    query = _enrolments(principal, group_id=group_id, status=status, updated_from=updated_from, page=page)
    found = page.read(session, query)
    if not found.rows:
        require_visible_group(session, principal, group_id)
    return found


@prepared
def _enrolments(
    principal: Principal, *, group_id: UUID, status: Any, updated_from: Any, page: PageRequest
) -> AnySelect:
    rows = select(*page.choose(ENROLMENT_COLUMNS)).where(
        visible_to(principal, Enrolment), Enrolment.group_id == group_id, group_is_visible(principal, group_id)
    )
    if status is not None:
        rows = rows.where(Enrolment.status == status)
    if updated_from is not None:
        rows = rows.where(Enrolment.updated_at >= updated_from)
    return page.ordered(rows, order=(Enrolment.begins_on, Enrolment.student_id, Enrolment.id))


def roster(session: Session, principal: Principal, group_id: UUID, *, on: date, page: PageRequest) -> Page:
    """List the members of a group on a date, by name, each person once.

    :raises NotFound: the principal sees no such group.
    """
    found = page.read(session, _roster(principal, group_id=group_id, on=on, page=page))
    if not found.rows:
        require_visible_group(session, principal, group_id)
    return found


@prepared
def _roster(principal: Principal, *, group_id: UUID, on: date, page: PageRequest) -> AnySelect:
    rows = (
        select(*page.choose(ROSTER_COLUMNS))
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(visible_to(principal, Enrolment), visible_to(principal, Student))
        .where(Enrolment.group_id == group_id, in_group(on), is_latest(on), group_is_visible(principal, group_id))
    )
    return page.ordered(rows, order=(Student.sort_name, Student.id, Enrolment.id))


def group_is_visible(principal: Principal, group_id: UUID) -> ColumnElement[bool]:
    """Return the condition that the group is not deleted and the principal sees it."""
    return exists(select(1).where(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None)))


def require_visible_group(session: Session, principal: Principal, group_id: UUID) -> None:
    """Check, for an empty list, that the principal sees the group.

    :raises NotFound: the principal sees no such group.
    """
    if session.scalar(_seen(principal, group_id=group_id)) is None:
        raise NotFound


@prepared
def _seen(principal: Principal, *, group_id: UUID) -> AnySelect:
    return select(Group.id).where(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None))


def get_enrolment(session: Session, principal: Principal, group_id: UUID, enrolment_id: UUID) -> AnyRow:
    """Return one enrolment.

    :raises NotFound: the principal sees no such enrolment in the group.
    """
    row = session.execute(_enrolment(principal, group_id=group_id, enrolment_id=enrolment_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _enrolment(principal: Principal, *, group_id: UUID, enrolment_id: UUID) -> AnySelect:
    return select(*ENROLMENT_COLUMNS).where(
        visible_to(principal, Enrolment), Enrolment.group_id == group_id, Enrolment.id == enrolment_id
    )
