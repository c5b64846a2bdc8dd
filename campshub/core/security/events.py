"""Security events: sign-ins, tokens and refusals, recorded for admins and counted as metrics."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, new_id, tenant_index
from campshub.core.db.session import Session
from campshub.core.observe import metrics


class SecurityEventKind(StrEnum):
    """The kinds of security events."""

    DISABLED = "user_disabled"
    ENABLED = "user_enabled"
    KEY_FROM_NEW_ADDRESS = "key_from_new_address"
    KEY_MADE = "key_made"
    KEY_REVOKED = "key_revoked"
    ID_TOKEN_REFUSED = "id_token_refused"  # noqa: S105 - a name
    IDENTITY_LINKED = "identity_linked"
    IDENTITY_UNLINKED = "identity_unlinked"
    MFA_ENROLLED = "mfa_enrolled"
    MFA_REMOVED = "mfa_removed"
    ORGANIZATION_CLOSED = "organization_closed"
    ORGANIZATION_RESUMED = "organization_resumed"
    ORGANIZATION_SUSPENDED = "organization_suspended"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a name
    PERMISSION_DENIED = "permission_denied"
    REFRESH_REUSED = "refresh_reused"
    ROLE_CHANGED = "role_changed"
    SESSION_ENDED = "session_ended"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_IN_LOCKED = "sign_in_locked"
    SIGNED_OUT_EVERYWHERE = "signed_out_everywhere"


class SecurityEvent(Base):
    """One event; append-only for the application."""

    __tablename__ = "security_events"
    __table_args__ = (tenant_index("user_id", "id"),)
    __tag__ = "security"
    __audited__: ClassVar[bool] = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    kind: Mapped[str]
    user_id: Mapped[uuid.UUID | None]
    # The API key that the event is about, or with which the request came.
    api_key_id: Mapped[uuid.UUID | None]
    address: Mapped[str | None]
    trace_id: Mapped[str]


def record_event(
    session: Session, kind: SecurityEventKind, user_id: uuid.UUID | None, *, api_key_id: uuid.UUID | None = None
) -> None:
    """Record an event in the unit's organization, and count it."""
    unit = session.unit
    metrics.security_events.labels(kind.value).inc()
    session.add(
        SecurityEvent(
            organization_id=unit.organization_id,
            id=new_id(),
            at=unit.now,
            kind=kind.value,
            user_id=user_id,
            api_key_id=api_key_id or unit.api_key_id,
            address=unit.address,
            trace_id=unit.trace_id,
        )
    )
