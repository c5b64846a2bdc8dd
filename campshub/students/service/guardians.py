"""Create, change and delete guardians; a guardian who accepts an invitation gets the login."""

from datetime import datetime
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Invitation
from campshub.accounts.service.invitations import follows_acceptance
from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid
from campshub.core.security.authorization import require_whole_organization
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.students import names
from campshub.students.models import Guardian


class GuardianExists(Conflict):
    """Another guardian has this name with the same phone number or e-mail address."""

    code = "guardian_exists"
    default_detail = "Another guardian has this name with the same phone number or e-mail address."
    constraint = "uq_guardians_phone"
    pointer = "/name"


class GuardianWithEmailExists(GuardianExists):
    """Another guardian has this name with the same e-mail address."""

    default_detail = "Another guardian has this name with the same e-mail address."
    constraint = "uq_guardians_email"


class GuardianExternalIdTaken(Conflict):
    """Another guardian has this external id."""

    code = "external_id_taken"
    default_detail = "Another guardian has this external id."
    constraint = "uq_guardians_external_id"
    pointer = "/external_id"


class GuardianLoginTaken(Conflict):
    """This login belongs to another guardian."""

    code = "login_taken"
    default_detail = "This login belongs to another guardian."
    constraint = "uq_guardians_user_id"
    pointer = "/user_id"


class UnknownGuardianLogin(Invalid):
    """No user with this id belongs to the organization."""

    code = "unknown_reference"
    default_detail = "No user with this id belongs to the organization."
    constraint = "fk_guardians_user_id"
    pointer = "/user_id"


_IS_ALIVE = Guardian.deleted_at.is_(None)
GUARDIANS = creates.Collection(
    Guardian,
    "/api/guardians/{row.id}/",
    (
        creates.unique(GuardianExists, Guardian.sort_name, Guardian.phone_key, among=_IS_ALIVE),
        creates.unique(GuardianExists, Guardian.sort_name, Guardian.email_key, among=_IS_ALIVE),
        creates.unique(GuardianExternalIdTaken, Guardian.external_id),
        creates.unique(GuardianLoginTaken, Guardian.user_id),
    ),
    is_blind=True,
)


class GuardianChanges(TypedDict, total=False):
    """Fields of a guardian that a change may have."""

    external_id: str | None
    user_id: UUID | None
    name: str
    email: str | None
    phone: str | None


class NewGuardian(TypedDict, total=False):
    """The fields of a new guardian."""

    external_id: str | None
    user_id: UUID | None
    name: Required[str]
    email: str | None
    phone: str | None


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **values: Unpack[NewGuardian]
) -> tuple[Guardian, bool]:
    """Create a guardian; return them, and False if an earlier, identical call has created them.

    :raises IdTaken: the id belongs to a guardian with other content.
    :raises GuardianExists: another guardian has the name with the same phone number or e-mail address.
    :raises GuardianExternalIdTaken: another guardian has the external id.
    :raises GuardianLoginTaken: the login belongs to another guardian.
    """
    row = new_row(**values)
    return creates.create(session, principal, GUARDIANS, id=id, body=values, row=row)


def new_row(**values: Unpack[NewGuardian]) -> dict[str, Any]:
    """Return the row of a new guardian."""
    phone, email = values.get("phone") or None, values.get("email") or None
    return {**values, "phone": phone, "email": email, **names.guardian_keys(values["name"], phone, email)}


def change(
    session: Session,
    principal: Principal,
    *,
    guardian_id: UUID,
    expected: Versions,
    **changes: Unpack[GuardianChanges],
) -> Guardian:
    """Change a guardian.

    :raises NotFound: the principal sees no such guardian.
    :raises PreconditionFailed: they have changed since the caller read them.
    :raises GuardianExists: another guardian has the name with the same phone number or e-mail address.
    """
    require_whole(principal)
    guardian = lock(session, principal, Guardian, guardian_id, _IS_ALIVE, expected=expected)
    apply(guardian, **changes)
    creates.flush(session, principal, GUARDIANS, guardian)
    return guardian


def apply(guardian: Guardian, **changes: Unpack[GuardianChanges]) -> None:
    """Set fields of a guardian, and the keys that follow from them."""
    for name, value in changes.items():
        setattr(guardian, name, (value or None) if name in ("phone", "email") else value)
    if not changes.keys() & {"name", "phone", "email"}:  # even if an older release has folded the name differently
        return
    for name, key in names.guardian_keys(guardian.name, guardian.phone, guardian.email).items():
        setattr(guardian, name, key)


def delete(session: Session, principal: Principal, *, guardian_id: UUID, expected: Versions, now: datetime) -> None:
    """Mark a guardian as deleted: their links stay but count no more, and ``undelete`` reverts it.

    :raises NotFound: the principal sees no such guardian.
    """
    require_whole(principal)
    lock(session, principal, Guardian, guardian_id, _IS_ALIVE, expected=expected).deleted_at = now


def undelete(session: Session, principal: Principal, *, guardian_id: UUID) -> Guardian:
    """Undelete a guardian; this does nothing for one who is not deleted.

    :raises NotFound: the principal sees no such guardian.
    :raises GuardianExists: another guardian has their name and phone number or e-mail address now.
    """
    require_whole(principal)
    guardian = lock(session, principal, Guardian, guardian_id)
    guardian.deleted_at = None
    creates.flush(session, principal, GUARDIANS, guardian)
    return guardian


def require_whole(principal: Principal) -> None:
    """Refuse a change of guardians by a caller who may not see all of their students.

    A guardian's login sees all of their students, and an entry with a name and a contact finds any guardian.

    :raises Forbidden: the caller's scope is narrower than the organization.
    """
    require_whole_organization(principal, "change guardians and name them in students")


@follows_acceptance
def link_login(session: Session, invitation: Invitation) -> None:
    """Give a new member with the role guardian the guardian who has their e-mail address, if that is one person."""
    if invitation.role != Role.GUARDIAN.value:
        return
    own = Guardian.organization_id == invitation.organization_id
    found = session.scalars(
        select(Guardian)
        .where(own, Guardian.email_key == invitation.email_key, Guardian.user_id.is_(None), _IS_ALIVE)
        .limit(2)
        .with_for_update()
    ).all()
    if len(found) == 1:
        found[0].user_id = invitation.user_id
        session.flush()
