"""The endpoints of report schedules."""

from typing import Any
from uuid import UUID

from campshub.core.errors import IdTaken, NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.permissions import Permission
from campshub.reports.parameters import KindNotYours
from campshub.reports.queries import schedules as queries
from campshub.reports.schemas import reports as schemas
from campshub.reports.service import schedules as service

schedules = Blueprint(
    "report_schedules",
    __name__,
    url_prefix="/api/report-schedules",
    description="Reports that are made regularly; recipients get an e-mail with a link.",
)

_GONE = (NotFound, PreconditionFailed)
_TAKEN = (IdTaken, service.TooManySchedules)
_REFUSED = (NotForKeys, KindNotYours, UnknownReference)


@schedules.route("/")
class ReportSchedules(Resource):
    """All schedules that the caller sees."""

    @needs(Permission.REPORTS_READ)
    @cached(tags=("reports",))
    @schedules.answers_page(schemas.ReportScheduleOut, sorts=("created",))
    def get(self, *, page: Any) -> Any:
        """List your schedules; users who may change the organization see all of its schedules."""
        return queries.list_schedules(self.session, self.principal, page=page)

    @needs(Permission.REPORTS_WRITE)
    @schedules.body(schemas.ReportScheduleIn)
    @schedules.answers(schemas.ReportScheduleOut, status=201, raises=(*_TAKEN, *_REFUSED))
    def post(self, **given: Any) -> Any:
        """Create a schedule; its reports are made with its maker's permissions at that time."""
        schedule, made = service.create(self.session, self.principal, now=self.now, **given)
        return schedule, 201 if made else 200


@schedules.route("/<uuid:schedule_id>/")
class OneReportSchedule(Resource):
    """One schedule."""

    @needs(Permission.REPORTS_READ)
    @cached(tags=("reports",))
    @schedules.answers(schemas.ReportScheduleOut)
    def get(self, schedule_id: UUID) -> Any:
        """Show a schedule."""
        return queries.get_schedule(self.session, self.principal, schedule_id)

    @needs(Permission.REPORTS_WRITE)
    @schedules.body(schemas.ReportSchedulePatch)
    @schedules.answers(schemas.ReportScheduleOut, raises=(*_GONE, *_REFUSED))
    def patch(self, schedule_id: UUID, **changes: Any) -> Any:
        """Change a schedule."""
        return service.change(
            self.session, self.principal, schedule_id=schedule_id, expected=self.if_match, now=self.now, **changes
        )

    @needs(Permission.REPORTS_WRITE)
    @schedules.answers(None, raises=(*_GONE, NotForKeys))
    def delete(self, schedule_id: UUID) -> None:
        """Delete a schedule; its reports stay until they expire."""
        service.delete(self.session, self.principal, schedule_id=schedule_id, expected=self.if_match)
