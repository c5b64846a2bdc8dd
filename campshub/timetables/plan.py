"""Which dates a weekly meeting is planned on, and the instants of a planned date: pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from campshub.core.dates import date_exists, local_instant, week_start

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)


@dataclass(frozen=True)
class Days:
    """A range of dates with a name, both dates included: a term or a holiday."""

    name: str
    first_date: date
    last_date: date

    def has(self, day: date) -> bool:
        """Return whether a date is in the range."""
        return self.first_date <= day <= self.last_date


@dataclass(frozen=True)
class OpenDays:
    """The dates on which a group meets: its own dates, and the terms without the holidays of its calendar."""

    first_date: date | None = None
    last_date: date | None = None
    terms: Sequence[Days] = ()
    holidays: Sequence[Days] = ()

    def has(self, day: date) -> bool:
        """Return whether the group meets on a date; a calendar without terms has no limits but its holidays."""
        if self.first_date is not None and day < self.first_date:
            return False
        if self.last_date is not None and day > self.last_date:
            return False
        if self.terms and not any(term.has(day) for term in self.terms):
            return False
        return not any(holiday.has(day) for holiday in self.holidays)


@dataclass(frozen=True)
class Occurrence:
    """One planned session of a weekly meeting."""

    meeting_id: UUID
    series_id: UUID
    group_id: UUID
    planned_on: date
    slot: str
    starts_at: datetime
    ends_at: datetime

    def values(self) -> dict[str, Any]:
        """Return what a session gets from its meeting."""
        return {
            "local_date": self.planned_on,
            "slot": self.slot,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "meeting_id": self.meeting_id,
            "planned_on": self.planned_on,
        }


def is_planned(meeting: Any, day: date, open_days: OpenDays, zone: ZoneInfo) -> bool:
    """Return whether a version of a weekly meeting is planned on a date of a zone."""
    if day.weekday() != meeting.weekday or day < meeting.first_date:
        return False
    if meeting.last_date is not None and day > meeting.last_date:
        return False
    return _is_its_week(meeting, day) and open_days.has(day) and date_exists(day, zone)


def _is_its_week(meeting: Any, day: date) -> bool:
    if meeting.weeks == "every":
        return True
    if meeting.weeks == "second":
        weeks: int = (week_start(day) - week_start(meeting.anchor_date)) // _WEEK
        return weeks % 2 == 0
    # ISO weeks: after an odd week 53, the next year begins with another odd one.
    return day.isocalendar().week % 2 == (1 if meeting.weeks == "odd" else 0)


def occurrence(meeting: Any, day: date, zone: ZoneInfo) -> Occurrence:
    """Return the session of a weekly meeting on a date, whether it is planned or not.

    If a clock change would put the end before the start, the session has its length by the clock.
    """
    begin, end = time.fromisoformat(meeting.start_time), time.fromisoformat(meeting.end_time)
    last_day = day if end > begin else day + _DAY
    starts_at, ends_at = local_instant(day, begin, zone), local_instant(last_day, end, zone)
    if ends_at <= starts_at:
        ends_at = starts_at + (datetime.combine(last_day, end) - datetime.combine(day, begin))
    return Occurrence(meeting.id, meeting.series_id, meeting.group_id, day, meeting.slot, starts_at, ends_at)


def occurrences(
    meeting: Any, first_date: date, last_date: date, open_days: OpenDays, zone: ZoneInfo
) -> Iterator[Occurrence]:
    """Yield the planned sessions of a version of a weekly meeting in a range of dates, each date once."""
    day = first_date + ((meeting.weekday - first_date.weekday()) % 7) * _DAY
    while day <= last_date:
        if is_planned(meeting, day, open_days, zone):
            yield occurrence(meeting, day, zone)
        day += _WEEK


def in_week_of(day: date, meeting: Any) -> date:
    """Return the date of a meeting's weekday in the ISO week of a date."""
    weekday: int = meeting.weekday
    return week_start(day) + weekday * _DAY
