"""Periods: the days, weeks and months by which figures are added up.

All statements return one row a day, and ``periods`` divides the days. So a further unit (the terms of a calendar) is
one more function from a date to the period that contains it, and changes no statement.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from campshub.attendance.queries import ranges
from campshub.core.dates import add_months, month_end, month_start, week_start

_DAY = timedelta(days=1)


class PeriodUnit(StrEnum):
    """The units of figures."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Period(NamedTuple):
    """A period; both dates are included."""

    first_date: date
    last_date: date


_CONTAINING: Mapping[PeriodUnit, Callable[[date], Period]] = {
    PeriodUnit.DAY: lambda day: Period(day, day),
    PeriodUnit.WEEK: lambda day: Period(week_start(day), week_start(day) + 6 * _DAY),
    PeriodUnit.MONTH: lambda day: Period(month_start(day), month_end(day)),
}
_DEFAULT_START: Mapping[PeriodUnit, Callable[[date], date]] = {
    PeriodUnit.DAY: month_start,
    PeriodUnit.WEEK: lambda day: day - timedelta(weeks=11),
    PeriodUnit.MONTH: lambda day: add_months(day, -11),
}


def periods(unit: PeriodUnit, first_date: date, last_date: date) -> list[Period]:
    """Return the period before a range of dates, and then the whole periods that touch the range."""
    period = _CONTAINING[unit](first_date)
    found = [_CONTAINING[unit](period.first_date - _DAY)]
    while period.first_date <= last_date:
        found.append(period)
        period = _CONTAINING[unit](period.last_date + _DAY)
    return found


def resolved(unit: PeriodUnit, today: date, given: Mapping[str, Any]) -> tuple[date, date]:
    """Return the first and the last date; a month of days, twelve weeks or twelve months by default.

    :raises Invalid: the last date is before the first, or the range is too long.
    """
    last_date = given.get("last_date") or max(today, given.get("first_date") or today)
    first_date = given.get("first_date") or _DEFAULT_START[unit](last_date)
    return ranges.checked(first_date, last_date)
