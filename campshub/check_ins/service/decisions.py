"""Decide a mark from the events of a student in a session: the times, and the code that follows from them.

The functions are pure, and a mark depends on the set of events, not on the order in which they arrived.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from campshub.attendance.queries.registers import Mark
from campshub.attendance.service.marks import minutes_between
from campshub.check_ins.queries.people import EventSession
from campshub.check_ins.queries.state import WHOLE_MARK
from campshub.check_ins.service.refusals import NoCode

# The sources of marks that follow from events. All others were set by staff, who decide about the code.
DERIVED = ("kiosk", "qr", "api")
# A new mark has every column that marks have, also those that no event sets.
_EMPTY = dict.fromkeys(name for name in WHOLE_MARK if name not in ("id", "version"))
Times = tuple[datetime | None, datetime | None]
Events = Iterable[tuple[str, datetime]]


def times_of(events: Events) -> Times:
    """Return the earliest check-in and the latest check-out; a check-out before the check-in does not count."""
    moments = list(events)
    arrived = min((at for kind, at in moments if kind == "in"), default=None)
    left = max((at for kind, at in moments if kind == "out"), default=None)
    return arrived, None if arrived and left and left < arrived else left


def merged_times(mark: Mark | None, before: Events, now: Events) -> Times:
    """Return a mark's times after new events.

    A time that the earlier events do not explain was entered by staff, and stays.
    """
    earlier, fresh = list(before), list(now)
    arrived, left = times_of([*earlier, *fresh])
    if mark is None:
        return arrived, left
    explained = times_of(earlier)
    arrived_fixed = mark["check_in_at"] not in (None, explained[0])
    left_fixed = mark["check_out_at"] not in (None, explained[1])
    arrived = mark["check_in_at"] if arrived_fixed else arrived
    left = mark["check_out_at"] if left_fixed else left
    if arrived and left and left < arrived:
        return (None, left) if left_fixed and not arrived_fixed else (arrived, None)
    return arrived, left


def counts_as(meeting: EventSession, rules: Mapping[str, Any], times: Times) -> str:
    """Return what times count as: late before left early, and present without a rule or a planned time."""
    arrived, left = times
    late_after, early_before = rules["late_after_minutes"], rules["left_early_before_minutes"]
    if arrived and meeting.starts_at and _exceeds(arrived - meeting.starts_at, late_after):
        return "late"
    if left and meeting.ends_at and _exceeds(meeting.ends_at - left, early_before):
        return "left_early"
    return "present"


def _exceeds(difference: timedelta, grace_minutes: int | None) -> bool:
    return grace_minutes is not None and difference > timedelta(minutes=grace_minutes)


def code_for(codes: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    """Return the organization's first code that counts as wanted; if there is none, the first that is present.

    :raises NoCode: the organization has neither.
    """
    for meaning in (wanted, "present"):
        for code in codes:
            if code["counts_as"] == meaning:
                return code
    raise NoCode


def decide(
    mark: Mark | None,
    times: Times,
    *,
    code: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return the columns of the mark to write; None if nothing changes.

    A code that staff have set stays, with everything that belongs to it; only the times are added.
    """
    added = {
        "check_in_at": times[0],
        "check_out_at": times[1],
        "minutes": minutes_between(*times),
    }
    if mark is None:
        fresh = {"code": code["key"], "counts_as": code["counts_as"], "in_rate": code["in_rate"]}
        return {**_EMPTY, **fresh, **origin, **added, "version": 1}
    values = {**mark, **added}
    if mark["source"] in DERIVED and mark["code"] != code["key"]:
        values |= {"code": code["key"], "counts_as": code["counts_as"], "in_rate": code["in_rate"]}
    if values == mark:
        return None
    return {**values, "version": mark["version"] + 1}
