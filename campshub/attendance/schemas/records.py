"""Schemas of records and registers."""

from marshmallow import fields as ma

from campshub.attendance.models import COUNTS_AS, SOURCES
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows

MOST_ROWS = 1_000
MOST_REASON = 500
_KEY = 32
_RECORDED_AT = "When a device without a connection made the mark, by its clock; at most five minutes ahead."
_WHY = "The reason of the change; required once the register is submitted, and stored in the audit log."


class MarkIn(fields.In):
    """One student's mark."""

    student_id = fields.Id(required=True)
    code = fields.Text(required=True, most=_KEY)
    note = fields.Note(allow_none=True, most=fields.LONG)
    check_in_at = fields.PastInstant(allow_none=True)
    check_out_at = fields.PastInstant(allow_none=True)
    recorded_at = fields.PastInstant(allow_none=True, metadata={"description": _RECORDED_AT})
    version = fields.Integer(
        least=1, metadata={"description": "The version of the mark that this row changes, as `present` shows it."}
    )


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
        metadata={"description": "The code for all other students on the roster without a mark."},
    )
    overwrite = fields.Boolean(
        load_default=False, metadata={"description": "Change marks regardless of their version."}
    )
    reason = fields.NonEmptyText(load_default=None, allow_none=True, most=MOST_REASON, metadata={"description": _WHY})


class MarkOut(fields.Out):
    """A mark in its register."""

    id = fields.Id(required=True, allow_none=True)
    code = fields.Text(required=True, allow_none=True)
    counts_as = fields.Text(required=True, allow_none=True, one_of=COUNTS_AS)
    in_rate = fields.Boolean(required=True, allow_none=True)
    check_in_at = ma.AwareDateTime(required=True, allow_none=True)
    check_out_at = ma.AwareDateTime(required=True, allow_none=True)
    minutes = ma.Integer(required=True, allow_none=True)
    source = fields.Text(required=True, allow_none=True, one_of=SOURCES)
    note = fields.Text(required=True, allow_none=True)
    recorded_at = ma.AwareDateTime(required=True, allow_none=True, metadata={"description": _RECORDED_AT})
    version = ma.Integer(required=True, allow_none=True)


class MarkResultOut(MarkOut):
    """The result of one row, with the student's current mark."""

    index = ma.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The row's index, from 0; null: from `rest`."},
    )
    student_id = fields.Id(required=True, allow_none=True)
    outcome = fields.Text(required=True, one_of=("created", "updated", "unchanged", "conflict", "error"))
    present = ma.Nested(
        MarkOut, required=True, allow_none=True, metadata={"description": "With `conflict`: the present mark."}
    )
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class MarksSummaryOut(fields.Out):
    """The number of rows by outcome."""

    created = ma.Integer(required=True)
    updated = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    conflict = ma.Integer(required=True)
    error = ma.Integer(required=True)


class MarksResultOut(fields.Out):
    """The result of each row."""

    results = ma.List(ma.Nested(MarkResultOut), required=True)
    summary = ma.Nested(MarksSummaryOut, required=True)
    version = ma.Integer(required=True, metadata={"description": "The register's version: it counts changes of marks."})


class RegisterRowOut(fields.Out):
    """A student on a register, with their mark."""

    student_id = fields.Id(required=True)
    student_code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    is_on_roster = fields.Boolean(required=True)
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
    in_rate = fields.Boolean(required=True)
    check_in_at = ma.AwareDateTime(required=True, allow_none=True)
    check_out_at = ma.AwareDateTime(required=True, allow_none=True)
    minutes = ma.Integer(required=True, allow_none=True)
    source = fields.Text(required=True, one_of=SOURCES)
    device_id = fields.Id(required=True, allow_none=True)
    note = fields.Text(required=True, allow_none=True)
    marked_by = fields.Id(required=True, allow_none=True)
    recorded_at = ma.AwareDateTime(required=True, allow_none=True, metadata={"description": _RECORDED_AT})
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class AttendanceRecordPatch(fields.In):
    """Changes of a record; omitted fields stay as they are."""

    example = fields.Example(code="late", note="Bus 4 had a puncture.")

    code = fields.Text(most=_KEY)
    note = fields.Note(allow_none=True, most=fields.LONG)
    check_in_at = fields.PastInstant(allow_none=True)
    check_out_at = fields.PastInstant(allow_none=True)
    recorded_at = fields.PastInstant(load_default=None, allow_none=True, metadata={"description": _RECORDED_AT})
    reason = fields.NonEmptyText(load_default=None, allow_none=True, most=MOST_REASON, metadata={"description": _WHY})


class RecordDate(fields.Filter):
    """The date of a record, which selects its month table."""

    on = fields.LocalDate(required=True, metadata={"description": "The record's own `local_date`."})


class MarkChangeOut(fields.Out):
    """One change of a mark: who, when, with which key or device, before and after."""

    id = fields.Id(required=True)
    at = ma.AwareDateTime(required=True)
    user_id = fields.Id(required=True, allow_none=True, metadata={"description": "None: the system, such as a job."})
    api_key_id = fields.Id(
        required=True, allow_none=True, metadata={"description": "The API key or the device that acted for the user."}
    )
    action = fields.Text(required=True, one_of=("created", "changed", "deleted"))
    reason = fields.Text(required=True, allow_none=True)
    before = ma.Dict(
        required=True,
        allow_none=True,
        metadata={"description": 'By field; `{"erased": true}` if the student has been erased since.'},
    )
    after = ma.Dict(required=True, allow_none=True)


class RecordRemoval(RecordDate):
    """The parameters of a removal."""

    reason = fields.NonEmptyText(load_default=None, most=MOST_REASON, metadata={"description": _WHY})


class DateRange(fields.Filter):
    """A range of at most 400 days; the current month by default."""

    first_date = fields.LocalDate(data_key="from", load_default=None)
    last_date = fields.LocalDate(data_key="to", load_default=None)


class AttendanceRecordFilter(DateRange):
    """Filters of records."""

    student_id = fields.Id(load_default=None)
    group_id = fields.Id(load_default=None)
    session_id = fields.Id(load_default=None)
    code = fields.Text(load_default=None, most=_KEY)
    updated_from = fields.UpdatedFrom()


class AttendanceCountsOut(fields.Out):
    """The number of marks by what they count as."""

    present = ma.Integer(required=True)
    late = ma.Integer(required=True)
    left_early = ma.Integer(required=True)
    absent = ma.Integer(required=True)
    excused = ma.Integer(required=True)


class StudentAttendanceOut(fields.Out):
    """A student's attendance in a range of dates."""

    student_id = fields.Id(required=True)
    first_date = ma.Date(data_key="from", required=True)
    last_date = ma.Date(data_key="to", required=True)
    counts = ma.Nested(AttendanceCountsOut, required=True)
    total = ma.Integer(required=True)
    rate = fields.Float(
        required=True,
        allow_none=True,
        most=1,
        metadata={"description": "Attended marks as a share of those in the rate."},
    )
    items = ma.List(ma.Nested(AttendanceRecordOut), required=True, metadata={"description": "Newest first."})
    has_more = fields.Boolean(required=True, metadata={"description": "Older ones are at `/api/attendance/records/`."})
