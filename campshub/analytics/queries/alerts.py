"""Reads of alerts. Trainers see those of their students; clients, whom the alerts are about, see none."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from campshub.accounts.models import Membership, Organization, User
from campshub.analytics.models import AttendanceAlert
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Role, Scope
from campshub.core.security.principal import Principal, visibility, visible_to
from campshub.students.models import Enrolment, GroupTrainer, Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.students.queries.in_group import enrolled_on

COLUMNS = (
    *(AttendanceAlert.id, AttendanceAlert.student_id, AttendanceAlert.rule, AttendanceAlert.value),
    *(AttendanceAlert.threshold, AttendanceAlert.raised_at, AttendanceAlert.resolved_at),
    *(AttendanceAlert.acknowledged_at, AttendanceAlert.acknowledged_by, AttendanceAlert.version),
)


@visibility(AttendanceAlert, Scope.GROUPS)
def _of_visible_students(principal: Principal) -> ColumnElement[bool]:
    student: Any = Student
    return exists(
        select(1)
        .select_from(student)
        .where(visible_to(principal, student), student.id == AttendanceAlert.student_id)
        .correlate(AttendanceAlert)
    )


def list_alerts(
    session: Session,
    principal: Principal,
    *,
    page: PageRequest,
    is_open: bool | None = None,
    is_acknowledged: bool | None = None,
    **filters: Any,
) -> Page:
    """List alerts by the time at which they were raised."""
    query = _listed(principal, page=page, is_open=is_open, is_acknowledged=is_acknowledged, **filters)
    return page.read(session, query)


@prepared
def _listed(
    principal: Principal,
    *,
    page: PageRequest,
    is_open: bool | None,
    is_acknowledged: bool | None,
    student_id: Any,
    rule: Any,
) -> AnySelect:
    alert = AttendanceAlert
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, alert))
    if is_open is not None:
        rows = rows.where(alert.resolved_at.is_(None) if is_open else alert.resolved_at.is_not(None))
    if is_acknowledged is not None:
        known = alert.acknowledged_at
        rows = rows.where(known.is_not(None) if is_acknowledged else known.is_(None))
    if student_id is not None:
        rows = rows.where(alert.student_id == student_id)
    if rule is not None:
        rows = rows.where(alert.rule == rule)
    return page.ordered(rows, order=(alert.raised_at, alert.id))


def raised(session: Session, principal: Principal, *, at: datetime) -> dict[str, int]:
    """Return how many of the alerts that were raised at an instant the principal sees, by rule."""
    alert = AttendanceAlert
    rows = select(alert.rule, func.count()).where(visible_to(principal, alert), alert.raised_at == at)
    return {row[0]: row[1] for row in session.execute(rows.group_by(alert.rule))}


def organizations(session: Session) -> list[AnyRow]:
    """Return the active organizations that have rules or open alerts, under the system role."""
    rules = (Organization.at_risk_rate, Organization.at_risk_absences, Organization.at_risk_days_away)
    alert = AttendanceAlert
    has_alerts = exists(
        select(1)
        .select_from(alert)
        .where(alert.organization_id == Organization.id, alert.resolved_at.is_(None))
        .correlate(Organization)
    )
    found = select(Organization.id, Organization.time_zone).where(
        Organization.status == "active", or_(has_alerts, *(rule.is_not(None) for rule in rules))
    )
    return list(session.execute(found.order_by(Organization.id)))


def time_zone(session: Session, organization_id: Any) -> str:
    """Return an organization's time zone."""
    zone: str = session.execute(select(Organization.time_zone).where(Organization.id == organization_id)).scalar_one()
    return zone


def recipients(session: Session, principal: Principal, *, on: Any, at: datetime) -> list[Any]:
    """Return the admins, and today's trainers of the students with an alert that was raised at an instant."""
    own, alert, member = principal.organization_id, AttendanceAlert, Membership
    new = select(alert.student_id).where(alert.organization_id == own, alert.raised_at == at)
    trainers = (
        select(GroupTrainer.user_id)
        .join(
            Enrolment,
            and_(
                Enrolment.organization_id == GroupTrainer.organization_id, Enrolment.group_id == GroupTrainer.group_id
            ),
        )
        .where(GroupTrainer.organization_id == own, enrolled_on(on), Enrolment.student_id.in_(new))
    )
    people = (
        select(member.user_id)
        .join(User, User.id == member.user_id)
        .where(member.organization_id == own, member.status == "active", User.status == "active")
        .where((member.role == Role.ADMIN.value) | member.user_id.in_(trainers))
    )
    return list(session.scalars(people.order_by(member.user_id)))
