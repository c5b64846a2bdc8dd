"""Reads before the tenant is known: the user of an e-mail address, and their memberships."""

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
    """Return a user's memberships of active organizations, the one last used first."""
    return list(session.execute(_MEMBERSHIPS, {"user_id": user_id}))


def organizations_of(session: Session, user_id: UUID) -> list[UUID]:
    """Return the ids of all organizations with a membership of the user, including disabled ones."""
    return list(session.scalars(_ORGANIZATIONS, {"user_id": user_id}))


def user_of_identity(session: Session, *, issuer: str, subject: str, email: str | None) -> AnyRow | None:
    """Return the user to whom an identity is linked, else the user with the e-mail address who could be linked."""
    given = {"issuer": issuer, "subject": subject, "email_key": email_key(email) if email else None}
    return session.execute(_OF_IDENTITY, given).one_or_none()


def identities_of(session: Session, user_id: UUID) -> list[AnyRow]:
    """Return a user's identities at other issuers, oldest first."""
    return list(session.execute(_IDENTITIES, {"user_id": user_id}))
