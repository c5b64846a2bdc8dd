"""Records and registers, as they come in and go out."""

from marshmallow import fields as ma

from campshub.attendance.models import COUNTS_AS, SOURCES
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows

MOST_ROWS = 1_000
MOST_REASON = 500
_KEY = 32
_WHY = "Why it changes; required once the register has been submitted, and kept in the audit log."


class MarkIn(fields.In):
    """One student's mark."""

    student_id = fields.Id(required=True)
    code = fields.Text(required=True, most=_KEY)
    note = fields.Text(allow_none=True, most=fields.LONG)
    check_in_at = fields.PastInstant(allow_none=True)
    check_out_at = fields.PastInstant(allow_none=True)
    version = fields.Whole(least=1, metadata={"description": "Of the mark that the row changes."})


class MarksIn(fields.In):
    """Marks of many students."""

    example = fields.Example(
        records=[{"student_id": fields.example_id("student_id"), "code": "late", "note": "Bus 4."}], rest="present"
    )

    records = Rows(MarkIn, least=0, most=MOST_ROWS, load_default=list)
    rest = fields.Text(
        load_default=None,
        allow_none=True,
        most=_KEY,
        metadata={"description": "The code of all others on the roster who have no mark."},
    )
    overwrite = fields.Flag(load_default=False, metadata={"description": "Change other marks whatever their version."})
    reason = fields.Remark(load_default=None, allow_none=True, most=MOST_REASON, metadata={"description": _WHY})


class MarkOut(fields.Out):
    """A mark within its register."""

    id = fields.Id(required=True, allow_none=True)
    code = fields.Text(required=True, allow_none=True)
    counts_as = fields.Text(required=True, allow_none=True, one_of=COUNTS_AS)
    in_rate = fields.Flag(required=True, allow_none=True)
    check_in_at = ma.AwareDateTime(required=True, allow_none=True)
    check_out_at = ma.AwareDateTime(required=True, allow_none=True)
    minutes = ma.Integer(required=True, allow_none=True)
    source = fields.Text(required=True, allow_none=True, one_of=SOURCES)
    note = fields.Text(required=True, allow_none=True)
    version = ma.Integer(required=True, allow_none=True)


class MarkResultOut(MarkOut):
    """What became of one row, and the student's mark as it is now."""

    index = ma.Integer(
        required=True, allow_none=True, metadata={"description": "The row's place in the body, from 0; none: the rest."}
    )
    student_id = fields.Id(required=True, allow_none=True)
    outcome = fields.Text(required=True, one_of=("created", "updated", "unchanged", "conflict", "error"))
    present = ma.Nested(
        MarkOut, required=True, allow_none=True, metadata={"description": "With `conflict`: what stands there."}
    )
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class MarksSummaryOut(fields.Out):
    """How many rows ended which way."""

    created = ma.Integer(required=True)
    updated = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    conflict = ma.Integer(required=True)
    error = ma.Integer(required=True)


class MarksResultOut(fields.Out):
    """What became of each row."""

    results = ma.List(ma.Nested(MarkResultOut), required=True)
    summary = ma.Nested(MarksSummaryOut, required=True)
    version = ma.Integer(required=True, metadata={"description": "Of the register: how often its marks have changed."})


class RegisterRowOut(fields.Out):
    """A student on a register, and their mark."""

    student_id = fields.Id(required=True)
    student_code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    is_on_roster = fields.Flag(required=True)
    mark = ma.Nested(MarkOut, required=True, allow_none=True)


class AttendanceRecordOut(fields.Out):
    """A record."""

    id = fields.Id(required=True)
    session_id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    group_id = fields.Id(required=True, allow_none=True)
    local_date = ma.Date(required=True)
    code = fields.Text(required=True)
    counts_as = fields.Text(required=True, one_of=COUNTS_AS)
    in_rate = fields.Flag(required=True)
    check_in_at = ma.AwareDateTime(required=True, allow_none=True)
    check_out_at = ma.AwareDateTime(required=True, allow_none=True)
    minutes = ma.Integer(required=True, allow_none=True)
    source = fields.Text(required=True, one_of=SOURCES)
    device_id = fields.Id(required=True, allow_none=True)
    note = fields.Text(required=True, allow_none=True)
    marked_by = fields.Id(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class AttendanceRecordPatch(fields.In):
    """What changes in a record; what is not named stays."""

    example = fields.Example(code="late", note="Bus 4 had a puncture.")

    code = fields.Text(most=_KEY)
    note = fields.Text(allow_none=True, most=fields.LONG)
    check_in_at = fields.PastInstant(allow_none=True)
    check_out_at = fields.PastInstant(allow_none=True)
    reason = fields.Remark(load_default=None, allow_none=True, most=MOST_REASON, metadata={"description": _WHY})


class RecordDate(fields.Filter):
    """The date under which a record is kept."""

    on = fields.LocalDate(required=True, metadata={"description": "The record's own `local_date`."})


class RecordRemoval(RecordDate):
    """What a removal says."""

    reason = fields.Remark(load_default=None, most=MOST_REASON, metadata={"description": _WHY})


class DateRange(fields.Filter):
    """From one date to another, 400 days at most; the present month where neither is given."""

    first = fields.LocalDate(data_key="from", load_default=None)
    last = fields.LocalDate(data_key="to", load_default=None)


class AttendanceRecordFilter(DateRange):
    """Which records."""

    student_id = fields.Id(load_default=None)
    group_id = fields.Id(load_default=None)
    session_id = fields.Id(load_default=None)
    code = fields.Text(load_default=None, most=_KEY)


class AttendanceCountsOut(fields.Out):
    """How many marks count as what."""

    present = ma.Integer(required=True)
    late = ma.Integer(required=True)
    left_early = ma.Integer(required=True)
    absent = ma.Integer(required=True)
    excused = ma.Integer(required=True)


class StudentAttendanceOut(fields.Out):
    """A student's attendance from one date to another."""

    student_id = fields.Id(required=True)
    first = ma.Date(data_key="from", required=True)
    last = ma.Date(data_key="to", required=True)
    counts = ma.Nested(AttendanceCountsOut, required=True)
    total = ma.Integer(required=True)
    rate = fields.Real(
        required=True, allow_none=True, most=1, metadata={"description": "Attended among those that enter the rate."}
    )
    items = ma.List(ma.Nested(AttendanceRecordOut), required=True, metadata={"description": "The newest first."})
    has_more = fields.Flag(required=True, metadata={"description": "Older ones are at `/api/attendance/records/`."})
