"""Arithmetic with the months, weeks and years of the calendar, whose years are 1 to 9999, and local times of a zone."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_MONTHS = 12


def month_start(day: date) -> date:
    """Return the first day of a date's month."""
    return day.replace(day=1)


def month_end(day: date) -> date:
    """Return the last day of a date's month."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def add_months(day: date, months: int) -> date:
    """Return the first day of the month that is ``months`` months after a date's month; before it, if negative.

    :raises ValueError: it is outside the calendar.
    """
    return _month(_number(day) + months)


def months_in(first_date: date, last_date: date) -> Iterator[date]:
    """Yield the first day of each month that a range of dates touches."""
    return map(_month, range(_number(first_date), _number(last_date) + 1))


def years_before(day: date, years: int) -> date:
    """Return the same day of an earlier year; for 29 February, 28 February if that year is no leap year.

    :raises ValueError: it is outside the calendar.
    """
    month = date(day.year - years, day.month, 1)
    return month.replace(day=min(day.day, month_end(month).day))


def week_start(day: date) -> date:
    """Return the Monday of a date's week."""
    return day - timedelta(days=day.weekday())


def local_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time, in UTC; docs/decisions/0028-timetables.md has the rule.

    A time that the clocks skip moves forward by the length of the gap. Of a time that occurs twice, the first counts.
    """
    # PEP 495: with fold=0, both cases use the offset from before the change.
    return datetime.combine(day, at.replace(fold=0), zone).astimezone(UTC)


def date_exists(day: date, zone: ZoneInfo) -> bool:
    """Return whether a date occurs in a zone; some zones have skipped one when they crossed the date line."""
    return local_instant(day, time.min, zone).astimezone(zone).date() == day


def _number(day: date) -> int:
    return day.year * _MONTHS + day.month - 1


def _month(number: int) -> date:
    return date(number // _MONTHS, number % _MONTHS + 1, 1)
