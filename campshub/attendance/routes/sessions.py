"""The endpoints of attendance sessions and their registers."""

from typing import Any
from uuid import UUID

from campshub.attendance.queries import registers
from campshub.attendance.queries import sessions as queries
from campshub.attendance.schemas import records as record_schemas
from campshub.attendance.schemas import sessions as schemas
from campshub.attendance.service import marking, marks, rescheduling, slots, substitutes
from campshub.attendance.service import sessions as service
from campshub.core.errors import IdTaken, MonthUnavailable, NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.schemas.substitutes import GroupSubstituteOut
from campshub.students.service.places import GroupClosed
from campshub.students.service.substitutes import SubstituteEndsBeforeBegin

sessions = Blueprint(
    "attendance_sessions", __name__, url_prefix="/api/attendance/sessions", description="Meetings and their registers."
)
group_sessions = Blueprint("group_sessions", __name__, url_prefix="/api/groups", description="A group's meetings.")

_STATES = (service.SessionLocked, service.SessionCancelled)
_MARKED = (service.SessionLocked, service.SessionSubmitted, service.SessionHasMarks)
_NEW = (service.UnknownGroup, service.GroupRequired)
_SUBSTITUTE = (UnknownReference, service.GroupRequired, SubstituteEndsBeforeBegin)
_ROSTER = (marking.NoRoster, marking.RosterTooLarge)
_UNFIT = (
    service.SessionDateOutOfRange,
    service.NotThatDay,
    GroupClosed,
    service.SessionExists,
    service.EndsBeforeStart,
)


@sessions.route("/")
class AttendanceSessions(Resource):
    """All sessions."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_sessions", "groups", "enrolments", "students"), same_for_role=True)
    @sessions.query(schemas.AttendanceSessionFilter)
    @sessions.answers_page(schemas.AttendanceSessionOut, sorts=("date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List sessions by date."""
        return queries.list_sessions(self.session, self.principal, page=page, **filters)

    @needs(Permission.ATTENDANCE_MARK)
    @sessions.body(schemas.AttendanceSessionIn)
    @sessions.answers(schemas.AttendanceSessionOut, status=201, raises=(IdTaken, *_NEW, *_UNFIT))
    def post(self, **given: Any) -> Any:
        """Create a session."""
        made, is_new = service.create(self.session, self.principal, now=self.now, **given)
        return made, 201 if is_new else 200


@sessions.route("/<uuid:session_id>/")
class OneAttendanceSession(Resource):
    """One session."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_sessions", "groups", "enrolments", "students"), same_for_role=True)
    @sessions.answers(schemas.AttendanceSessionOut)
    def get(self, session_id: UUID) -> Any:
        """Show a session."""
        return queries.get_session(self.session, self.principal, session_id)

    @needs(Permission.ATTENDANCE_MARK)
    @sessions.body(schemas.AttendanceSessionPatch)
    @sessions.answers(
        schemas.AttendanceSessionOut,
        raises=(NotFound, service.SessionLocked, service.SessionSubmitted, service.SessionHasMarks, *_UNFIT),
    )
    def patch(self, session_id: UUID, **changes: Any) -> Any:
        """Change a session."""
        return service.change(
            self.session, self.principal, session_id=session_id, expected=self.if_match, now=self.now, **changes
        )

    @needs(Permission.ATTENDANCE_MARK)
    @sessions.answers(None, raises=(*_MARKED, rescheduling.SessionPlanned))
    def delete(self, session_id: UUID) -> None:
        """Delete a session that has no marks and comes from no weekly meeting."""
        rescheduling.delete(self.session, self.principal, session_id=session_id, expected=self.if_match)


@sessions.route("/<uuid:session_id>/cancel/")
class AttendanceSessionCancel(Resource):
    """Cancelling a session."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("cancelAttendanceSession")
    @sessions.body(schemas.SessionCancelIn)
    @sessions.answers(schemas.AttendanceSessionOut, raises=(NotFound, PreconditionFailed, *_MARKED, *_UNFIT))
    def post(self, session_id: UUID, *, reason: str) -> Any:
        """Cancel a session without marks."""
        given: dict[str, Any] = {"session_id": session_id, "reason": reason, "expected": self.if_match}
        return rescheduling.cancel(self.session, self.principal, now=self.now, **given)


@sessions.route("/<uuid:session_id>/move/")
class AttendanceSessionMove(Resource):
    """Moving a session."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("moveAttendanceSession")
    @sessions.body(schemas.SessionMoveIn)
    @sessions.answers(
        schemas.AttendanceSessionOut,
        raises=(NotFound, PreconditionFailed, *_MARKED, service.SessionCancelled, *_UNFIT),
    )
    def post(self, session_id: UUID, **to: Any) -> Any:
        """Move a session to another date, slot or time; one with marks keeps its date."""
        given: dict[str, Any] = {"session_id": session_id, "expected": self.if_match, **to}
        return rescheduling.move(self.session, self.principal, now=self.now, **given)


@sessions.route("/<uuid:session_id>/substitutes/")
class AttendanceSessionSubstitutes(Resource):
    """The substitutes of one session."""

    @needs(Permission.GROUPS_WRITE)
    @named("createAttendanceSessionSubstitute")
    @sessions.body(schemas.SessionSubstituteIn)
    @sessions.answers(GroupSubstituteOut, status=201, raises=(NotFound, *_SUBSTITUTE))
    def post(self, session_id: UUID, **given: Any) -> Any:
        """Assign a substitute to the group for the day of the session, and the next one if it ends then."""
        substitute, _ = substitutes.assign(self.session, self.principal, session_id=session_id, **given)
        return substitute, 201


@sessions.route("/<uuid:session_id>/submit/")
class AttendanceSessionSubmit(Resource):
    """Submitting a register."""

    @needs(Permission.ATTENDANCE_MARK)
    @sessions.answers(schemas.AttendanceSessionOut, raises=(NotFound, PreconditionFailed, *_STATES))
    def post(self, session_id: UUID) -> Any:
        """Submit a register; a later change needs a reason."""
        return service.submit(self.session, self.principal, session_id=session_id, expected=self.if_match, now=self.now)


@sessions.route("/<uuid:session_id>/lock/")
class AttendanceSessionLock(Resource):
    """Locking a register."""

    @needs(Permission.ATTENDANCE_WRITE)
    @sessions.answers(schemas.AttendanceSessionOut, raises=(NotFound, PreconditionFailed, service.SessionCancelled))
    def post(self, session_id: UUID) -> Any:
        """Lock a register; a later change needs a permission and a reason."""
        return service.lock_register(
            self.session, self.principal, session_id=session_id, expected=self.if_match, now=self.now
        )


@sessions.route("/<uuid:session_id>/reopen/")
class AttendanceSessionReopen(Resource):
    """Reopening a register."""

    @needs(Permission.ATTENDANCE_WRITE)
    @sessions.answers(schemas.AttendanceSessionOut, raises=(NotFound, PreconditionFailed, service.SessionCancelled))
    def post(self, session_id: UUID) -> Any:
        """Open a submitted or locked register again."""
        return service.reopen(self.session, self.principal, session_id=session_id, expected=self.if_match, now=self.now)


@sessions.route("/<uuid:session_id>/records/")
class AttendanceRegister(Resource):
    """One session's register."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getAttendanceRegister")
    @cached(tags=("attendance", "attendance_sessions", "groups", "enrolments", "students"), same_for_role=True)
    @sessions.answers_page(record_schemas.RegisterRowOut, sorts=("name",))
    def get(self, session_id: UUID, *, page: Any) -> Any:
        """Show a register: the roster as of the session's date, with each student's mark."""
        return registers.show(self.session, self.principal, session_id, page=page)

    @needs(Permission.ATTENDANCE_MARK)
    @named("markAttendance")
    @sessions.body(record_schemas.MarksIn, most_mib=8)
    @sessions.answers(
        record_schemas.MarksResultOut,
        raises=(
            *(NotFound, MonthUnavailable, marks.ReasonRequired, *_ROSTER),
            marking.MarkRemovedMeanwhile,
            *_STATES,
        ),
    )
    def put(self, session_id: UUID, **given: Any) -> Any:
        """Mark many students; each row has its own result."""
        return marking.mark_many(self.session, self.principal, session_id=session_id, expected=self.if_match, **given)


@group_sessions.route("/<uuid:group_id>/sessions/")
class GroupSessions(Resource):
    """A group's sessions."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=("attendance_sessions", "groups", "enrolments", "students"), same_for_role=True)
    @group_sessions.query(schemas.GroupSessionFilter)
    @group_sessions.answers_page(schemas.AttendanceSessionOut, sorts=("date",))
    def get(self, group_id: UUID, *, page: Any, **filters: Any) -> Any:
        """List a group's sessions by date."""
        return queries.list_of_group(self.session, self.principal, group_id, page=page, **filters)


@group_sessions.route("/<uuid:group_id>/sessions/<local_date>/<slot>/")
class GroupSlotSession(Resource):
    """The session of a group's date and slot."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("putGroupSession")
    @group_sessions.body(schemas.SlotSessionIn)
    @group_sessions.answers(
        schemas.AttendanceSessionOut,
        status=201,
        raises=(PreconditionFailed, service.SessionCancelled, *_NEW, *_UNFIT),
    )
    def put(self, group_id: UUID, local_date: str, slot: str, **given: Any) -> Any:
        """Return the session of a date and slot; create it (201) if the group has none."""
        found, is_new = slots.get_or_create(
            self.session,
            self.principal,
            group_id=group_id,
            local_date=local_date,
            slot=slot,
            expected=self.if_match,
            now=self.now,
            **given,
        )
        return found, 201 if is_new else 200
