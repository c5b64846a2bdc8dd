"""The endpoints of check-ins."""

from typing import Any
from uuid import UUID

from campshub.attendance.service.marking import MarkRemovedMeanwhile
from campshub.check_ins import schemas
from campshub.check_ins.service import events, qr, refusals
from campshub.core.errors import IdTaken, MonthUnavailable, NotFound
from campshub.core.http.decorators import named, needs
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
blueprints = (check_ins, session_qr)

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
    @check_ins.answers(schemas.CheckInsResultOut, raises=_STATES)
    def post(self, **given: Any) -> Any:
        """Upload up to 500 events; each has its own result."""
        return events.check_in_many(self.session, self.principal, now=self.now, **given)


@session_qr.route("/<uuid:session_id>/qr/")
class SessionQr(Resource):
    """The rotating QR code of a session."""

    @needs(Permission.ATTENDANCE_MARK)
    @session_qr.query(schemas.SessionQrFilter)
    @session_qr.answers(schemas.SessionQrOut, raises=(NotFound, refusals.SessionClosed))
    def get(self, session_id: UUID, *, picture: str | None) -> Any:
        """Show the current QR code, for a screen that asks again every 15 seconds."""
        return qr.show(
            self.session, self.principal, self.services, session_id=session_id, picture=picture, now=self.now
        )
