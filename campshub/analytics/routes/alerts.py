"""The endpoints of students at risk and of alerts."""

from typing import Any
from uuid import UUID

from campshub.analytics.queries import alerts as queries
from campshub.analytics.queries import at_risk as risks
from campshub.analytics.schemas import alerts as schemas
from campshub.analytics.service import alerts as service
from campshub.core.errors import NotFound
from campshub.core.http.decorators import CacheLifetime, cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.permissions import Permission

at_risk = Blueprint(
    "at_risk",
    __name__,
    url_prefix="/api/attendance/at-risk",
    description="Students at risk, by the rules of the organization.",
)
alerts = Blueprint(
    "attendance_alerts",
    __name__,
    url_prefix="/api/attendance/alerts",
    description="Alerts about students at risk, raised and resolved by a job.",
)


@at_risk.route("/")
class AtRisk(Resource):
    """Students at risk."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(
        tags=("access", "attendance", "attendance_sessions", "enrolments", "groups", "students"),
        lifetime=CacheLifetime.ANALYTICS,
        same_for_role=True,
    )
    @at_risk.query(schemas.AtRiskFilter)
    @at_risk.answers_page(schemas.AtRiskOut, sorts=("name",), raises=(NotFound,))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List the students at risk with the reasons, by the rules in `/api/organization/` (`at_risk_...`)."""
        return risks.list_at_risk(self.session, self.principal, today=self.today, page=page, **filters)


@alerts.route("/")
class AttendanceAlerts(Resource):
    """All alerts."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_alerts", "enrolments", "groups", "students"), same_for_role=True)
    @alerts.query(schemas.AttendanceAlertFilter)
    @alerts.answers_page(schemas.AttendanceAlertOut, sorts=("raised",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List alerts, those that still hold and those that are resolved."""
        return queries.list_alerts(self.session, self.principal, page=page, **filters)


@alerts.route("/<uuid:attendance_alert_id>/acknowledge/")
class AlertAcknowledgement(Resource):
    """Acknowledging one alert."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("acknowledgeAttendanceAlert")
    @alerts.answers(schemas.AttendanceAlertOut, raises=(NotFound, NotForKeys))
    def post(self, attendance_alert_id: UUID) -> Any:
        """Record that you have seen an alert; it stays open until its rule is no longer met."""
        return service.acknowledge(self.session, self.principal, attendance_alert_id=attendance_alert_id, now=self.now)
