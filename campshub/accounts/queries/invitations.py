"""Reads of invitations."""

from uuid import UUID

from sqlalchemy import case, func, select

from campshub.accounts.models import Invitation, Organization
from campshub.core.db.session import Session
from campshub.core.http.pagination import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to

_STATUS = case(
    (Invitation.accepted_at.is_not(None), "accepted"),
    (Invitation.revoked_at.is_not(None), "revoked"),
    (Invitation.expires_at <= func.now(), "expired"),
    else_="open",
)


def list_invitations(session: Session, principal: Principal, *, page: PageRequest) -> Page:
    """List the organization's invitations."""
    columns = (
        Invitation.id,
        Invitation.email,
        Invitation.role,
        Invitation.role_id,
        _STATUS.label("status"),
        Invitation.created_at,
        Invitation.expires_at,
        Invitation.version,
    )
    rows = select(*page.choose(columns)).where(visible_to(principal, Invitation))
    return page.of(session, rows, order=(Invitation.id,))


def find_invitation(session: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """Return an invitation, as it is at this moment; None where there is no such one."""
    return session.scalars(
        select(Invitation).where(Invitation.organization_id == organization_id, Invitation.id == invitation_id)
    ).one_or_none()


def lock_invitation(session: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """Return an invitation and keep others from changing it; None where there is no such one."""
    return session.scalars(
        select(Invitation)
        .where(Invitation.organization_id == organization_id, Invitation.id == invitation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def password_length_min(session: Session) -> int:
    """Return how long a password must be in the organization that the unit has entered."""
    return session.execute(
        select(Organization.password_length_min).where(Organization.id == session.unit.organization_id)
    ).scalar_one()
