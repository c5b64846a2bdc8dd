"""Fold a student's events in open gym into visits; the result depends on the set of events, not on their order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

# A check-out ends the visit that began at most this long before, also one that was ended automatically.
LONGEST = timedelta(hours=24)
# The time of an event, its kind, and its id.
Moment = tuple[datetime, str, UUID]


@dataclass
class FoldedVisit:
    """One visit; its id is that of the event that began it."""

    id: UUID
    checked_in_at: datetime
    checked_out_at: datetime | None = None
    is_automatic: bool = False


@dataclass(frozen=True)
class AutomaticEnd:
    """When visits end of which no one has checked out: after some hours, or when the place closes."""

    hours: int
    closes_at: time | None
    zone: ZoneInfo

    @classmethod
    def of(cls, rules: Mapping[str, Any], time_zone: str) -> "AutomaticEnd":
        """Return the rule of an organization."""
        closes_at = rules["open_gym_closes_at"]
        return cls(rules["open_gym_hours"], time.fromisoformat(closes_at) if closes_at else None, ZoneInfo(time_zone))

    def after(self, checked_in_at: datetime) -> datetime:
        """Return the automatic end of a visit."""
        latest = checked_in_at + timedelta(hours=self.hours)
        if self.closes_at is None:
            return latest
        day = checked_in_at.astimezone(self.zone).date()
        closings = [
            datetime.combine(one, self.closes_at, self.zone).astimezone(UTC) for one in (day, day + timedelta(days=1))
        ]
        return min(latest, *(closing for closing in closings if closing > checked_in_at))


def fold(moments: Iterable[Moment], end: AutomaticEnd, now: datetime) -> list[FoldedVisit]:
    """Return the visits that follow from events.

    A second check-in during a visit belongs to it. A check-out without a visit is ignored; after another check-out, it
    extends the visit.
    """
    visits: list[FoldedVisit] = []
    for at, kind, event_id in sorted(moments):
        last = visits[-1] if visits else None
        if kind == "out":
            if last is not None and at - last.checked_in_at <= LONGEST:
                last.checked_out_at, last.is_automatic = at, False
            continue
        if last is not None and last.checked_out_at is None:
            if at <= end.after(last.checked_in_at):
                continue
            _end(last, end)
        visits.append(FoldedVisit(event_id, at))
    if visits and visits[-1].checked_out_at is None and end.after(visits[-1].checked_in_at) <= now:
        _end(visits[-1], end)
    return visits


def _end(visit: FoldedVisit, end: AutomaticEnd) -> None:
    visit.checked_out_at, visit.is_automatic = end.after(visit.checked_in_at), True
