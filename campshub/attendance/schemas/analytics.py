"""What marks add up to, as it goes out."""

from marshmallow import fields as ma

from campshub.attendance.schemas.records import AttendanceCountsOut, DateRange
from campshub.core.http.schemas import fields


class GroupDayFilter(DateRange):
    """Which groups and days."""

    group_id = fields.Id(load_default=None)


class PeriodFilter(fields.Filter):
    """From one date to another, 400 days at most, whole months; the last twelve where neither is given."""

    first = fields.LocalDate(data_key="from", load_default=None)
    last = fields.LocalDate(data_key="to", load_default=None)


class _CountsOut(AttendanceCountsOut):
    minutes = ma.Integer(
        required=True, metadata={"description": "Between check-in and check-out, where both are known."}
    )
    marked = ma.Integer(required=True, metadata={"description": "All marks."})
    rate = fields.Real(
        required=True, allow_none=True, most=1, metadata={"description": "Attended among those that enter the rate."}
    )


class GroupDayOut(_CountsOut):
    """What a group's marks of a day add up to."""

    local_date = ma.Date(required=True)
    group_id = fields.Id(required=True, allow_none=True, metadata={"description": "None: open gym."})


class StudentMonthOut(_CountsOut):
    """What a student's marks of a month add up to."""

    month = ma.Date(required=True, metadata={"description": "Its first day."})
