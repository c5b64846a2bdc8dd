"""API keys for programs and kiosks: create and revoke.

A key acts for the user who made it, and is limited to their current permissions, so it ends with their membership.
To rotate a key without a gap, create the second before you revoke the first.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import ApiKey
from campshub.accounts.queries import api_keys as queries
from campshub.accounts.service.mfa import require_recent
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import lock
from campshub.core.errors import Forbidden, Invalid
from campshub.core.security import api_keys, events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.opaque import hash_of
from campshub.core.security.permissions import OF_DEVICES, grant_of
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

DEVICE = "device"


class KeyNotYours(Forbidden):
    """An API key cannot have more permissions or a wider scope than its creator."""

    code = "key_not_yours"
    default_detail = "An API key cannot have more permissions or a wider scope than its creator."


def create(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    kind: str,
    name: str,
    permissions: Sequence[str] | None,
    scope: str | None,
    expires_in_days: int,
    now: datetime,
) -> dict[str, Any]:
    """Create a key and return it with its secret, which is shown only this once.

    :raises StepUpRequired: the password was not confirmed recently.
    :raises KeyNotYours: the key would have more permissions or a wider scope than the principal.
    :raises Invalid: the expiry is too far away, or the permissions are missing or wrong for the kind.
    """
    require_recent(session, principal, services, now)
    wanted = _permissions_for(kind, permissions)
    _check_expiry(services, kind, expires_in_days)
    scope = scope or principal.scope.value
    if not principal.grant.covers(grant_of(wanted, scope)):
        raise KeyNotYours
    key, prefix = api_keys.new_key()
    made = ApiKey(
        id=new_id(),
        user_id=principal.user_id,
        kind=kind,
        name=name,
        prefix=prefix,
        secret_hash=hash_of(key),
        permissions=wanted,
        scope=scope,
        expires_at=now + timedelta(days=expires_in_days),
    )
    session.add(made)
    session.flush()
    events.record_event(session, SecurityEventKind.KEY_MADE, principal.user_id, api_key_id=made.id)
    return {**_shown(made), "key": key}


def revoke(session: Session, principal: Principal, services: Services, *, api_key_id: UUID, now: datetime) -> None:
    """Revoke a key; it is refused from the next request on.

    :raises NotFound: there is no such key, or it is already revoked.
    :raises StepUpRequired: the password was not confirmed recently.
    """
    key = lock(session, principal, ApiKey, api_key_id, ApiKey.revoked_at.is_(None))
    require_recent(session, principal, services, now)
    _revoke(session, key, by=principal.user_id, now=now)


def revoke_leaked(session: Session, *, organization_id: UUID, prefix: str, now: datetime) -> list[ApiKey]:
    """Revoke the keys with a prefix and return them; needs the system role."""
    found = session.scalars(
        select(ApiKey)
        .where(ApiKey.organization_id == organization_id, ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
        .with_for_update()
    ).all()
    for key in found:
        _revoke(session, key, by=None, now=now)
    return list(found)


def _revoke(session: Session, key: ApiKey, *, by: UUID | None, now: datetime) -> None:
    key.revoked_at = now
    events.record_event(session, SecurityEventKind.KEY_REVOKED, by, api_key_id=key.id)


def _check_expiry(services: Services, kind: str, days: int) -> None:
    most = services.settings.device_key_days if kind == DEVICE else services.settings.api_key_days
    if days > most:
        raise Invalid.at("/expires_in_days", "too_long", f"A key of this kind is valid for at most {most} days.")


def _permissions_for(kind: str, given: Sequence[str] | None) -> list[str]:
    if kind == DEVICE:
        if given is not None and set(given) != OF_DEVICES:
            raise Invalid.at("/permissions", "of_devices", "A device key can only mark attendance and send check-ins.")
        return sorted(OF_DEVICES)
    if given is None:
        raise Invalid.at("/permissions", "required", "Name the permissions of the key.")
    return sorted(set(given))


def _shown(key: ApiKey) -> dict[str, Any]:
    """Return a new key in the form of the list."""
    unused = {"status": "active", "last_used_at": None, "last_address": None}
    return {column.key: unused.get(column.key) or getattr(key, column.key, None) for column in queries.COLUMNS}
