"""The endpoints of attendance codes."""

from typing import Any
from uuid import UUID

from campshub.attendance.queries import codes as queries
from campshub.attendance.schemas import codes as schemas
from campshub.attendance.service import codes as service
from campshub.core.errors import IdTaken, NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

codes = Blueprint(
    "attendance_codes",
    __name__,
    url_prefix="/api/attendance/codes",
    description="Codes of attendance marks.",
)


@codes.route("/")
class AttendanceCodes(Resource):
    """All codes."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_codes",), same_for_role=True)
    @codes.query(schemas.AttendanceCodeFilter)
    @codes.answers_page(schemas.AttendanceCodeOut, sorts=("position",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List attendance codes."""
        return queries.list_codes(self.session, self.principal, page=page, **filters)

    @needs(Permission.ATTENDANCE_WRITE)
    @codes.body(schemas.AttendanceCodeIn)
    @codes.answers(schemas.AttendanceCodeOut, status=201, raises=(IdTaken, service.KeyTaken))
    def post(self, **given: Any) -> Any:
        """Create an attendance code."""
        code, made = service.create(self.session, self.principal, **given)
        return code, 201 if made else 200


@codes.route("/<uuid:code_id>/")
class OneAttendanceCode(Resource):
    """One code."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_codes",), same_for_role=True)
    @codes.answers(schemas.AttendanceCodeOut)
    def get(self, code_id: UUID) -> Any:
        """Show an attendance code."""
        return queries.get_code(self.session, self.principal, code_id)

    @needs(Permission.ATTENDANCE_WRITE)
    @codes.body(schemas.AttendanceCodePatch)
    @codes.answers(schemas.AttendanceCodeOut, raises=(NotFound, service.DefaultCode))
    def patch(self, code_id: UUID, **changes: Any) -> Any:
        """Change one of the organization's own attendance codes."""
        return service.change(self.session, self.principal, code_id=code_id, expected=self.if_match, **changes)
