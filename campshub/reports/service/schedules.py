"""Schedules: creating and changing them, and requesting the reports that are due.

A row of ``report_slots`` claims a schedule's time. It is written in the same transaction as the report and its job, so
the report is made once, whatever the number of beats, workers and retries.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Organization
from campshub.accounts.service.organizations import follows_time_zone, lock_time_zone
from campshub.core.db import creates
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.db.writes import Versions, clear_references, lock
from campshub.core.errors import Conflict, Invalid, Problem
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.reports.dates import next_slot
from campshub.reports.models import Report, ReportSchedule, ReportSlot
from campshub.reports.parameters import checked, kind_for, require_seen, resolved
from campshub.reports.queries.schedules import members_and_schedules
from campshub.reports.queries.visibility import reach_of, schedules_of
from campshub.reports.service import requests
from campshub.reports.service.rendering import Refused, principal_of

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
MOST_OF_ONE = 200
_COLUMNS = tuple(ReportSchedule.__table__.columns.keys())
_WHEN = frozenset({"frequency", "weekday", "day", "local_time", "is_paused"})
# Changing only these sends no one anything new.
_HARMLESS = frozenset({"name", "is_paused"})


SCHEDULES = creates.Collection(
    ReportSchedule,
    "/api/report-schedules/{row.id}/",
    seen_by=lambda principal: schedules_of(principal, reach_of(principal)),
)


class TooManySchedules(Conflict):
    """You have the maximum number of schedules; delete one first."""

    code = "too_many_schedules"
    default_detail = "You have the maximum number of schedules; delete one first."


class _ScheduleFields(TypedDict, total=False):
    """Fields common to creating and changing a schedule, without its recipients."""

    weekday: int | None
    day: int | None
    is_paused: bool


class NewSchedule(_ScheduleFields):
    """The fields of a new schedule, without its recipients."""

    name: str
    kind: str
    format: str
    parameters: dict[str, Any]
    frequency: str
    local_time: str


class ScheduleChanges(_ScheduleFields, total=False):
    """Fields of a schedule that a change may have, without its recipients."""

    name: str
    format: str
    parameters: dict[str, Any]
    frequency: str
    local_time: str


def create(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    id: UUID | None = None,
    recipient_ids: Sequence[UUID],
    **values: Unpack[NewSchedule],
) -> tuple[ReportSchedule, bool]:
    """Create a schedule; return it, and False if an earlier, identical call has created it.

    :raises NotForKeys: the caller is an API key.
    :raises IdTaken: the id belongs to a schedule with other content or of another user.
    :raises TooManySchedules: the principal has the maximum number of schedules.
    :raises KindNotYours: the principal may not read the data of this kind.
    :raises Invalid: the parameters or the times do not fit.
    :raises UnknownReference: it names something that the principal does not see.
    """
    _require_person(principal)
    body = {**values, "user_id": principal.user_id, "recipient_ids": sorted(map(str, recipient_ids))}
    present = creates.find_created(session, principal, SCHEDULES, id=id, body=body)
    if present is not None:
        return present, False
    schedule = ReportSchedule(user_id=principal.user_id, **values, recipient_ids=[])
    _set_parameters(session, principal, schedule, now)
    schedules, time_zone = _set_recipients(session, principal, schedule, recipient_ids)
    if schedules >= MOST_OF_ONE:
        # A concurrent, identical request may have created this schedule as the last allowed one.
        if present := creates.find_created(session, principal, SCHEDULES, id=id, body=body):
            return present, False
        raise TooManySchedules
    _set_next_time(schedule, time_zone, now)
    row = {name: value for name in _COLUMNS if (value := getattr(schedule, name)) is not None}
    return creates.create(session, principal, SCHEDULES, id=id, body=body, row=row)


def change(
    session: Session,
    principal: Principal,
    *,
    schedule_id: UUID,
    expected: Versions,
    now: datetime,
    recipient_ids: Sequence[UUID] | None = None,
    **changes: Unpack[ScheduleChanges],
) -> ReportSchedule:
    """Change a schedule.

    :raises NotForKeys: the caller is an API key.
    :raises NotFound: the principal sees no such schedule.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises KindNotYours: the principal may not read the data of this kind.
    :raises Invalid: the parameters or the times do not fit.
    :raises UnknownReference: it names something that the principal does not see.
    """
    time_zone = lock_time_zone(session, principal.organization_id) if changes.keys() & _WHEN else None
    schedule = _locked(session, principal, schedule_id, expected)
    for name, value in changes.items():
        setattr(schedule, name, value)
    if time_zone is not None:  # before any read: its autoflush would fail on a constraint, without naming the field
        _set_next_time(schedule, time_zone, now)
    if recipient_ids is not None or changes.keys() - _HARMLESS:
        _set_parameters(session, principal, schedule, now)
    if recipient_ids is not None:
        _set_recipients(session, principal, schedule, recipient_ids)
    return schedule


def delete(session: Session, principal: Principal, *, schedule_id: UUID, expected: Versions) -> None:
    """Delete a schedule; its reports stay until they expire.

    :raises NotForKeys: the caller is an API key.
    :raises NotFound: the principal sees no such schedule.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    schedule = _locked(session, principal, schedule_id, expected)
    clear_references(session, Report.schedule_id, schedule_id)
    session.delete(schedule)


@follows_time_zone
def follow_time_zone(session: Session, organization: Organization, _former: str) -> None:
    """Recompute the next times of an organization's schedules; a time that is already due stays."""
    now = session.unit.now
    later = select(ReportSchedule).where(
        ReportSchedule.organization_id == organization.id, ReportSchedule.next_at > now
    )
    for schedule in session.scalars(later.order_by(ReportSchedule.id).with_for_update()):
        schedule.next_at = next_slot(schedule, organization.time_zone, now)


def make_due(services: Services, now: datetime) -> int:
    """Enqueue the reports of all schedules that are due; return how many."""
    with unit_of_work(system=True, read_only=True) as session:
        due = session.execute(
            select(ReportSchedule.organization_id, ReportSchedule.id, ReportSchedule.user_id)
            .join(Organization, Organization.id == ReportSchedule.organization_id)
            .where(ReportSchedule.next_at <= now, ReportSchedule.is_paused.is_(False), Organization.status == "active")
            .order_by(ReportSchedule.next_at)
            .limit(MOST_AT_ONCE)
        ).all()
    made = 0
    for row in due:
        try:
            made += _enqueue_due(services, row.organization_id, row.id, row.user_id, now)
        except Exception:  # one failure must not stop the others
            log.exception("a scheduled report could not be enqueued: %s", row.id)
    return made


def _enqueue_due(services: Services, organization_id: UUID, schedule_id: UUID, user_id: UUID, now: datetime) -> bool:
    """Claim a schedule's time and enqueue its report as the schedule's maker; pause it if they may not any more."""
    with unit_of_work(organization_id=organization_id, user_id=user_id) as session:
        time_zone = lock_time_zone(session, organization_id)
        schedule = session.get(ReportSchedule, (organization_id, schedule_id), with_for_update=True)
        caller_row = session.unit.caller_row
        if schedule is None or schedule.is_paused or schedule.next_at > now:
            return False
        slot, report_id = schedule.next_at, new_id()
        try:
            principal = principal_of(caller_row, organization_id, user_id, None)
            _require_writer(principal)
            schedule.next_at = next_slot(schedule, time_zone, now)
            if session.get(ReportSlot, (organization_id, schedule_id, slot)) is not None:
                return False
            kind = kind_for(principal, schedule.kind)
            arguments = resolved(kind, schedule.parameters, principal.today(slot))
            require_seen(kind, session, principal, arguments)
        except (Refused, Problem) as refusal:
            schedule.is_paused = True
            log.warning("a schedule is paused: %s: %s", schedule_id, refusal)
            return False
        session.add(
            ReportSlot(organization_id=organization_id, schedule_id=schedule_id, slot=slot, report_id=report_id)
        )
        requests.enqueue_report(
            session,
            principal,
            services,
            kind=schedule.kind,
            format=schedule.format,
            values=arguments.values,
            now=now,
            schedule_id=schedule_id,
            report_id=report_id,
        )
    return True


def _require_writer(principal: Principal) -> None:
    if not principal.may(Permission.REPORTS_WRITE):
        raise Refused("asker_gone")


def _require_person(principal: Principal) -> None:
    """Refuse an API key: schedules run as a person, and would outlive the key."""
    if principal.api_key_id is not None:
        raise NotForKeys


def _locked(session: Session, principal: Principal, schedule_id: UUID, expected: Versions) -> ReportSchedule:
    _require_person(principal)
    seen = schedules_of(principal, reach_of(principal))
    return lock(session, principal, ReportSchedule, schedule_id, seen, expected=expected)


def _set_parameters(session: Session, principal: Principal, schedule: ReportSchedule, now: datetime) -> None:
    """Check the parameters as if the report were made today."""
    kind = kind_for(principal, schedule.kind)
    schedule.parameters = checked(kind, schedule.parameters)
    arguments = resolved(kind, schedule.parameters, principal.today(now))
    require_seen(kind, session, principal, arguments)


def _set_next_time(schedule: ReportSchedule, time_zone: str, now: datetime) -> None:
    """Set the next time.

    :raises Invalid: there is a weekday on a schedule that is not weekly, or a day on one that is not monthly.
    """
    for name, frequency in (("weekday", "weekly"), ("day", "monthly")):
        if (getattr(schedule, name) is not None) != (schedule.frequency == frequency):
            detail = f"Required if the frequency is {frequency}, and not allowed otherwise."
            raise Invalid.at(f"/{name}", "invalid", detail)
    schedule.next_at = next_slot(schedule, time_zone, now)


def _set_recipients(
    session: Session, principal: Principal, schedule: ReportSchedule, recipient_ids: Sequence[UUID]
) -> tuple[int, str]:
    """Set the recipients; return how many schedules the principal already has, and the time zone."""
    known, schedules, time_zone = members_and_schedules(session, principal, recipient_ids, most=MOST_OF_ONE)
    for index, one in enumerate(recipient_ids):
        if one not in known:
            raise Invalid.at(f"/recipient_ids/{index}", "unknown_reference", "No such user in this organization.")
    schedule.recipient_ids = sorted({str(one) for one in recipient_ids})
    return schedules, time_zone
