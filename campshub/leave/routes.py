"""The endpoints of leave requests."""

from typing import Any
from uuid import UUID

from campshub.attendance.service.excuses import NoExcusedCode
from campshub.core.errors import IdTaken, MonthUnavailable, NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.leave import queries, schemas, service

leave_requests = Blueprint(
    "leave_requests", __name__, url_prefix="/api/attendance/leave-requests", description="Leave of students."
)
blueprints = (leave_requests,)

_TAGS = ("leave_requests", "students", "enrolments", "groups")
_CHANGED = (NotFound, PreconditionFailed, MonthUnavailable, service.LeaveDecided)


@leave_requests.route("/")
class LeaveRequests(Resource):
    """All leave requests."""

    @needs(Permission.LEAVE_READ)
    @cached(tags=(*_TAGS, "attendance_sessions"), same_for_role=True)
    @leave_requests.query(schemas.LeaveRequestFilter)
    @leave_requests.answers_page(schemas.LeaveRequestOut, sorts=("-date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List leave requests, the latest days first."""
        return queries.list_requests(self.session, self.principal, page=page, **filters)

    @needs(Permission.LEAVE_WRITE)
    @leave_requests.body(schemas.LeaveRequestIn)
    @leave_requests.answers(
        schemas.LeaveRequestOut, status=201, raises=(IdTaken, UnknownReference, service.LeaveEndsBeforeStart)
    )
    def post(self, **given: Any) -> Any:
        """Request leave for a student."""
        made, is_new = service.create(self.session, self.principal, today=self.today, **given)
        return made, 201 if is_new else 200


@leave_requests.route("/<uuid:leave_request_id>/")
class OneLeaveRequest(Resource):
    """One leave request."""

    @needs(Permission.LEAVE_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @leave_requests.answers(schemas.LeaveRequestOut)
    def get(self, leave_request_id: UUID) -> Any:
        """Show a leave request."""
        return queries.get_request(self.session, self.principal, leave_request_id)


@leave_requests.route("/<uuid:leave_request_id>/approve/")
class LeaveApproval(Resource):
    """Approving a request."""

    @needs(Permission.LEAVE_DECIDE)
    @named("approveLeaveRequest")
    @leave_requests.body(schemas.LeaveApprovalIn)
    @leave_requests.answers(schemas.LeaveResultOut, raises=(*_CHANGED, NoExcusedCode))
    def post(self, leave_request_id: UUID, **given: Any) -> Any:
        """Approve a request: absences on its days are excused, also in sessions that are created later."""
        return service.approve(
            self.session,
            self.principal,
            leave_request_id=leave_request_id,
            expected=self.if_match,
            now=self.now,
            **given,
        )


@leave_requests.route("/<uuid:leave_request_id>/reject/")
class LeaveRejection(Resource):
    """Rejecting a request."""

    @needs(Permission.LEAVE_DECIDE)
    @named("rejectLeaveRequest")
    @leave_requests.body(schemas.LeaveRejectionIn)
    @leave_requests.answers(schemas.LeaveRequestOut, raises=(NotFound, PreconditionFailed, service.LeaveDecided))
    def post(self, leave_request_id: UUID, **given: Any) -> Any:
        """Reject a request, with a comment."""
        return service.reject(
            self.session,
            self.principal,
            leave_request_id=leave_request_id,
            expected=self.if_match,
            now=self.now,
            **given,
        )


@leave_requests.route("/<uuid:leave_request_id>/cancel/")
class LeaveCancelling(Resource):
    """Cancelling a request."""

    @needs(Permission.LEAVE_WRITE)
    @named("cancelLeaveRequest")
    @leave_requests.answers(schemas.LeaveResultOut, raises=(*_CHANGED, service.LeaveOver, NoExcusedCode))
    def post(self, leave_request_id: UUID) -> Any:
        """Cancel a request: the marks that it has made are taken back, unless someone has changed them since."""
        return service.cancel(
            self.session, self.principal, leave_request_id=leave_request_id, expected=self.if_match, today=self.today
        )
