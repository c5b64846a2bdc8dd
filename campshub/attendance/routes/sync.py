"""The endpoint that marks many registers in one call."""

from typing import Any

from campshub.attendance.schemas import sync as schemas
from campshub.attendance.service import sync as service
from campshub.core.http.decorators import named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

sync = Blueprint(
    "attendance_sync", __name__, url_prefix="/api/attendance/sync", description="Registers marked without a connection."
)


@sync.route("/")
class AttendanceSync(Resource):
    """Many registers."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("syncAttendance")
    @sync.body(schemas.SyncIn, most_mib=8)
    @sync.answers(schemas.RegistersResultOut)
    def post(self, **given: Any) -> Any:
        """Mark many registers; each has its own result, and one that fails does not affect the others."""
        settings = self.services.settings
        return service.mark_registers(self.session, self.principal, settings=settings, now=self.now, **given)
