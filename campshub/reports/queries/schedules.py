"""Reads of schedules."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from campshub.accounts.models import Membership, Organization, User
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.models import ReportSchedule
from campshub.reports.queries.visibility import Reach, reach_of, schedules_of

COLUMNS = (
    ReportSchedule.id,
    ReportSchedule.user_id,
    ReportSchedule.name,
    ReportSchedule.kind,
    ReportSchedule.format,
    ReportSchedule.parameters,
    ReportSchedule.frequency,
    ReportSchedule.weekday,
    ReportSchedule.day,
    ReportSchedule.local_time,
    ReportSchedule.recipient_ids,
    ReportSchedule.is_paused,
    ReportSchedule.next_at,
    ReportSchedule.created_at,
    ReportSchedule.updated_at,
    ReportSchedule.version,
)


def list_schedules(session: Session, principal: Principal, *, page: PageRequest) -> Page:
    """List the schedules that the principal sees."""
    return page.read(session, _listed(principal, reach=reach_of(principal), page=page))


@prepared
def _listed(principal: Principal, *, reach: Reach, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(schedules_of(principal, reach))
    return page.ordered(rows, order=(ReportSchedule.id,))


def get_schedule(session: Session, principal: Principal, schedule_id: UUID) -> Any:
    """Return one schedule.

    :raises NotFound: the principal sees no such schedule.
    """
    row = session.execute(_one(principal, reach=reach_of(principal), schedule_id=schedule_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, reach: Reach, schedule_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(schedules_of(principal, reach), ReportSchedule.id == schedule_id)


def members_and_schedules(
    session: Session, principal: Principal, user_ids: Sequence[UUID], *, most: int
) -> tuple[set[UUID], int, str]:
    """Return the members among ``user_ids``, the number of the principal's schedules (up to ``most``), the time zone.

    This locks the organization's time zone until the transaction ends.
    """
    members = select(Membership.user_id).where(
        visible_to(principal, Membership), Membership.status == "active", Membership.user_id.in_(user_ids)
    )
    own = select(ReportSchedule.id).where(schedules_of(principal, Reach.OWN)).limit(most).subquery()
    counted = select(func.count()).select_from(own).scalar_subquery()
    row = session.execute(
        select(func.array(members.scalar_subquery()), counted, Organization.time_zone)
        .where(Organization.id == principal.organization_id)
        .with_for_update(read=True, of=Organization)
    ).one()
    return set(row[0]), row[1], row[2]


def email_of(session: Session, user_id: UUID) -> str | None:
    """Return the e-mail address of an active user."""
    return session.scalar(select(User.email).where(User.id == user_id, User.status == "active"))


def organization_of(session: Session, organization_id: UUID) -> Any:
    """Return an organization's name, time zone and language."""
    columns = (Organization.name, Organization.time_zone, Organization.locale)
    return session.execute(select(*columns).where(Organization.id == organization_id)).one()
