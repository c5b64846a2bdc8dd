"""Reads of the caller's organization."""

from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Organization
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal


def requests_per_hour(session: Session, organization_id: UUID) -> int | None:
    """Return the rate limit per caller in an organization's plan; None: the default."""
    return session.scalar(select(Organization.requests_per_hour).where(Organization.id == organization_id))


def my_organization(session: Session, principal: Principal) -> AnyRow:
    """Return the principal's organization."""
    return session.execute(_organization(principal)).one()


@prepared
def _organization(principal: Principal) -> AnySelect:
    columns = (
        Organization.id,
        Organization.name,
        Organization.status,
        Organization.closed_at,
        Organization.time_zone,
        Organization.currency,
        Organization.locale,
        Organization.password_length_min,
        Organization.mfa_roles,
        Organization.guardians_see_training,
        Organization.requests_per_hour,
        Organization.submit_after_hours,
        Organization.lock_after_days,
        Organization.late_after_minutes,
        Organization.left_early_before_minutes,
        Organization.check_in_days_back,
        Organization.check_in_networks,
        Organization.open_gym_hours,
        Organization.open_gym_closes_at,
        Organization.check_in_ways,
        Organization.at_risk_rate,
        Organization.at_risk_weeks,
        Organization.at_risk_absences,
        Organization.at_risk_days_away,
        Organization.session_days_ahead,
        Organization.register_alert_after_minutes,
        Organization.register_alert_admins_after_minutes,
        Organization.absence_notice_after_minutes,
        Organization.created_at,
        Organization.updated_at,
        Organization.version,
    )
    return select(*columns).where(Organization.id == principal.organization_id)
