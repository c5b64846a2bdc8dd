"""Reads of sign-in sessions."""

from uuid import UUID

from sqlalchemy import func, select

from campshub.accounts.models import SignInSession, User
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to


def lock_session(session: Session, organization_id: UUID, session_id: UUID | None) -> SignInSession | None:
    """Lock a sign-in session and return it; None if there is none."""
    return session.scalars(
        select(SignInSession)
        .where(SignInSession.organization_id == organization_id, SignInSession.id == session_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def list_sessions(session: Session, principal: Principal, *, page: PageRequest) -> Page:
    """List the user's active sign-in sessions in this organization."""
    expires_at = func.least(SignInSession.idle_until, SignInSession.expires_at)
    columns = (
        SignInSession.id,
        SignInSession.created_at,
        SignInSession.rotated_at.label("last_used_at"),
        expires_at.label("expires_at"),
        SignInSession.address,
        SignInSession.user_agent,
        (SignInSession.id == principal.session_id).label("is_current"),
    )
    rows = (
        select(*page.choose(columns))
        .join(User, User.id == SignInSession.user_id)
        .where(
            visible_to(principal, SignInSession),
            SignInSession.user_id == principal.user_id,
            SignInSession.ended_at.is_(None),
            SignInSession.session_version == User.session_version,
            expires_at > func.now(),
        )
    )
    return page.of(session, rows, order=(SignInSession.id,))
