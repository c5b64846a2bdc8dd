"""Organizations, the users who belong to them, and their signing in."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    KEY,
    PERSONAL,
    SECRET,
    Base,
    ClientMade,
    TenantBase,
    VersionedBase,
    new_id,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.security.encrypted_columns import sealed_in
from campshub.core.security.permissions import CUSTOM, ROLE_NAMES, Permission, Scope
from campshub.core.security.principal import everyone_sees

ORGANIZATION_STATUSES = ("active", "suspended", "closed")
USER_STATUSES = ("invited", "active", "disabled")
KEY_KINDS = ("key", "device")


class Organization(VersionedBase):
    """A tenant: one campus, camp or gym. Its policy compares the id itself."""

    __tablename__ = "organizations"
    __tag__ = "access"
    __table_args__ = (
        CheckConstraint(f"status IN {ORGANIZATION_STATUSES}", name="status"),
        CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
        CheckConstraint("password_length_min BETWEEN 8 AND 64", name="password_length_min"),
        CheckConstraint("requests_per_hour BETWEEN 1 AND 9999999", name="requests_per_hour"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    closed_at: Mapped[datetime | None]
    time_zone: Mapped[str]
    currency: Mapped[str]
    locale: Mapped[str]
    password_length_min: Mapped[int] = mapped_column(default=12, server_default="12")
    # The roles whose users need a second factor: built-in ones by name, own ones by id.
    mfa_roles: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    # What its plan allows each user and key; none: what the settings say.
    requests_per_hour: Mapped[int | None]

    @property
    def organization_id(self) -> uuid.UUID:
        """The tenant that the row belongs to: itself."""
        return self.id


class OrganizationErasure(Base):
    """What stays of an organization that was erased: its id, when, and how many rows it had. The platform's own."""

    __tablename__ = "organization_erasures"
    __tag__ = "access"
    __audited__ = False

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    closed_at: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]]  # rows erased so far, by table


class User(VersionedBase):
    """A person who can sign in; not a tenant's row: seen through a membership of the current organization."""

    __tablename__ = "users"
    __tag__ = "access"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint(f"status IN {USER_STATUSES}", name="status"),
    )
    __person__: ClassVar[str] = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(info=PERSONAL)
    email_key: Mapped[str] = mapped_column(info=PERSONAL)  # as it is compared: in lower case, composed
    name: Mapped[str] = mapped_column(info=PERSONAL)
    sort_name: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # as lists are ordered: folded
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    session_version: Mapped[int] = mapped_column(default=1, server_default="1")


class UserCredential(Base):
    """What a user proves themselves with; only definer functions read it."""

    __tablename__ = "user_credentials"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    password_hash: Mapped[str | None]
    changed_at: Mapped[datetime]


class PasswordReset(Base):
    """A link for a new password that was sent to a user; only definer functions and jobs read it."""

    __tablename__ = "password_resets"
    __tag__ = "credentials"
    __audited__ = False

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TotpSecret(Base):
    """The sealed secret of a user's one-time codes; only definer functions read it."""

    __tablename__ = "totp_secrets"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[str] = mapped_column(info=sealed_in("totp:{user_id}"))
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, server_default="0")  # of the last code that was used


class RecoveryCode(Base):
    """A code for whoever has lost their second factor; only definer functions read it."""

    __tablename__ = "recovery_codes"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[datetime | None]


class ExternalIdentity(Base):
    """Who a user is at another issuer; only definer functions read it."""

    __tablename__ = "external_identities"
    __tag__ = "credentials"
    __audited__ = False
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ExchangedIdToken(Base):
    """An ID token that was exchanged, until it has run out; only definer functions read it."""

    __tablename__ = "exchanged_id_tokens"
    __tag__ = "credentials"
    __audited__ = False

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SignInAttempt(Base):
    """How often signing in has failed for an account or from an address; only definer functions read it."""

    __tablename__ = "sign_in_attempts"
    __tag__ = "credentials"
    __audited__ = False

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # a keyed hash
    failures: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)
    held_until: Mapped[datetime | None]
    # When each attempt in flight began.
    pending: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)), server_default=text("'{}'"))


class OwnRole(ClientMade, TenantBase):
    """A role of the organization's own; what it allows is part of the state of whoever has it."""

    __tablename__ = "roles"
    __tag__ = "access"
    __table_args__ = (
        tenant_unique("name_key"),
        CheckConstraint(f"scope IN {tuple(scope.value for scope in Scope)}", name="scope"),
        CheckConstraint(f"'{Permission.ORGANIZATIONS_WRITE}' <> ALL (permissions)", name="permissions"),
    )

    name: Mapped[str]
    name_key: Mapped[str]  # as it is compared: Unicode-folded
    permissions: Mapped[list[str]]
    scope: Mapped[str]


class Membership(TenantBase):
    """A user's belonging to an organization, with a role: a built-in one, or one of the organization's own."""

    __tablename__ = "memberships"
    __tag__ = "access"
    __table_args__ = (
        tenant_unique("user_id"),
        tenant_foreign_key("role_id", "roles"),
        CheckConstraint(f"role IN {ROLE_NAMES}", name="role"),
        CheckConstraint(f"(role = '{CUSTOM}') = (role_id IS NOT NULL)", name="own_role"),
        CheckConstraint("status IN ('active', 'disabled')", name="status"),
        tenant_index("role"),
        tenant_index("role_id"),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]
    role_id: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(default="active", server_default="active")


class Invitation(TenantBase):
    """An invitation to belong to an organization, accepted once by whoever has the address."""

    __tablename__ = "invitations"
    __tag__ = "invitations"
    __table_args__ = (
        tenant_foreign_key("role_id", "roles", ondelete="SET NULL (role_id)"),
        CheckConstraint(f"role IN {ROLE_NAMES}", name="role"),
        CheckConstraint(f"role = '{CUSTOM}' OR role_id IS NULL", name="own_role"),
        tenant_index("role_id"),
        CheckConstraint("(accepted_at IS NULL) = (user_id IS NULL)", name="accepted_by"),
        CheckConstraint("letters > 0", name="letters"),
        # One of an address is open; whether it has expired only the clock says.
        tenant_index(
            "email_key",
            name="uq_invitations_open",
            unique=True,
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
        ),
        tenant_index("email_key"),
    )
    __person__: ClassVar[str] = "user_id"

    email: Mapped[str] = mapped_column(info=PERSONAL)
    email_key: Mapped[str] = mapped_column(info=PERSONAL)  # as it is compared: in lower case, composed
    role: Mapped[str]
    role_id: Mapped[uuid.UUID | None]
    invited_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, info={**PERSONAL, **SECRET})
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    # How many e-mails with a link the address was sent, those of the invitations before included, and the last one.
    letters: Mapped[int] = mapped_column(default=1, server_default="1")
    sent_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def status(self) -> str:
        """What a new one is."""
        return "open"


class SignInSession(TenantBase):
    """A sign-in and the family of refresh tokens that came of it."""

    __tablename__ = "sign_in_sessions"
    __tag__ = "sign_ins"
    __audited__ = False
    __table_args__ = (
        Index(None, "user_id", "organization_id"),
        tenant_index(
            "user_id", "access_until", name="ix_sign_in_sessions_ended", postgresql_where=text("ended_at IS NOT NULL")
        ),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    refresh_hash: Mapped[bytes] = mapped_column(LargeBinary, info=SECRET)
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=SECRET)
    rotated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    idle_until: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    # Until when an access token of the session may be about: so long its end must be told.
    access_until: Mapped[datetime] = mapped_column(server_default=func.now())
    # When a password or a second factor was shown last.
    authenticated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Raising the user's ends every session with another one.
    session_version: Mapped[int] = mapped_column(server_default="1")
    # The role needs a second factor and the user has none: they may set one up, and no more.
    must_enrol: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # The issuer of the ID token has asked for a second factor, and that counts.
    has_issuers_factor: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    ended_at: Mapped[datetime | None]


class ApiKey(TenantBase):
    """A key with which a program or a kiosk asks, for the user who made it."""

    __tablename__ = "api_keys"
    __tag__ = "access"
    __table_args__ = (
        CheckConstraint(f"kind IN {KEY_KINDS}", name="kind"),
        CheckConstraint("kind <> 'device' OR permissions = ARRAY['attendance:mark']", name="device"),
        CheckConstraint(
            "NOT permissions && ARRAY['keys:write', 'me:read', 'me:write', 'organizations:write']", name="permissions"
        ),
        CheckConstraint(f"scope IN {tuple(scope.value for scope in Scope)}", name="scope"),
        Index(None, "prefix"),  # it is looked for before the organization is known
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str]
    name: Mapped[str]  # of a device: the place where it stands
    prefix: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, info=SECRET)
    permissions: Mapped[list[str]]
    scope: Mapped[str]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiKeyUse(Base):
    """Where a key was used from, and when last; no kept answer shows it, so that nobody is told of each use."""

    __tablename__ = "api_key_uses"
    __tag__ = "key_uses"
    __audited__ = False
    __table_args__ = (tenant_foreign_key("api_key_id", "api_keys", ondelete="CASCADE"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    api_key_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    first_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())


everyone_sees(OwnRole)
everyone_sees(ApiKey)
everyone_sees(ApiKeyUse)
everyone_sees(Membership)
everyone_sees(SignInSession)
everyone_sees(Invitation)
