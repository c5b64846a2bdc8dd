"""Assign substitutes to groups: from the first to the last date they see what the group's trainers see."""

from datetime import date
from typing import TypedDict, Unpack
from uuid import UUID

from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Invalid
from campshub.core.security.principal import Principal
from campshub.students.models import Group, GroupSubstitute
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.students.service.trainers import require_trainers

SUBSTITUTES = creates.Collection(GroupSubstitute, "/api/groups/{row.group_id}/substitutes/{row.id}/")


class SubstituteEndsBeforeBegin(Invalid):
    """The last date is before the first date."""

    code = "last_before_first"
    default_detail = "The last date is before the first date."
    constraint = "ck_group_substitutes_last_after_first"
    pointer = "/last_date"


class SubstituteChanges(TypedDict, total=False):
    """Fields of a substitute that a change may have."""

    first_date: date
    last_date: date


def assign(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    trainer_id: UUID,
    first_date: date,
    last_date: date,
    id: UUID | None = None,
) -> tuple[GroupSubstitute, bool]:
    """Assign a substitute to a group for some days; an identical call returns the same row.

    :raises NotFound: the principal sees no such group.
    :raises UnknownReference: the user is no trainer in the organization.
    :raises SubstituteEndsBeforeBegin: the last date is before the first.
    :raises IdTaken: the id belongs to another one.
    """
    lock(session, principal, Group, group_id, Group.deleted_at.is_(None))
    if last_date < first_date:
        raise SubstituteEndsBeforeBegin
    require_trainers(session, principal, [trainer_id], new=[trainer_id], pointer="/trainer_id")
    body = {"group_id": group_id, "trainer_id": trainer_id, "first_date": first_date, "last_date": last_date}
    return creates.create(session, principal, SUBSTITUTES, id=id, body=body)


def change(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    substitute_id: UUID,
    expected: Versions,
    **changes: Unpack[SubstituteChanges],
) -> GroupSubstitute:
    """Change the days of a substitute.

    :raises NotFound: the principal sees no such one of the group.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SubstituteEndsBeforeBegin: the last date would be before the first.
    """
    own = GroupSubstitute.group_id == group_id
    substitute = lock(session, principal, GroupSubstitute, substitute_id, own, expected=expected)
    for name, value in changes.items():
        setattr(substitute, name, value)
    if substitute.last_date < substitute.first_date:
        raise SubstituteEndsBeforeBegin
    session.flush()
    return substitute


def remove(session: Session, principal: Principal, *, group_id: UUID, substitute_id: UUID, expected: Versions) -> None:
    """Remove a substitute; their access ends at once.

    :raises NotFound: the principal sees no such one of the group.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    own = GroupSubstitute.group_id == group_id
    session.delete(lock(session, principal, GroupSubstitute, substitute_id, own, expected=expected))
