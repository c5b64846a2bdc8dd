"""Named periods (last month, yesterday), and the times of a schedule in the organization's time zone."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from campshub.core.dates import add_months, month_end, month_start, week_start

_DAY = timedelta(days=1)
# More than the longest gap between two days of a schedule.
_MOST_DAYS = 70


def _month(day: date) -> tuple[date, date]:
    return month_start(day), month_end(day)


def _week(day: date) -> tuple[date, date]:
    monday = week_start(day)
    return monday, monday + 6 * _DAY


# Each maps today's date in the organization's time zone to a first and a last date.
PERIODS: Mapping[str, Callable[[date], tuple[date, date]]] = {
    "today": lambda day: (day, day),
    "yesterday": lambda day: (day - _DAY, day - _DAY),
    "this_week": _week,
    "last_week": lambda day: _week(day - 7 * _DAY),
    "this_month": _month,
    "last_month": lambda day: _month(add_months(day, -1)),
    "last_365_days": lambda day: (day - 364 * _DAY, day),
}


def next_slot(when: Any, zone: str, after: datetime) -> datetime:
    """Return a schedule's first time after ``after``.

    There is one time on each of its days: a local time that the clocks skip moves to right after the gap, and of a
    local time that occurs twice, the first counts.

    :param when: has ``frequency``, ``weekday``, ``day`` and ``local_time``.
    """
    zone_info = ZoneInfo(zone)
    day = after.astimezone(zone_info).date() - _DAY
    for _ in range(_MOST_DAYS):
        if _falls_on(when, day):
            at = datetime.combine(day, time.fromisoformat(when.local_time), zone_info).astimezone(UTC)
            if at > after:
                return at
        day += _DAY
    raise ValueError(f"never: {when.frequency} {when.weekday} {when.day}")


def _falls_on(when: Any, day: date) -> bool:
    if when.frequency == "weekly":
        return bool(day.weekday() == when.weekday)
    if when.frequency == "monthly":
        return bool(day.day == min(when.day, month_end(day).day))
    return True
