"""Reads of invitations."""

from uuid import UUID

from sqlalchemy import case, func, select, text

from campshub.accounts.models import Invitation, Organization
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to

_LOCK_ADDRESS = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
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
        Invitation.sent_at,
        Invitation.expires_at,
        Invitation.version,
    )
    rows = select(*page.choose(columns)).where(visible_to(principal, Invitation))
    return page.of(session, rows, order=(Invitation.id,))


def find_invitation(session: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """Return an invitation without locking it; None if there is none."""
    return session.scalars(
        select(Invitation).where(Invitation.organization_id == organization_id, Invitation.id == invitation_id)
    ).one_or_none()


def lock_invitation(session: Session, organization_id: UUID, invitation_id: UUID) -> Invitation | None:
    """Lock an invitation and return it; None if there is none."""
    return session.scalars(
        select(Invitation)
        .where(Invitation.organization_id == organization_id, Invitation.id == invitation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def lock_address(session: Session, organization_id: UUID, email_key: str) -> Invitation | None:
    """Lock an address against concurrent invitations; return its open invitation, else its latest one, locked."""
    session.execute(_LOCK_ADDRESS, {"name": f"invitation:{organization_id}:{email_key}"})
    return session.scalars(
        select(Invitation)
        .where(Invitation.organization_id == organization_id, Invitation.email_key == email_key)
        .order_by(Invitation.accepted_at.is_(None).desc(), Invitation.revoked_at.is_(None).desc(), Invitation.id.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()


def password_length_min(session: Session) -> int:
    """Return the minimum password length in the organization of the unit of work."""
    return session.execute(
        select(Organization.password_length_min).where(Organization.id == session.unit.organization_id)
    ).scalar_one()
