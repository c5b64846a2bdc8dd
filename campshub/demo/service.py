"""Create the demo, one organization at a time, with a few COPYs each; the same seed and day give the same data."""

import random
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from campshub.accounts.queries import signing_in as queries
from campshub.accounts.service import organizations as accounts
from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.core.db.bulk import copy_rows
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Conflict
from campshub.core.security.passwords import hash_password
from campshub.demo import people
from campshub.demo.people import DemoOrganization, Person
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.weights import grams

WORKOUT_DAYS = 60  # the number of last days with workout logs
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Size:
    """The size of the demo; ``students`` and ``days`` are per organization."""

    organizations: int
    students: int
    days: int
    seed: int

    @property
    def steps(self) -> int:
        """The total number of progress steps."""
        return self.organizations * (3 + self.days + min(self.days, WORKOUT_DAYS))


def seed(size: Size, *, now: datetime, password_cost: int, progress: Progress) -> list[dict[str, Any]]:
    """Create the demo organizations; return the id and the admin's sign-in of each, with a new random password.

    :raises Conflict: a demo exists.
    """
    password = f"demo-{secrets.token_urlsafe(9)}"
    password_hash = hash_password(password, cost=password_cost)
    signs = []
    for number in range(size.organizations):
        kind = people.KINDS[number % len(people.KINDS)]
        if number >= len(people.KINDS):
            kind = kind.numbered(number // len(people.KINDS) + 1)
        organization = people.DemoOrganization(
            id=new_id(),
            kind=kind,
            today=now.astimezone(ZoneInfo(kind.time_zone)).date(),
            days=size.days,
            rng=random.Random(f"{size.seed}:{number}"),  # noqa: S311 - not for secrets
        )
        with unit_of_work(system=True, organization_id=organization.id) as session:
            _fill(session, organization, size, password_hash, now, progress)
        signs.append({"email": f"admin@{kind.domain}", "password": password, "organization_id": organization.id})
    return signs


def _fill(
    session: Session,
    organization: people.DemoOrganization,
    size: Size,
    password_hash: str,
    now: datetime,
    progress: Progress,
) -> None:
    kind = organization.kind
    accounts.create_organization(
        session, organization_id=organization.id, name=kind.name, time_zone=kind.time_zone, currency=kind.currency
    )
    people.make_staff(session, organization, password_hash=password_hash, now=now)
    progress(kind.name, 1)
    people.make_groups(session, organization, max(1, size.students // people.GROUP_SIZE))
    progress(kind.name, 1)
    people.make_students(session, organization, size.students)
    progress(kind.name, 1)
    make_attendance(session, organization, now=now, progress=progress)
    make_workouts(session, organization, days=min(size.days, WORKOUT_DAYS), now=now, progress=progress)


def require_no_demo(session: Session) -> None:
    """Refuse if a demo exists.

    :raises Conflict: its first admin can sign in.
    """
    if queries.credentials_of(session, f"admin@{people.KINDS[0].domain}") is not None:
        raise Conflict("The demo data already exists; a new demo needs an empty database.")


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


def make_attendance(
    session: Session, organization: DemoOrganization, *, now: datetime, progress: Callable[[str, int], None]
) -> None:
    """Create the sessions of each working day up to today with their records; today's sessions are open."""
    members: dict[int, list[Person]] = {}
    for person in organization.people:
        members.setdefault(person.group, []).append(person)
    for offset in range(organization.days, 0, -1):
        day = organization.today - timedelta(days=offset - 1)
        if day.weekday() < SATURDAY:
            _make_day(session, organization, day, members, now)
        progress(f"{organization.kind.name}: attendance", 1)


def _make_day(
    session: Session, organization: DemoOrganization, day: date, members: dict[int, list[Person]], now: datetime
) -> None:
    starts_at = datetime.combine(day, time.fromisoformat(SLOT), ZoneInfo(organization.kind.time_zone)).astimezone(UTC)
    age = (organization.today - day).days
    status = "open" if age == 0 else "submitted" if age < LOCKED_AFTER_DAYS else "locked"
    taken_at = None if status == "open" else starts_at + MEETING
    locked_at = now if status == "locked" else None
    meetings = {number: new_id() for number in members}
    trainers = [user_id for login, user_id in organization.staff.items() if login.startswith("trainer")]
    copy_rows(
        session,
        AttendanceSession,
        _SESSION,
        (
            (
                *(
                    organization.id,
                    meeting,
                    organization.groups[number],
                    day,
                    SLOT,
                    starts_at,
                    starts_at + MEETING,
                    status,
                ),
                *(taken_at, trainers[number % len(trainers)] if taken_at else None, locked_at),
            )
            for number, meeting in meetings.items()
        ),
    )
    if status != "open":
        records = _records(organization, day, starts_at, members, meetings, trainers)
        copy_rows(session, AttendanceRecord, _RECORD, records)


def _records(
    organization: DemoOrganization,
    day: date,
    starts_at: datetime,
    members: dict[int, list[Person]],
    meetings: dict[int, uuid.UUID],
    trainers: list[uuid.UUID],
) -> Iterator[tuple[Any, ...]]:
    for number, persons in members.items():
        marked_by = trainers[number % len(trainers)]
        for person in persons:
            code = _code(organization.rng, person, day)
            came = starts_at + timedelta(
                minutes=organization.rng.randint(5, 25) if code == "late" else -organization.rng.randint(0, 9)
            )
            note = organization.rng.choice(_NOTES[code]) if code in _NOTES and organization.rng.random() < 0.2 else None  # noqa: PLR2004 - a fifth
            yield (
                *(
                    organization.id,
                    day,
                    new_id(),
                    meetings[number],
                    person.id,
                    organization.groups[number],
                    code,
                    code,
                    True,
                ),
                *(None if code in _NOTES else came, "bulk", note, marked_by),
            )


def _code(rng: random.Random, person: Person, day: date) -> str:
    """Draw a mark by the person's reliability, which is lower on Mondays."""
    reliability = person.reliability - (0.04 if day.weekday() == 0 else 0.0)
    if rng.random() < reliability:
        return "present"
    return rng.choices(_CODES, (45, 35, 15, 5))[0]


# Title, and for each exercise its name, sets, reps and the load of an average person in kilograms.
Programme = tuple[str, tuple[tuple[str, int, int, float], ...]]
PROGRAMMES: tuple[Programme, ...] = (
    ("Legs", (("Back Squat", 4, 6, 60), ("Romanian Deadlift", 3, 8, 50), ("Leg Press", 3, 10, 90), ("Plank", 2, 0, 0))),
    ("Push", (("Bench Press", 4, 6, 45), ("Overhead Press", 3, 8, 28), ("Dumbbell Fly", 3, 12, 10), ("Dip", 3, 8, 0))),
    ("Pull", (("Deadlift", 3, 5, 80), ("Barbell Row", 4, 8, 40), ("Lat Pulldown", 3, 10, 40), ("Chin-Up", 3, 5, 0))),
)
TRAINING_DAYS = ((0, 2, 4), (1, 3, 5))
PLATE_KG = 2.5
POUND_KG = 0.45359237
PLANK_S = 60
BODY_KG = 62
SKIPS = 0.2

_COMMON = ("organization_id", "local_date", "id", "student_id")
_LOG_ID = ("organization_id", "local_date", "id", "student_id", "source")
_LOG = (
    *(*_COMMON, "started_at", "ended_at", "time_zone", "title", "source"),
    *("body_weight", "body_weight_unit", "body_weight_grams"),
)
_EXERCISE = (*_COMMON, "log_id", "exercise_owner_id", "exercise_id", "position")
_SET = (
    *(*_COMMON, "log_id", "log_exercise_id", "exercise_owner_id", "exercise_id", "position", "type"),
    *("reps", "load", "load_unit", "load_grams", "seconds", "rir", "done_at"),
)


@dataclass
class _Day:
    """The rows of one day, table by table."""

    ids: list[tuple[Any, ...]] = field(default_factory=list)
    logs: list[tuple[Any, ...]] = field(default_factory=list)
    exercises: list[tuple[Any, ...]] = field(default_factory=list)
    sets: list[tuple[Any, ...]] = field(default_factory=list)


def make_workouts(
    session: Session, organization: DemoOrganization, *, days: int, now: datetime, progress: Callable[[str, int], None]
) -> None:
    """Create the workout logs of the last days for everyone who trains.

    :raises LookupError: an exercise is not in the catalogue.
    """
    catalogue = _catalogue(session)
    for offset in range(days, 0, -1):
        date_ = organization.today - timedelta(days=offset - 1)
        day = _Day()
        for number, person in enumerate(organization.people):
            if person.trains and date_.weekday() in TRAINING_DAYS[number % 2] and organization.rng.random() > SKIPS:
                _train(organization, person, number, date_, days - offset, catalogue, day, now)
        for model, columns, rows in (
            (WorkoutLogId, _LOG_ID, day.ids),
            (WorkoutLog, _LOG, day.logs),
            (WorkoutLogExercise, _EXERCISE, day.exercises),
            (WorkoutSet, _SET, day.sets),
        ):
            copy_rows(session, model, columns, rows)
        progress(f"{organization.kind.name}: workouts", 1)


def _catalogue(session: Session) -> dict[str, UUID]:
    wanted = {name for _, exercises in PROGRAMMES for name, *_ in exercises}
    rows = session.execute(
        select(Exercise.name, Exercise.id).where(Exercise.organization_id == PLATFORM_ID, Exercise.name.in_(wanted))
    )
    found = {row.name: row.id for row in rows}
    if found.keys() != wanted:
        raise LookupError(f"not in the catalogue of exercises: {', '.join(sorted(wanted - found.keys()))}")
    return found


def _train(
    organization: DemoOrganization,
    person: Person,
    number: int,
    date_: date,
    days_in: int,
    catalogue: dict[str, UUID],
    day: _Day,
    now: datetime,
) -> None:
    zone = ZoneInfo(organization.kind.time_zone)
    hour, minute = 16 + organization.rng.randint(0, 3), organization.rng.randint(0, 59)
    started_at = datetime.combine(date_, time(hour, minute), zone).astimezone(UTC)
    if started_at + timedelta(hours=2) > now:
        return
    title, exercises = PROGRAMMES[TRAINING_DAYS[number % 2].index(date_.weekday())]
    log_id = new_id()
    at = started_at
    in_pounds = number % 9 == 0
    for position, (name, sets, reps, load) in enumerate(exercises, 1):
        row_id = new_id()
        exercise = (PLATFORM_ID, catalogue[name])
        day.exercises.append((organization.id, date_, row_id, person.id, log_id, *exercise, position))
        weight = _weight(load * person.strength * (1 + 0.01 * (days_in // 14)), in_pounds=in_pounds)
        for set_number, done in enumerate(_sets(organization, sets, reps, weight), 1):
            at += timedelta(seconds=organization.rng.randint(90, 180))
            head = (organization.id, date_, new_id(), person.id, log_id, row_id, *exercise, set_number, "normal")
            day.sets.append((*head, *done, at))
    day.ids.append((organization.id, date_, log_id, person.id, "api"))
    body_weight = _weight(BODY_KG * (0.6 + 0.4 * person.strength), in_pounds=in_pounds)
    session = (started_at, at, organization.kind.time_zone, title, "api")
    day.logs.append((organization.id, date_, log_id, person.id, *session, *body_weight))


def _sets(
    organization: DemoOrganization, sets: int, reps: int, weight: tuple[str | None, str | None, int | None]
) -> Iterator[tuple[Any, ...]]:
    """Yield reps, load as entered, unit, grams, seconds and reps in reserve of each set."""
    for number in range(sets):
        if not reps:
            yield None, None, None, None, PLANK_S + organization.rng.randint(-15, 30), None
            continue
        tired = organization.rng.random() < 0.15 * number
        yield reps - (1 if tired else 0), *weight, None, float(max(0, 3 - number - (1 if tired else 0)))


def _weight(kilograms: float, *, in_pounds: bool) -> tuple[str | None, str | None, int | None]:
    """Return a load rounded to available plates: as entered, its unit, and in grams."""
    if not kilograms:
        return None, None, None
    unit, step, amount = ("lb", 5.0, kilograms / POUND_KG) if in_pounds else ("kg", PLATE_KG, kilograms)
    text = f"{max(step, round(amount / step) * step):g}"
    return text, unit, grams(text, unit)
