"""The endpoints of attendance records."""

from datetime import date
from typing import Any
from uuid import UUID

from campshub.attendance.queries import history
from campshub.attendance.queries import records as queries
from campshub.attendance.schemas import records as schemas
from campshub.attendance.service import marks, sessions
from campshub.attendance.service import records as service
from campshub.core.errors import MonthUnavailable, NotFound
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

records = Blueprint(
    "attendance_records", __name__, url_prefix="/api/attendance/records", description="Who came, session by session."
)
student_attendance = Blueprint(
    "student_attendance", __name__, url_prefix="/api/students", description="One student's attendance."
)

_STATES = (NotFound, MonthUnavailable, sessions.SessionLocked, sessions.SessionCancelled, marks.ReasonRequired)


@records.route("/")
class AttendanceRecords(Resource):
    """All records."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance", "groups", "enrolments", "students"), same_for_role=True)
    @records.query(schemas.AttendanceRecordFilter)
    @records.answers_page(schemas.AttendanceRecordOut, sorts=("date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List records in a range of dates; the current month by default."""
        return queries.list_records(self.session, self.principal, now=self.now, page=page, **filters)


@records.route("/<uuid:record_id>/")
class OneAttendanceRecord(Resource):
    """One record."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance", "groups", "enrolments", "students"), same_for_role=True)
    @records.query(schemas.RecordDate)
    @records.answers(schemas.AttendanceRecordOut)
    def get(self, record_id: UUID, *, on: date) -> Any:
        """Show a record."""
        return queries.get_record(self.session, self.principal, record_id, on=on)

    @needs(Permission.ATTENDANCE_MARK)
    @records.query(schemas.RecordDate)
    @records.body(schemas.AttendanceRecordPatch)
    @records.answers(schemas.AttendanceRecordOut, raises=_STATES)
    def patch(self, record_id: UUID, **given: Any) -> Any:
        """Change a record."""
        return service.change(self.session, self.principal, record_id=record_id, expected=self.if_match, **given)

    @needs(Permission.ATTENDANCE_MARK)
    @records.query(schemas.RecordRemoval)
    @records.answers(None, raises=_STATES)
    def delete(self, record_id: UUID, **given: Any) -> None:
        """Remove a record; the audit log still contains it."""
        service.remove(self.session, self.principal, record_id=record_id, expected=self.if_match, **given)


@records.route("/<uuid:record_id>/history/")
class AttendanceRecordHistory(Resource):
    """The history of one record."""

    @needs(Permission.ATTENDANCE_HISTORY)
    @named("listAttendanceRecordHistory")
    @records.query(schemas.RecordDate)
    @records.answers_page(schemas.MarkChangeOut, sorts=("-date",), raises=(NotFound,))
    def get(self, record_id: UUID, *, on: date, page: Any) -> Any:
        """List the changes of a record, also of a removed one; newest first."""
        return history.history_of(
            self.session, self.principal, self.services.ring, record_id, on=on, now=self.now, page=page
        )


@student_attendance.route("/<uuid:student_id>/attendance/")
class StudentAttendance(Resource):
    """One student's attendance."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance", "groups", "enrolments", "students"), same_for_role=True)
    @student_attendance.query(schemas.DateRange)
    @student_attendance.answers(schemas.StudentAttendanceOut)
    def get(self, student_id: UUID, **filters: Any) -> Any:
        """Show a student's attendance with counts; the current month by default."""
        return queries.of_student(self.session, self.principal, student_id, now=self.now, **filters)
