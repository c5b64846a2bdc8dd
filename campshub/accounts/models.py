"""Organizations, users, roles, invitations, sessions and API keys."""

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
    CreatedByClient,
    TenantBase,
    VersionedBase,
    new_id,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.security.encrypted_columns import encrypted
from campshub.core.security.permissions import CUSTOM, ROLE_NAMES, Permission, Scope
from campshub.core.security.principal import everyone_sees

ORGANIZATION_STATUSES = ("active", "suspended", "closed")
USER_STATUSES = ("invited", "active", "disabled")
KEY_KINDS = ("key", "device")


class Organization(VersionedBase):
    """A tenant: one campus, camp or gym. Its row-level security policy compares the id itself."""

    __tablename__ = "organizations"
    __tag__ = "access"
    __table_args__ = (
        CheckConstraint(f"status IN {ORGANIZATION_STATUSES}", name="status"),
        CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
        CheckConstraint("password_length_min BETWEEN 8 AND 64", name="password_length_min"),
        CheckConstraint("requests_per_hour BETWEEN 1 AND 9999999", name="requests_per_hour"),
        CheckConstraint("submit_after_hours BETWEEN 1 AND 720", name="submit_after_hours"),
        CheckConstraint("lock_after_days BETWEEN 1 AND 365", name="lock_after_days"),
        CheckConstraint("late_after_minutes BETWEEN 0 AND 240", name="late_after_minutes"),
        CheckConstraint("left_early_before_minutes BETWEEN 0 AND 240", name="left_early_before_minutes"),
        CheckConstraint("check_in_days_back BETWEEN 1 AND 60", name="check_in_days_back"),
        CheckConstraint("open_gym_closes_at ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'", name="open_gym_closes_at"),
        CheckConstraint("open_gym_hours BETWEEN 1 AND 24", name="open_gym_hours"),
        CheckConstraint("check_in_ways <@ ARRAY['card', 'code', 'personal_code', 'search']", name="check_in_ways"),
        CheckConstraint("at_risk_rate BETWEEN 1 AND 100", name="at_risk_rate"),
        CheckConstraint("at_risk_weeks BETWEEN 1 AND 12", name="at_risk_weeks"),
        CheckConstraint("at_risk_absences BETWEEN 2 AND 30", name="at_risk_absences"),
        CheckConstraint("at_risk_days_away BETWEEN 2 AND 90", name="at_risk_days_away"),
        CheckConstraint("session_days_ahead BETWEEN 0 AND 60", name="session_days_ahead"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    closed_at: Mapped[datetime | None]
    time_zone: Mapped[str]
    currency: Mapped[str]
    locale: Mapped[str]
    password_length_min: Mapped[int] = mapped_column(default=12, server_default="12")
    # The roles whose users need a second factor: built-in ones by name, custom ones by id.
    mfa_roles: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))
    guardians_see_training: Mapped[bool] = mapped_column(default=False, server_default="false")
    # The rate limit of each user and key in its plan; None: the default from the settings.
    requests_per_hour: Mapped[int | None]
    submit_after_hours: Mapped[int | None]
    lock_after_days: Mapped[int | None]
    late_after_minutes: Mapped[int | None] = mapped_column(server_default="10")  # None: no event makes a mark late
    left_early_before_minutes: Mapped[int | None] = mapped_column(server_default="10")
    check_in_days_back: Mapped[int] = mapped_column(default=7, server_default="7")  # older events are refused
    check_in_networks: Mapped[list[str]] = mapped_column(default=list, server_default=text("'{}'"))  # none: all
    open_gym_hours: Mapped[int] = mapped_column(default=4, server_default="4")  # until a visit ends automatically
    open_gym_closes_at: Mapped[str | None]  # the local time at which visits end at the latest
    check_in_ways: Mapped[list[str]] = mapped_column(server_default=text("'{card,personal_code}'"))  # at kiosks
    # The rules of the at-risk list; None: the rule is off.
    at_risk_rate: Mapped[int | None]  # per cent
    at_risk_weeks: Mapped[int] = mapped_column(default=4, server_default="4")  # of the rate
    at_risk_absences: Mapped[int | None]
    at_risk_days_away: Mapped[int | None]
    session_days_ahead: Mapped[int] = mapped_column(default=14, server_default="14")  # for which sessions are created
    register_alert_after_minutes: Mapped[int | None]
    register_alert_admins_after_minutes: Mapped[int | None]
    absence_notice_after_minutes: Mapped[int | None]

    @property
    def organization_id(self) -> uuid.UUID:
        """The tenant that the row belongs to: itself."""
        return self.id


class OrganizationErasure(Base):
    """The record of an erased organization: its id, the times and the number of rows. It belongs to the platform."""

    __tablename__ = "organization_erasures"
    __tag__ = "access"
    __audited__ = False

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    closed_at: Mapped[datetime]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]]  # rows erased so far, by table


class User(VersionedBase):
    """A person who can sign in. The row has no tenant: it is visible through a membership of the organization."""

    __tablename__ = "users"
    __tag__ = "access"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint(f"status IN {USER_STATUSES}", name="status"),
    )
    __person__: ClassVar[str] = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(info=PERSONAL)
    email_key: Mapped[str] = mapped_column(info=PERSONAL)  # the normalized form for comparison: lower case, composed
    name: Mapped[str] = mapped_column(info=PERSONAL)
    sort_name: Mapped[str] = mapped_column(KEY, info=PERSONAL)  # the folded sort key
    status: Mapped[str] = mapped_column(default="active", server_default="active")
    session_version: Mapped[int] = mapped_column(default=1, server_default="1")


class UserCredential(Base):
    """A user's password hash; only definer functions read it."""

    __tablename__ = "user_credentials"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    password_hash: Mapped[str | None]
    changed_at: Mapped[datetime]


class PasswordReset(Base):
    """A password reset link that was sent to a user; only definer functions and jobs read it."""

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
    """The encrypted secret of a user's one-time codes; only definer functions read it."""

    __tablename__ = "totp_secrets"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[str] = mapped_column(info=encrypted("totp:{user_id}"))
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, server_default="0")  # of the last code that was used


class RecoveryCode(Base):
    """A recovery code for a lost second factor; only definer functions read it."""

    __tablename__ = "recovery_codes"
    __tag__ = "credentials"
    __audited__ = False

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[datetime | None]


class ExternalIdentity(Base):
    """A user's identity at another issuer; only definer functions read it."""

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
    """An ID token that was exchanged, until it expires; only definer functions read it."""

    __tablename__ = "exchanged_id_tokens"
    __tag__ = "credentials"
    __audited__ = False

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SignInAttempt(Base):
    """The failed sign-ins of an account or from an address; only definer functions read it."""

    __tablename__ = "sign_in_attempts"
    __tag__ = "credentials"
    __audited__ = False

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # a keyed hash
    failures: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)
    held_until: Mapped[datetime | None]
    # When each attempt in flight began.
    pending: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)), server_default=text("'{}'"))


class OwnRole(CreatedByClient, TenantBase):
    """A custom role of an organization; its permissions are part of its holders' caller state."""

    __tablename__ = "roles"
    __tag__ = "access"
    __table_args__ = (
        tenant_unique("name_key"),
        CheckConstraint(f"scope IN {tuple(scope.value for scope in Scope)}", name="scope"),
        CheckConstraint(f"'{Permission.ORGANIZATIONS_WRITE}' <> ALL (permissions)", name="permissions"),
    )

    name: Mapped[str]
    name_key: Mapped[str]  # the Unicode-folded form for comparison
    permissions: Mapped[list[str]]
    scope: Mapped[str]


class Membership(TenantBase):
    """A user's membership of an organization, with a built-in or a custom role."""

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
        # NULLs are distinct, so any number of members may have none.
        Index("uq_memberships_external_id", "organization_id", "external_id", unique=True),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]
    role_id: Mapped[uuid.UUID | None]
    external_id: Mapped[str | None]  # the user's id in another system of the organization
    status: Mapped[str] = mapped_column(default="active", server_default="active")


class Invitation(TenantBase):
    """An invitation to join an organization, accepted once by the owner of the address."""

    __tablename__ = "invitations"
    __tag__ = "invitations"
    __table_args__ = (
        tenant_foreign_key("role_id", "roles"),
        CheckConstraint(f"role IN {ROLE_NAMES}", name="role"),
        CheckConstraint(f"role = '{CUSTOM}' OR role_id IS NULL", name="own_role"),
        tenant_index("role_id"),
        CheckConstraint("(accepted_at IS NULL) = (user_id IS NULL)", name="accepted_by"),
        CheckConstraint("letters > 0", name="letters"),
        # One open invitation per address; an expired one counts as open here.
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
    email_key: Mapped[str] = mapped_column(info=PERSONAL)  # the normalized form for comparison: lower case, composed
    role: Mapped[str]
    role_id: Mapped[uuid.UUID | None]
    invited_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, info={**PERSONAL, **SECRET})
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    # How many e-mails the address got, including those of earlier invitations, and the time of the last one.
    letters: Mapped[int] = mapped_column(default=1, server_default="1")
    sent_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def status(self) -> str:
        """The status of a new invitation."""
        return "open"


class SignInSession(TenantBase):
    """A sign-in and its family of refresh tokens."""

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
    # The latest expiry of the session's access tokens; until then, the caller state must list an ended session.
    access_until: Mapped[datetime] = mapped_column(server_default=func.now())
    # The last time the password or the second factor was confirmed.
    authenticated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Raising the user's version ends every session with a lower one.
    session_version: Mapped[int] = mapped_column(server_default="1")
    # The role requires a second factor and the user has none: they may only set one up.
    must_enrol: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    # The issuer of the ID token has checked a second factor, which counts as ours.
    has_issuers_factor: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    ended_at: Mapped[datetime | None]


class ApiKey(TenantBase):
    """A key with which a program or a kiosk calls the API for the user who made it."""

    __tablename__ = "api_keys"
    __tag__ = "access"
    __table_args__ = (
        CheckConstraint(f"kind IN {KEY_KINDS}", name="kind"),
        CheckConstraint(
            "kind <> 'device' OR permissions <@ ARRAY['attendance:check_in', 'attendance:mark']", name="device"
        ),
        CheckConstraint(
            "NOT permissions && ARRAY['keys:write', 'me:read', 'me:write', 'organizations:write']", name="permissions"
        ),
        CheckConstraint(f"scope IN {tuple(scope.value for scope in Scope)}", name="scope"),
        Index(None, "prefix"),  # the lookup runs before the organization is known
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str]
    name: Mapped[str]  # of a device: its location
    prefix: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, info=SECRET)
    permissions: Mapped[list[str]]
    scope: Mapped[str]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiKeyUse(Base):
    """The addresses from which a key was used, with times. No cached response shows it, so a use stamps no tag."""

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
