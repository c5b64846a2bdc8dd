"""Reads of the audit log and of security events, newest first."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import literal, select, tuple_

from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import Invalid
from campshub.core.paging import Page, PageRequest
from campshub.core.security.audit import AuditEntry, PersonKey, opened_values, unwrap_person_key
from campshub.core.security.crypto import KeyRing
from campshub.core.security.events import SecurityEvent
from campshub.core.security.principal import Principal, visible_to

# The default range: the latest month, in one or two partitions.
USUAL_DAYS = 30
MOST_DAYS = 400
_AT_ONCE = 1_000
_DECRYPTED = ("before", "after")
COLUMNS = (
    AuditEntry.id,
    AuditEntry.recorded_on,
    AuditEntry.at,
    AuditEntry.user_id,
    AuditEntry.api_key_id,
    AuditEntry.address,
    AuditEntry.trace_id,
    AuditEntry.action,
    AuditEntry.entity,
    AuditEntry.entity_id,
    AuditEntry.person_id,
    AuditEntry.reason,
    AuditEntry.before,
    AuditEntry.after,
)
_EVENT_COLUMNS = (
    SecurityEvent.id,
    SecurityEvent.at,
    SecurityEvent.kind,
    SecurityEvent.user_id,
    SecurityEvent.api_key_id,
    SecurityEvent.address,
    SecurityEvent.trace_id,
)


def list_entries(
    session: Session, principal: Principal, ring: KeyRing, *, now: datetime, page: PageRequest, **filters: Any
) -> Page:
    """List the changes of a range of dates (UTC), with the values before and after.

    Personal values are decrypted with the person's key. The values of an erased person cannot be decrypted and are
    ``{"erased": true}``.

    :raises Invalid: the dates are not a valid range.
    """
    first_date, last_date = resolve_dates(now, filters.pop("first_date"), filters.pop("last_date"))
    given = [getattr(AuditEntry, name) == value for name, value in filters.items() if value is not None]
    rows = select(*COLUMNS).where(
        visible_to(principal, AuditEntry),
        AuditEntry.recorded_on >= first_date,
        AuditEntry.recorded_on <= last_date,
        *given,
    )
    found = page.of(session, rows, order=(AuditEntry.recorded_on, AuditEntry.id))
    return replace(found, rows=opened(session, principal.organization_id, ring, found.rows))


def list_events(session: Session, principal: Principal, *, page: PageRequest, **filters: Any) -> Page:
    """List the security events of the organization."""
    given = [getattr(SecurityEvent, name) == value for name, value in filters.items() if value is not None]
    rows = select(*page.choose(_EVENT_COLUMNS)).where(visible_to(principal, SecurityEvent), *given)
    return page.of(session, rows, order=(SecurityEvent.id,))


def opened(session: Session, organization_id: UUID, ring: KeyRing, rows: Any) -> list[dict[str, Any]]:
    """Return entries with personal values decrypted; one query reads all keys."""
    people = {row.person_id for row in rows if row.person_id is not None}
    keys = _keys_of(session, organization_id, ring, people) if people else {}
    return [_opened(row, keys.get(row.person_id)) for row in rows]


def every_entry(
    session: Session, organization_id: UUID, ring: KeyRing, *, first_date: date, last_date: date
) -> Iterator[dict[str, Any]]:
    """Yield the entries of a range of dates (UTC), oldest first, with at most one page of them in memory."""
    after: tuple[Any, Any] = (first_date, UUID(int=0))
    while True:
        rows = session.execute(
            select(*COLUMNS)
            .where(
                AuditEntry.organization_id == organization_id,
                AuditEntry.recorded_on.between(after[0], last_date),
                tuple_(AuditEntry.recorded_on, AuditEntry.id) > tuple_(*map(literal, after)),
            )
            .order_by(AuditEntry.recorded_on, AuditEntry.id)
            .limit(_AT_ONCE)
        ).all()
        yield from opened(session, organization_id, ring, rows)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].recorded_on, rows[-1].id


def resolve_dates(now: datetime, first_date: date | None, last_date: date | None) -> tuple[date, date]:
    """Return the first and the last date of a range; missing dates default to the latest ones.

    :raises Invalid: the last date is before the first, or the range is too long.
    """
    last_date = last_date or (first_date + timedelta(days=USUAL_DAYS) if first_date else now.astimezone(UTC).date())
    first_date = first_date or last_date - timedelta(days=USUAL_DAYS)
    if last_date < first_date:
        raise Invalid.at("/to", "invalid", "The last date is before the first.")
    if (last_date - first_date).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"The last date must be at most {MOST_DAYS} days after the first.")
    return first_date, last_date


def _keys_of(session: Session, organization_id: UUID, ring: KeyRing, people: set[UUID]) -> dict[UUID, bytes]:
    rows = session.execute(
        select(PersonKey.id, PersonKey.sealed_key)
        .where(
            PersonKey.organization_id == organization_id, PersonKey.id.in_(people), PersonKey.sealed_key.is_not(None)
        )
        .limit(len(people))
    )
    return {id_: unwrap_person_key(ring, organization_id, id_, str(sealed)) for id_, sealed in rows}


def _opened(row: AnyRow, key: bytes | None) -> dict[str, Any]:
    shown = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    return shown | {name: opened_values(row.entity, row.entity_id, shown[name], key) for name in _DECRYPTED}
