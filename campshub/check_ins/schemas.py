"""Schemas of check-ins."""

from marshmallow import fields as ma

from campshub.attendance.schemas.records import MarkOut
from campshub.check_ins.models import KINDS
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows

MOST_EVENTS = 500
_OUTCOMES = ("created", "repeated", "error")
_ID = "The event's own id (UUID version 7), made by the device: the same event again returns the same record."
_NAMED = "One of `student_id`, `code`, `card`, `personal_code` and `qr` names the student."
_PERSONAL = "A student's code that works once (`POST /api/students/{id}/check-in-code/`); not in an upload."
_QR = "The session's current QR code, scanned by the student: it checks the caller in, without `at` and a group."


class CheckInIn(fields.In):
    """One check-in or check-out."""

    example = fields.Example(
        id=fields.example_id("check_in_id"),
        kind="in",
        session_id=fields.example_id("session_id"),
        student_id=fields.example_id("student_id"),
    )

    id = fields.Id(required=True, metadata={"description": _ID})
    kind = fields.Text(required=True, one_of=KINDS)
    at = fields.Instant(allow_none=True, metadata={"description": "The device's time; default: the server's."})
    session_id = fields.Id(
        allow_none=True, metadata={"description": "The session, or name the group; neither: a visit of open gym."}
    )
    group_id = fields.Id(
        allow_none=True, metadata={"description": "The session of this group that is nearest in time is chosen."}
    )
    student_id = fields.Id(allow_none=True, metadata={"description": _NAMED})
    code = fields.Text(allow_none=True, least=1, metadata={"description": "The student's code, as typed."})
    card = fields.Name(allow_none=True, most=64, metadata={"description": "The number of the student's card."})
    personal_code = fields.PastedSecret(allow_none=True, most=40, metadata={"description": _PERSONAL})
    qr = fields.Text(allow_none=True, least=1, most=400, metadata={"description": _QR})


class CheckInsIn(fields.In):
    """Events of a device that was offline, in any order; events that were sent before may be among them."""

    example = fields.Example(
        events=[
            {
                "id": fields.example_id("late_check_in_id"),
                "kind": "in",
                "at": fields.yesterday_morning,
                "session_id": fields.example_id("session_id"),
                "student_id": fields.example_id("student_id"),
            }
        ]
    )

    events = Rows(CheckInIn, required=True, most=MOST_EVENTS)


class CheckInRecordOut(MarkOut):
    """The record of the student in the session."""

    device_id = fields.Id(required=True, allow_none=True)
    marked_by = fields.Id(required=True, allow_none=True)


class VisitOut(fields.Out):
    """A visit of open gym."""

    id = fields.Id(required=True)
    checked_in_at = ma.AwareDateTime(required=True)
    checked_out_at = ma.AwareDateTime(required=True, allow_none=True)
    is_automatic = fields.Boolean(
        required=True, metadata={"description": "It was ended because no one had checked out."}
    )


class CheckInOut(fields.Out):
    """A recorded event, with the record of its student as it is now."""

    id = fields.Id(required=True)
    outcome = fields.Text(required=True, one_of=_OUTCOMES)
    kind = fields.Text(required=True, one_of=KINDS)
    at = ma.AwareDateTime(required=True)
    session_id = fields.Id(required=True, allow_none=True, metadata={"description": "Null: a visit of open gym."})
    student_id = fields.Id(required=True)
    student_name = fields.Text(
        required=True, allow_none=True, metadata={"description": "The name to greet the student with."}
    )
    record = ma.Nested(CheckInRecordOut, required=True, allow_none=True)
    visit = ma.Nested(
        VisitOut,
        required=True,
        allow_none=True,
        metadata={"description": "Without a session: the student's last visit, if there is one."},
    )


class CheckInResultOut(CheckInOut):
    """The result of one event of several."""

    index = ma.Integer(required=True, metadata={"description": "The event's index in the body, from 0."})
    id = fields.Id(required=True, allow_none=True)
    kind = fields.Text(required=True, allow_none=True, one_of=KINDS)
    at = ma.AwareDateTime(required=True, allow_none=True)
    session_id = fields.Id(required=True, allow_none=True)
    student_id = fields.Id(required=True, allow_none=True)
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class CheckInsSummaryOut(fields.Out):
    """The number of events by outcome."""

    created = ma.Integer(required=True)
    repeated = ma.Integer(required=True)
    error = ma.Integer(required=True)


class CheckInsResultOut(fields.Out):
    """The result of each event."""

    results = ma.List(ma.Nested(CheckInResultOut), required=True)
    summary = ma.Nested(CheckInsSummaryOut, required=True)


class SessionQrFilter(fields.Filter):
    """Whether a picture of the code is wanted."""

    picture = fields.Text(load_default=None, one_of=("svg", "png"))


class SessionQrOut(fields.Out):
    """The current QR code of a session."""

    session_id = fields.Id(required=True)
    code = fields.Text(required=True, metadata={"description": "The content of the QR code."})
    issued_at = ma.AwareDateTime(required=True)
    expires_at = ma.AwareDateTime(required=True, metadata={"description": "30 seconds after it was issued."})
    refresh_after_s = ma.Integer(required=True, metadata={"description": "When the screen should get the next one."})
    svg = fields.Text(required=True, allow_none=True)
    png = fields.Text(required=True, allow_none=True, metadata={"description": "In base64."})


class CheckInCodeIn(fields.In):
    """How long a personal code is valid."""

    example = fields.Example(valid_minutes=5)

    valid_minutes = fields.Integer(load_default=5, least=1, most=15)


class CheckInCodeOut(fields.Out):
    """A personal code, which only this response contains."""

    student_id = fields.Id(required=True)
    code = fields.Text(required=True)
    expires_at = ma.AwareDateTime(required=True)


class StudentCardIn(fields.In):
    """A new card of a student."""

    example = fields.Example(number="04A224B2C11E80")

    number = fields.Name(required=True, most=64)


class StudentCardOut(fields.Out):
    """A card of a student."""

    id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    number = fields.Text(required=True)
    created_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class OccupancyOut(fields.Out):
    """How many people are in open gym."""

    present = ma.Integer(required=True)


class HoursFilter(fields.Filter):
    """A range of at most 31 days."""

    first_date = fields.LocalDate(data_key="from", load_default=None)
    last_date = fields.LocalDate(data_key="to", load_default=None)


class HourOut(fields.Out):
    """The people who were in open gym in an hour."""

    begins_at = ma.AwareDateTime(required=True)
    local_date = ma.Date(required=True)
    hour = ma.Integer(required=True, metadata={"description": "The local hour in which it begins."})
    people = ma.Integer(required=True)


class HoursOut(fields.Out):
    """Occupancy by hour."""

    items = ma.List(ma.Nested(HourOut), required=True)
