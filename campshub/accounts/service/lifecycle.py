"""The lifecycle of an organization: active, suspended (no access, data stays), closed (erased later)."""

from datetime import datetime, timedelta
from typing import TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Membership, Organization, OrganizationErasure, User
from campshub.accounts.service import mfa
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.retention import erase_row, erase_some, erase_some_with, tenant_models
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, NotFound
from campshub.core.security import events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

_KINDS = {
    "active": SecurityEventKind.ORGANIZATION_RESUMED,
    "suspended": SecurityEventKind.ORGANIZATION_SUSPENDED,
    "closed": SecurityEventKind.ORGANIZATION_CLOSED,
}


class ErasureBegun(Conflict):
    """The organization is being erased; this cannot be undone."""

    code = "erasure_begun"
    default_detail = "The organization is being erased; this cannot be undone."


class NotClosed(Conflict):
    """This organization is not closed."""

    code = "not_closed"
    default_detail = "This organization is not closed."


class NotDue(Conflict):
    """The organization was closed too recently."""

    code = "not_due"
    default_detail = "The organization was closed too recently."


def close(session: Session, principal: Principal, services: Services, *, now: datetime) -> Organization:
    """Close the principal's own organization.

    :raises StepUpRequired: the password was not confirmed recently.
    """
    mfa.require_recent(session, principal, services, now)
    return _set(session, _lock(session, principal.organization_id), "closed", now)


class Plan(TypedDict, total=False):
    """What an organization pays for; an omitted limit stays, and None is the default."""

    requests_per_hour: int | None


def change(
    session: Session,
    *,
    organization_id: UUID,
    now: datetime,
    expected: Versions = None,
    status: str | None = None,
    **plan: Unpack[Plan],
) -> Organization:
    """Change the state or plan of any organization, recorded in its own audit log; needs the system role.

    :raises NotFound: there is no such organization.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises ErasureBegun: it is being erased.
    """
    session.enter(organization_id, session.unit.user_id)
    organization = _lock(session, organization_id)
    require_version(organization, expected)
    if organization.status == "closed" and session.get(OrganizationErasure, organization_id) is not None:
        raise ErasureBegun
    if "requests_per_hour" in plan:
        organization.requests_per_hour = plan["requests_per_hour"]
    return _set(session, organization, status or organization.status, now)


def due(session: Session, *, before: datetime) -> list[UUID]:
    """Return the organizations closed before an instant, and those with an unfinished erasure."""
    closed = select(Organization.id).where(Organization.status == "closed", Organization.closed_at <= before)
    begun = select(OrganizationErasure.id).where(OrganizationErasure.finished_at.is_(None))
    return sorted({*session.scalars(closed), *session.scalars(begun)})


def begin_erasure(session: Session, *, organization_id: UUID, days: int, now: datetime) -> None:
    """Record that an organization's erasure has begun; from then on it cannot be reopened.

    :raises NotFound: there is no such organization.
    :raises NotClosed: it is not closed.
    :raises NotDue: it was closed less than ``days`` days ago.
    """
    if _is_begun(session, organization_id):
        return
    organization = _lock(session, organization_id)
    if _is_begun(session, organization_id):  # by another process, meanwhile
        return
    if organization.closed_at is None:
        raise NotClosed
    if organization.closed_at > now - timedelta(days=days):
        raise NotDue
    session.add(
        OrganizationErasure(
            id=organization_id, closed_at=organization.closed_at, started_at=now, finished_at=None, counts={}
        )
    )


def erase_next(session: Session, *, organization_id: UUID, most: int, now: datetime) -> tuple[str, int] | None:
    """Erase the next batch; return the table and the number of rows, or None when nothing is left.

    The organization's row is deleted after all its other rows. Then all tables are searched once more, for rows that a
    request in flight may have written.
    """
    erasure = session.scalars(
        select(OrganizationErasure).where(OrganizationErasure.id == organization_id).with_for_update()
    ).one()
    # Memberships last: their users are erased with them, and other rows refer to the users.
    for model in sorted(tenant_models(), key=lambda model: model is Membership):
        found = _erase(session, model, organization_id, most)
        if any(found.values()):
            return _record(erasure, found)
    if erase_row(session, Organization, organization_id):
        return _record(erasure, {Organization.__tablename__: 1})
    erasure.finished_at = erasure.finished_at or now
    return None


def _lock(session: Session, organization_id: UUID) -> Organization:
    organization = session.scalars(
        select(Organization).where(Organization.id == organization_id, Organization.id != PLATFORM_ID).with_for_update()
    ).one_or_none()
    if organization is None:
        raise NotFound
    return organization


def _is_begun(session: Session, organization_id: UUID) -> bool:
    begun = session.get(OrganizationErasure, organization_id)
    return begun is not None and begun.finished_at is None


def _set(session: Session, organization: Organization, status: str, now: datetime) -> Organization:
    if organization.status != status:
        organization.status = status
        organization.closed_at = now if status == "closed" else None
        events.record_event(session, _KINDS[status], session.unit.user_id)
    return organization


def _erase(session: Session, model: type, organization_id: UUID, most: int) -> dict[str, int]:
    """Erase some rows of one table; users without another membership are erased with theirs."""
    if model is not Membership:
        return {model.__tablename__: erase_some(session, model, organization_id, most=most)}  # type: ignore[attr-defined]
    memberships, users = erase_some_with(session, model, User, organization_id, by="user_id", most=most)
    return {model.__tablename__: memberships, User.__tablename__: users}


def _record(erasure: OrganizationErasure, found: dict[str, int]) -> tuple[str, int]:
    counts = erasure.counts
    erasure.counts = {**counts, **{name: counts.get(name, 0) + count for name, count in found.items() if count}}
    return next(iter(found.items()))
