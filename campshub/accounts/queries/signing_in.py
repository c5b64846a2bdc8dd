"""What must be known before the tenant is: who has an e-mail address, and where they belong."""

from uuid import UUID

from sqlalchemy import text

from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.normalization import email_key

_CREDENTIALS = text("SELECT * FROM credentials_of(:email_key)")
_ORGANIZATIONS = text("SELECT organizations_of(:user_id)")
_OF_IDENTITY = text("SELECT * FROM identity_user(:issuer, :subject, :email_key)")
_IDENTITIES = text("SELECT * FROM identities_of(:user_id)")
_MEMBERSHIPS = text("SELECT * FROM memberships_of(:user_id)")


def credentials_of(session: Session, email: str) -> AnyRow | None:
    """Return id, status, session version and password hash of the user with an e-mail address."""
    return session.execute(_CREDENTIALS, {"email_key": email_key(email)}).one_or_none()


def memberships_of(session: Session, user_id: UUID) -> list[AnyRow]:
    """Return the active organizations that a user belongs to, the one last used first."""
    return list(session.execute(_MEMBERSHIPS, {"user_id": user_id}))


def organizations_of(session: Session, user_id: UUID) -> list[UUID]:
    """Return the ids of all organizations that list a user, also where they may do nothing any more."""
    return list(session.scalars(_ORGANIZATIONS, {"user_id": user_id}))


def user_of_identity(session: Session, *, issuer: str, subject: str, email: str | None) -> AnyRow | None:
    """Return the user whom an identity is linked to; else the one who has the e-mail address and could be linked."""
    given = {"issuer": issuer, "subject": subject, "email_key": email_key(email) if email else None}
    return session.execute(_OF_IDENTITY, given).one_or_none()


def identities_of(session: Session, user_id: UUID) -> list[AnyRow]:
    """Return a user's identities at other issuers, the first one first."""
    return list(session.execute(_IDENTITIES, {"user_id": user_id}))
