"""Reads of the substitutes of trainers."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import GroupSubstitute
from campshub.students.queries.groups import group_is_visible, require_visible_group

COLUMNS = (
    *(GroupSubstitute.id, GroupSubstitute.group_id, GroupSubstitute.trainer_id),
    *(GroupSubstitute.first_date, GroupSubstitute.last_date),
    *(GroupSubstitute.created_at, GroupSubstitute.updated_at, GroupSubstitute.version),
)


def list_substitutes(
    session: Session,
    principal: Principal,
    group_id: UUID,
    *,
    first_date: date | None,
    last_date: date | None,
    page: PageRequest,
) -> Page:
    """List a group's substitutes who have a day in a range of dates, by first date.

    :raises NotFound: the principal sees no such group.
    """
    query = _listed(principal, group_id=group_id, first_date=first_date, last_date=last_date, page=page)
    found = page.read(session, query)
    if not found.rows:
        require_visible_group(session, principal, group_id)
    return found


@prepared
def _listed(principal: Principal, *, group_id: UUID, first_date: Any, last_date: Any, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(
        visible_to(principal, GroupSubstitute),
        GroupSubstitute.group_id == group_id,
        group_is_visible(principal, group_id),
    )
    if first_date is not None:
        rows = rows.where(GroupSubstitute.last_date >= first_date)
    if last_date is not None:
        rows = rows.where(GroupSubstitute.first_date <= last_date)
    return page.ordered(rows, order=(GroupSubstitute.first_date, GroupSubstitute.id))


def get_substitute(session: Session, principal: Principal, group_id: UUID, substitute_id: UUID) -> AnyRow:
    """Return one period of a substitute.

    :raises NotFound: the principal sees no such one of the group.
    """
    row = session.execute(_one(principal, group_id=group_id, substitute_id=substitute_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, group_id: UUID, substitute_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(
        visible_to(principal, GroupSubstitute),
        GroupSubstitute.group_id == group_id,
        GroupSubstitute.id == substitute_id,
    )
