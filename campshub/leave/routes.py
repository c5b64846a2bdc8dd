"""The endpoints of leave requests."""

from typing import Any
from uuid import UUID

from campshub.attendance.service.excuses import NoExcusedCode
from campshub.core.errors import IdTaken, MonthUnavailable, NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, limited, named, needs, public, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.leave import queries, schemas
from campshub.leave.service import attachments
from campshub.leave.service import requests as service

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


@leave_requests.route("/<uuid:leave_request_id>/attachment/")
class LeaveAttachment(Resource):
    """The attachment of a request."""

    @needs(Permission.LEAVE_READ)
    @named("getLeaveAttachment")
    @secret
    @leave_requests.answers(schemas.AttachmentLinkOut, raises=(NotFound,))
    def get(self, leave_request_id: UUID) -> Any:
        """Show the attachment, with a short-lived link to the file."""
        return attachments.link_to(
            self.session, self.principal, self.services, leave_request_id=leave_request_id, now=self.now
        )

    @needs(Permission.LEAVE_WRITE)
    @named("attachToLeaveRequest")
    @leave_requests.body(schemas.AttachmentIn, most_mib=8)
    @leave_requests.answers(
        schemas.LeaveRequestOut,
        raises=(
            *(NotFound, PreconditionFailed, service.LeaveDecided),
            *(attachments.UnsupportedAttachment, attachments.AttachmentTooLarge),
        ),
    )
    def put(self, leave_request_id: UUID, **given: Any) -> Any:
        """Attach a file to a request, or replace it."""
        return attachments.attach(
            self.session,
            self.principal,
            self.services,
            leave_request_id=leave_request_id,
            expected=self.if_match,
            **given,
        )

    @needs(Permission.LEAVE_WRITE)
    @named("deleteLeaveAttachment")
    @leave_requests.answers(None, raises=(NotFound, PreconditionFailed))
    def delete(self, leave_request_id: UUID) -> None:
        """Remove the attachment of a request."""
        attachments.detach(self.session, self.principal, leave_request_id=leave_request_id, expected=self.if_match)


@leave_requests.route("/<uuid:leave_request_id>/attachment/file/")
class LeaveAttachmentFile(Resource):
    """The file of an attachment."""

    @public
    @named("downloadLeaveAttachment")
    @secret
    @limited("files")
    @leave_requests.query(schemas.AttachmentToken)
    @leave_requests.answers_file(*attachments.MEDIA_TYPES.values(), raises=(NotFound, attachments.AttachmentGone))
    def get(self, leave_request_id: UUID, *, token: str) -> Any:
        """Download an attachment with its link; the user of the link must still see the request."""
        return attachments.fetch(
            self.session, self.services, leave_request_id=leave_request_id, token=token, now=self.now
        )
