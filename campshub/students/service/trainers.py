"""Who can train a group: as its trainer, as a substitute, or in one of its meetings."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import or_, select

from campshub.accounts.models import Membership, OwnRole
from campshub.core.db.prepared import AnySelect
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, UnknownReference
from campshub.core.security.permissions import Role, Scope
from campshub.core.security.principal import Principal, visible_to

# Only these built-in roles can train a group.
_TRAINING_ROLES = (Role.TRAINER.value, Role.ADMIN.value, Role.SUPERADMIN.value)


def require_trainers(
    session: Session, principal: Principal, user_ids: Sequence[UUID], *, new: Collection[UUID], pointer: str
) -> None:
    """Check that the new ones among some users can train a group.

    :param pointer: the JSON pointer of a user, with ``{}`` for the number in the list.
    :raises UnknownReference: one of them is no active trainer in the organization.
    """
    if not new:
        return
    known = set(
        session.scalars(
            select(Membership.user_id).where(
                visible_to(principal, Membership),
                Membership.user_id.in_(set(new)),
                or_(Membership.role.in_(_TRAINING_ROLES), Membership.role_id.in_(_own_training_roles(principal))),
                Membership.status == "active",
            )
        )
    )
    unknown = [i for i, user_id in enumerate(user_ids) if user_id in new and user_id not in known]
    if unknown:
        raise UnknownReference.of(
            FieldError(pointer.format(i), "unknown_reference", "No such trainer in this organization.") for i in unknown
        )


def _own_training_roles(principal: Principal) -> AnySelect:
    """Select the custom roles that see groups; their holders may train groups."""
    return select(OwnRole.id).where(visible_to(principal, OwnRole), OwnRole.scope != Scope.OWN.value)
