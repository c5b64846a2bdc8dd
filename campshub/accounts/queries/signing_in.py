"""What must be known before the tenant is: who has an e-mail address, and where they belong."""

from uuid import UUID

from sqlalchemy import text

from campshub.core.db.base import AnyRow
from campshub.core.db.session import Session

_CREDENTIALS = text("SELECT * FROM credentials_of(:email_key)")
_ORGANIZATIONS = text("SELECT organizations_of(:user_id)")
_MEMBERSHIPS = text("SELECT * FROM memberships_of(:user_id)")


def email_key(email: str) -> str:
    """Return an e-mail address as it is compared."""
    return email.strip().casefold()


def credentials_of(session: Session, email: str) -> AnyRow | None:
    """Return id, status, session version and password hash of the user with an e-mail address."""
    return session.execute(_CREDENTIALS, {"email_key": email_key(email)}).one_or_none()


def memberships_of(session: Session, user_id: UUID) -> list[AnyRow]:
    """Return the active organizations that a user belongs to, the one last used first."""
    return list(session.execute(_MEMBERSHIPS, {"user_id": user_id}))


def organizations_of(session: Session, user_id: UUID) -> list[UUID]:
    """Return the ids of all organizations that list a user, also where they may do nothing any more."""
    return list(session.scalars(_ORGANIZATIONS, {"user_id": user_id}))
