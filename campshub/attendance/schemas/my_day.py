"""Schemas of the caller's day."""

from marshmallow import fields as ma

from campshub.attendance.models import SESSION_STATUSES
from campshub.attendance.schemas.records import AttendanceCountsOut, RegisterRowOut
from campshub.core.http.schemas import fields


class DayFilter(fields.Filter):
    """The date of the sessions."""

    on = fields.LocalDate(required=True, metadata={"description": "A date in the organization's time zone."})


class DayCountsOut(AttendanceCountsOut):
    """The number of students by what their marks count as."""

    unmarked = ma.Integer(required=True)


class DaySessionOut(fields.Out):
    """One session of the day, with its register."""

    id = fields.Id(required=True)
    group_id = fields.Id(required=True)
    group_code = fields.Text(required=True)
    group_name = fields.Text(required=True)
    local_date = ma.Date(required=True)
    slot = fields.Text(required=True, allow_none=True)
    starts_at = ma.AwareDateTime(required=True, allow_none=True)
    ends_at = ma.AwareDateTime(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=SESSION_STATUSES)
    version = ma.Integer(required=True)
    register_version = ma.Integer(
        required=True, metadata={"description": "The register's version, for `version` of `/api/attendance/sync/`."}
    )
    counts = ma.Nested(DayCountsOut, required=True)
    students = ma.List(ma.Nested(RegisterRowOut), required=True, metadata={"description": "By name."})


class DayOut(fields.Out):
    """The caller's sessions of a date."""

    on = ma.Date(required=True)
    items = ma.List(ma.Nested(DaySessionOut), required=True)
    has_more = fields.Boolean(
        required=True, metadata={"description": "There are more than 100 sessions or 5,000 students."}
    )
