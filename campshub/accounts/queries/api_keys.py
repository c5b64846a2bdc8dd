"""Reads of API keys."""

from uuid import UUID

from sqlalchemy import case, func, select, true

from campshub.accounts.models import ApiKey, ApiKeyUse
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to

_LAST = (
    select(ApiKeyUse.last_used_at, ApiKeyUse.address.label("last_address"))
    .where(ApiKeyUse.organization_id == ApiKey.organization_id, ApiKeyUse.api_key_id == ApiKey.id)
    .order_by(ApiKeyUse.last_used_at.desc())
    .limit(1)
    .correlate(ApiKey)
    .lateral("last_use")
)
COLUMNS = (
    ApiKey.id,
    ApiKey.kind,
    ApiKey.name,
    ApiKey.prefix,
    ApiKey.permissions,
    ApiKey.scope,
    case(
        (ApiKey.revoked_at.is_not(None), "revoked"), (ApiKey.expires_at <= func.now(), "expired"), else_="active"
    ).label("status"),
    ApiKey.user_id,
    ApiKey.created_at,
    ApiKey.expires_at,
    ApiKey.revoked_at,
    _LAST.c.last_used_at,
    _LAST.c.last_address,
    ApiKey.version,
)


def list_keys(session: Session, principal: Principal, *, page: PageRequest) -> Page:
    """List the organization's keys, including expired and revoked ones."""
    return page.read(session, _keys(principal, page=page))


@prepared
def _keys(principal: Principal, *, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).select_from(ApiKey).outerjoin(_LAST, true())
    return page.ordered(rows.where(visible_to(principal, ApiKey)), order=(ApiKey.id,))


def organizations_with(session: Session, prefix: str) -> list[UUID]:
    """Return the organizations that have a key with a prefix; needs the system role."""
    return list(session.scalars(select(ApiKey.organization_id).where(ApiKey.prefix == prefix).distinct()))


def get_key(session: Session, principal: Principal, api_key_id: UUID) -> AnyRow:
    """Return one key.

    :raises NotFound: the principal sees no such key.
    """
    row = session.execute(_key(principal, api_key_id=api_key_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _key(principal: Principal, *, api_key_id: UUID) -> AnySelect:
    rows = select(*COLUMNS).select_from(ApiKey).outerjoin(_LAST, true())
    return rows.where(visible_to(principal, ApiKey), ApiKey.id == api_key_id)
