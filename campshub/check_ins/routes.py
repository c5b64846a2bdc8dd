"""The endpoints of check-ins."""

from typing import Any
from uuid import UUID

from campshub.attendance.service.marking import MarkRemovedMeanwhile
from campshub.check_ins import schemas
from campshub.check_ins.queries import cards as card_reads
from campshub.check_ins.queries import visits as visit_reads
from campshub.check_ins.service import cards, events, personal_codes, qr, refusals
from campshub.core.errors import IdTaken, MonthUnavailable, NotFound, RateLimited
from campshub.core.http.decorators import named, needs, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

check_ins = Blueprint(
    "check_ins",
    __name__,
    url_prefix="/api/attendance/check-ins",
    description="Check-ins and check-outs, which devices may send late, out of order and repeatedly.",
)
session_qr = Blueprint(
    "session_qr", __name__, url_prefix="/api/attendance/sessions", description="The QR codes of sessions."
)
student_check_ins = Blueprint(
    "student_check_ins", __name__, url_prefix="/api/students", description="What a student checks in with."
)
occupancy = Blueprint(
    "occupancy", __name__, url_prefix="/api/attendance/occupancy", description="How many people are in open gym."
)
blueprints = (check_ins, session_qr, student_check_ins, occupancy)

_REFUSALS = (
    refusals.OneWay,
    refusals.SessionOrGroup,
    refusals.UnknownPerson,
    refusals.UnknownSession,
    refusals.NoSession,
    refusals.NotOnRoster,
    refusals.NotNearThatDay,
    refusals.TooOld,
    refusals.TooFarAhead,
    refusals.SessionClosed,
    refusals.NoCode,
    *(refusals.QrInvalid, refusals.QrExpired, refusals.QrOtherOrganization, refusals.QrOtherSession),
    *(refusals.QrHasTime, refusals.NotInGroup, refusals.NotAStudent, refusals.ForeignNetwork, refusals.WayNotAllowed),
    *(refusals.CodeNotValid, RateLimited),
)
_STATES = (MonthUnavailable, MarkRemovedMeanwhile)


@check_ins.route("/")
class CheckIns(Resource):
    """Single events."""

    @needs(Permission.ATTENDANCE_CHECK_IN)
    @named("checkIn")
    @check_ins.body(schemas.CheckInIn)
    @check_ins.answers(schemas.CheckInOut, raises=(IdTaken, *_REFUSALS, *_STATES))
    def post(self, **given: Any) -> Any:
        """Check a student in or out."""
        return events.check_in(self.session, self.principal, self.services, now=self.now, **given)


@check_ins.route("/bulk/")
class CheckInUploads(Resource):
    """Events of devices that were offline."""

    @needs(Permission.ATTENDANCE_MARK)
    @named("uploadCheckIns")
    @check_ins.body(schemas.CheckInsIn)
    @check_ins.answers(schemas.CheckInsResultOut, raises=(*_STATES, RateLimited))
    def post(self, **given: Any) -> Any:
        """Upload up to 500 events; each has its own result."""
        return events.check_in_many(self.session, self.principal, self.services, now=self.now, **given)


@session_qr.route("/<uuid:session_id>/qr/")
class SessionQr(Resource):
    """The rotating QR code of a session."""

    @needs(Permission.ATTENDANCE_MARK)
    @session_qr.query(schemas.SessionQrFilter)
    @session_qr.answers(schemas.SessionQrOut, raises=(NotFound, refusals.SessionClosed))
    def get(self, session_id: UUID, *, picture: str | None) -> Any:
        """Show the current QR code, for a screen that asks again every 10 seconds."""
        return qr.show(
            self.session, self.principal, self.services, session_id=session_id, picture=picture, now=self.now
        )


@student_check_ins.route("/<uuid:student_id>/check-in-code/")
class PersonalCode(Resource):
    """The personal code of a student."""

    @needs(Permission.ATTENDANCE_CHECK_IN)
    @named("issueCheckInCode")
    @secret
    @student_check_ins.body(schemas.CheckInCodeIn)
    @student_check_ins.answers(schemas.CheckInCodeOut, raises=(NotFound,))
    def post(self, student_id: UUID, *, valid_minutes: int) -> Any:
        """Issue a code that works once; an earlier one is not valid any more."""
        return personal_codes.issue(
            self.session,
            self.principal,
            self.services,
            student_id=student_id,
            valid_minutes=valid_minutes,
            now=self.now,
        )


@student_check_ins.route("/<uuid:student_id>/cards/")
class StudentCards(Resource):
    """The cards of a student."""

    @needs(Permission.STUDENTS_WRITE)
    @student_check_ins.answers_page(schemas.StudentCardOut, sorts=("created",), raises=(NotFound,))
    def get(self, student_id: UUID, *, page: Any) -> Any:
        """List the cards of a student."""
        return card_reads.list_cards(self.session, self.principal, student_id, page=page)

    @needs(Permission.STUDENTS_WRITE)
    @student_check_ins.body(schemas.StudentCardIn)
    @student_check_ins.answers(schemas.StudentCardOut, status=201, raises=(NotFound, refusals.CardTaken))
    def post(self, student_id: UUID, *, number: str) -> Any:
        """Give a student a card."""
        return cards.give(self.session, self.principal, student_id=student_id, number=number), 201


@student_check_ins.route("/<uuid:student_id>/cards/<uuid:card_id>/")
class OneStudentCard(Resource):
    """One card."""

    @needs(Permission.STUDENTS_WRITE)
    @student_check_ins.answers(schemas.StudentCardOut, raises=(NotFound,))
    def get(self, student_id: UUID, card_id: UUID) -> Any:
        """Show a card."""
        return card_reads.get_card(self.session, self.principal, student_id=student_id, card_id=card_id)

    @needs(Permission.STUDENTS_WRITE)
    @student_check_ins.answers(None, raises=(NotFound,))
    def delete(self, student_id: UUID, card_id: UUID) -> None:
        """Remove a card."""
        cards.remove(self.session, self.principal, student_id=student_id, card_id=card_id, expected=self.if_match)


@occupancy.route("/")
class OpenGymOccupancy(Resource):
    """The people who are there now."""

    @needs(Permission.ATTENDANCE_READ)
    @occupancy.answers(schemas.OccupancyOut)
    def get(self) -> Any:
        """Show how many people are in open gym."""
        return visit_reads.occupancy(self.session, self.principal)


@occupancy.route("/hours/")
class OpenGymHours(Resource):
    """The people by hour."""

    @needs(Permission.ATTENDANCE_READ)
    @occupancy.query(schemas.HoursFilter)
    @occupancy.answers(schemas.HoursOut)
    def get(self, **dates: Any) -> Any:
        """Show how many people were in open gym in each hour of a range of dates; the last seven days by default."""
        return visit_reads.occupancy_by_hour(self.session, self.principal, today=self.today, **dates)
