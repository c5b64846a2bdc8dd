"""Schemas of attendance counts."""

from marshmallow import fields as ma

from campshub.attendance.schemas.records import AttendanceCountsOut, DateRange
from campshub.core.http.schemas import fields


class GroupDayFilter(DateRange):
    """Filters of counts by group and day."""

    group_id = fields.Id(load_default=None)


class WholeMonthsFilter(fields.Filter):
    """A range of at most 400 days, extended to whole months; the last twelve months by default."""

    first_date = fields.LocalDate(data_key="from", load_default=None)
    last_date = fields.LocalDate(data_key="to", load_default=None)


class _CountsOut(AttendanceCountsOut):
    minutes = ma.Integer(required=True, metadata={"description": "Between check-in and check-out, if both are known."})
    marked = ma.Integer(required=True, metadata={"description": "All marks."})
    rate = fields.Float(
        required=True,
        allow_none=True,
        most=1,
        metadata={"description": "Attended marks as a share of those in the rate."},
    )


class GroupDayOut(_CountsOut):
    """The counts of a group's marks on a day."""

    local_date = ma.Date(required=True)
    group_id = fields.Id(required=True, allow_none=True, metadata={"description": "None: open gym."})


class StudentMonthOut(_CountsOut):
    """The counts of a student's marks in a month."""

    month = ma.Date(required=True, metadata={"description": "The first day of the month."})
