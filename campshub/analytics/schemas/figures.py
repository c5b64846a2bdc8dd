"""Schemas of rates, streaks, heat maps and punctuality."""

from marshmallow import fields as ma
from marshmallow import validate

from campshub.analytics.queries.periods import PeriodUnit
from campshub.analytics.queries.rates import Basis
from campshub.attendance.schemas.records import DateRange
from campshub.core.http.schemas import fields

_RATE = "Attended as a share of all that count, 0 to 1; null if nothing counts."
_TAKEN = "`taken`: marks that count in the rate. `scheduled`: also marks that were scheduled and are not taken."


class _Of(DateRange):
    group_id = fields.Id(load_default=None)
    student_id = fields.Id(load_default=None)


class FiguresFilter(_Of):
    """A range of at most 400 days, by default the current month; a group or a student."""


class RatesFilter(_Of):
    """Rates by period; by default a month of days, twelve weeks or twelve months."""

    by = fields.Text(
        one_of=PeriodUnit, load_default=PeriodUnit.DAY.value, metadata={"description": "The unit of the periods."}
    )
    basis = fields.Text(one_of=Basis, load_default=Basis.TAKEN.value, metadata={"description": _TAKEN})


class StreaksFilter(fields.Filter):
    """A range of at most 400 days; the last 400 days by default."""

    first_date = fields.LocalDate(data_key="from", load_default=None)
    last_date = fields.LocalDate(data_key="to", load_default=None)


class _RateCountsOut(fields.Out):
    scheduled = ma.Integer(
        required=True, allow_none=True, metadata={"description": "Only with `basis=scheduled`: marks to be taken."}
    )
    not_taken = ma.Integer(
        required=True, allow_none=True, metadata={"description": "Only with `basis=scheduled`: these are no absences."}
    )
    marked = ma.Integer(required=True, metadata={"description": "Marks; with `basis=scheduled` without open gym."})
    rated = ma.Integer(required=True, metadata={"description": "Marks that count in the rate."})
    attended = ma.Integer(required=True, metadata={"description": "Of these, the attended ones."})
    rate = fields.Float(required=True, allow_none=True, most=1, metadata={"description": _RATE})


class PeriodRateOut(_RateCountsOut):
    """The rate of one period."""

    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    change = fields.Float(
        required=True,
        allow_none=True,
        least=-1,
        most=1,
        metadata={"description": "The rate minus that of the period before; null if one of them has none."},
    )


class RatesOut(_RateCountsOut):
    """Rates by period, and of all periods."""

    by = fields.Text(required=True, one_of=PeriodUnit)
    basis = fields.Text(required=True, one_of=Basis)
    items = ma.List(ma.Nested(PeriodRateOut), required=True)


class StreaksOut(fields.Out):
    """A student's runs of attended and missed sessions."""

    student_id = fields.Id(required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    sessions = ma.Integer(required=True, metadata={"description": "Marks that count in the rate."})
    current_streak = ma.Integer(required=True, metadata={"description": "The sessions attended since the last miss."})
    longest_streak = ma.Integer(required=True)
    missed_in_a_row = ma.Integer(required=True, metadata={"description": "Sessions missed since the last attended."})
    last_attended_on = ma.Date(required=True, allow_none=True)


class HeatMapCellOut(fields.Out):
    """The sessions that start in one hour of a weekday."""

    weekday = ma.Integer(required=True, validate=validate.Range(1, 7), metadata={"description": "1 is Monday."})
    hour = ma.Integer(required=True, validate=validate.Range(0, 23))
    sessions = ma.Integer(required=True)
    marked = ma.Integer(required=True)
    rated = ma.Integer(required=True)
    attended = ma.Integer(required=True)
    rate = fields.Float(required=True, allow_none=True, most=1, metadata={"description": _RATE})


class HeatMapOut(fields.Out):
    """Rates by weekday and hour; only hours in which sessions with marks and a start begin."""

    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    cells = ma.List(ma.Nested(HeatMapCellOut), required=True)


class PunctualityOut(fields.Out):
    """How many students came late, and how late."""

    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    there = ma.Integer(required=True, metadata={"description": "Marks of students who were there."})
    late = ma.Integer(required=True, metadata={"description": "Of these, the late ones."})
    late_share = fields.Float(required=True, allow_none=True, most=1)
    timed = ma.Integer(required=True, metadata={"description": "Late marks with a check-in, in sessions with a start."})
    mean_minutes_late = ma.Integer(required=True, allow_none=True)
    most_minutes_late = ma.Integer(required=True, allow_none=True)
