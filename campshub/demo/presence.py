"""The demo's attendance: a session a group and school day, and who came, as people do."""

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.core.db.bulk import copy_rows
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.demo.people import DemoPlace, Person

SATURDAY = 5
LOCKED_AFTER_DAYS = 14
SLOT = "09:00"
MEETING = timedelta(minutes=50)
_CODES = ("absent", "late", "excused", "left_early")
_NOTES = {"absent": ("no word", "family says ill"), "excused": ("doctor's letter", "competition", "family event")}

_SESSION = (
    "organization_id",
    "id",
    "group_id",
    "local_date",
    "slot",
    "starts_at",
    "ends_at",
    "status",
    "submitted_at",
    "submitted_by",
    "locked_at",
)
_RECORD = (
    "organization_id",
    "local_date",
    "id",
    "session_id",
    "student_id",
    "group_id",
    "code",
    "counts_as",
    "in_rate",
    "check_in_at",
    "source",
    "note",
    "marked_by",
)


def make_history(session: Session, place: DemoPlace, *, now: datetime, progress: Callable[[str, int], None]) -> None:
    """Make the sessions of each working day up to today, and their records; today's are still open."""
    members: dict[int, list[Person]] = {}
    for person in place.people:
        members.setdefault(person.group, []).append(person)
    for offset in range(place.days, 0, -1):
        day = place.today - timedelta(days=offset - 1)
        if day.weekday() < SATURDAY:
            _make_day(session, place, day, members, now)
        progress(f"{place.kind.name}: attendance", 1)


def _make_day(session: Session, place: DemoPlace, day: date, members: dict[int, list[Person]], now: datetime) -> None:
    starts_at = datetime.combine(day, time.fromisoformat(SLOT), ZoneInfo(place.kind.time_zone)).astimezone(UTC)
    age = (place.today - day).days
    status = "open" if age == 0 else "submitted" if age < LOCKED_AFTER_DAYS else "locked"
    taken_at = None if status == "open" else starts_at + MEETING
    locked_at = now if status == "locked" else None
    meetings = {number: new_id() for number in members}
    trainers = [user_id for login, user_id in place.staff.items() if login.startswith("trainer")]
    copy_rows(
        session,
        AttendanceSession,
        _SESSION,
        (
            (
                *(place.id, meeting, place.groups[number], day, SLOT, starts_at, starts_at + MEETING, status),
                *(taken_at, trainers[number % len(trainers)] if taken_at else None, locked_at),
            )
            for number, meeting in meetings.items()
        ),
    )
    if status != "open":
        records = _records(place, day, starts_at, members, meetings, trainers)
        copy_rows(session, AttendanceRecord, _RECORD, records)


def _records(
    place: DemoPlace,
    day: date,
    starts_at: datetime,
    members: dict[int, list[Person]],
    meetings: dict[int, uuid.UUID],
    trainers: list[uuid.UUID],
) -> Iterator[tuple[Any, ...]]:
    for number, persons in members.items():
        marked_by = trainers[number % len(trainers)]
        for person in persons:
            code = _code(place.dice, person, day)
            came = starts_at + timedelta(
                minutes=place.dice.randint(5, 25) if code == "late" else -place.dice.randint(0, 9)
            )
            note = place.dice.choice(_NOTES[code]) if code in _NOTES and place.dice.random() < 0.2 else None  # noqa: PLR2004 - a fifth
            yield (
                *(place.id, day, new_id(), meetings[number], person.id, place.groups[number], code, code, True),
                *(None if code in _NOTES else came, "bulk", note, marked_by),
            )


def _code(dice: random.Random, person: Person, day: date) -> str:
    """Draw a mark: people differ, and Mondays are harder."""
    reliability = person.reliability - (0.04 if day.weekday() == 0 else 0.0)
    if dice.random() < reliability:
        return "present"
    return dice.choices(_CODES, (45, 35, 15, 5))[0]
