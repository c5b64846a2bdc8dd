"""The endpoints of reports."""

from typing import Any
from uuid import UUID

from campshub.core.errors import NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, limited, named, needs, public, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.reports.formats import TooManyRows
from campshub.reports.parameters import KindNotYours
from campshub.reports.queries import reports as queries
from campshub.reports.schemas import reports as schemas
from campshub.reports.service import downloads, requests

reports = Blueprint("reports", __name__, url_prefix="/api/reports", description="Reports: made in the background.")


_REFUSED = (KindNotYours, UnknownReference, TooManyRows, requests.TooManyUnderWay)


@reports.route("/")
class Reports(Resource):
    """All reports that the caller sees."""

    @needs(Permission.REPORTS_READ)
    @cached(tags=("reports", "jobs"))
    @reports.query(schemas.ReportFilter)
    @reports.answers_page(schemas.ListedReportOut, sorts=("created",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List your reports; users who may change the organization see all of its reports."""
        return queries.list_reports(self.session, self.principal, page=page, **filters)

    @needs(Permission.REPORTS_WRITE)
    @reports.body(schemas.ReportIn)
    @reports.answers(schemas.NewReportOut, status=202, raises=_REFUSED)
    def post(self, **given: Any) -> Any:
        """Request a report; `GET /api/reports/{id}/` shows when it is ready.

        Look at `/api/reports/{id}/` (the `id` of the response) until `state` is neither `queued` nor `running`. At
        `ready` it has `download.url`. `Location` is the background job, for progress and cancelling.
        """
        return requests.request_report(self.session, self.principal, self.services, now=self.now, **given)


@reports.route("/<uuid:report_id>/")
class OneReport(Resource):
    """One report."""

    @needs(Permission.REPORTS_READ)
    @secret
    @reports.answers(schemas.ReportOut)
    def get(self, report_id: UUID) -> Any:
        """Show a report; when it is ready, with a short-lived link to its file."""
        return queries.get_report(self.session, self.principal, self.services, report_id, now=self.now)

    @needs(Permission.REPORTS_WRITE)
    @reports.answers(None, raises=(NotFound, PreconditionFailed))
    def delete(self, report_id: UUID) -> None:
        """Remove a report and its file."""
        requests.remove(self.session, self.principal, report_id=report_id, expected=self.if_match)


@reports.route("/<uuid:report_id>/file/")
class ReportFile(Resource):
    """One report's file."""

    @public
    @named("downloadReport")
    @secret
    @limited("files")
    @reports.query(schemas.FileToken)
    @reports.answers_file(*downloads.MEDIA_TYPES.values(), raises=(NotFound, downloads.FileExpired))
    def get(self, report_id: UUID, *, token: str) -> Any:
        """Download a report with its link; the user of the link must still be allowed to read it."""
        return downloads.fetch(self.session, self.services, report_id=report_id, token=token, now=self.now)
