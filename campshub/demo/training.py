"""The demo's workouts: three programmes, trained three times a week, a little heavier every fortnight."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from campshub.core.db.bulk import copy_rows
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.session import Session
from campshub.demo.people import DemoPlace, Person
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.weights import grams

# Title, and for each exercise its name, the sets, the repetitions and the load of an average person in kilograms.
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


def make_history(
    session: Session, place: DemoPlace, *, days: int, now: datetime, progress: Callable[[str, int], None]
) -> None:
    """Make the logs of the last days of everyone who trains.

    :raises LookupError: the catalogue of exercises is not there.
    """
    catalogue = _catalogue(session)
    for offset in range(days, 0, -1):
        date_ = place.today - timedelta(days=offset - 1)
        day = _Day()
        for number, person in enumerate(place.people):
            if person.trains and date_.weekday() in TRAINING_DAYS[number % 2] and place.dice.random() > SKIPS:
                _train(place, person, number, date_, days - offset, catalogue, day, now)
        for model, columns, rows in (
            (WorkoutLogId, _LOG_ID, day.ids),
            (WorkoutLog, _LOG, day.logs),
            (WorkoutLogExercise, _EXERCISE, day.exercises),
            (WorkoutSet, _SET, day.sets),
        ):
            copy_rows(session, model, columns, rows)
        progress(f"{place.kind.name}: workouts", 1)


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
    place: DemoPlace,
    person: Person,
    number: int,
    date_: date,
    days_in: int,
    catalogue: dict[str, UUID],
    day: _Day,
    now: datetime,
) -> None:
    zone = ZoneInfo(place.kind.time_zone)
    hour, minute = 16 + place.dice.randint(0, 3), place.dice.randint(0, 59)
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
        day.exercises.append((place.id, date_, row_id, person.id, log_id, *exercise, position))
        weight = _weight(load * person.strength * (1 + 0.01 * (days_in // 14)), in_pounds=in_pounds)
        for place_, done in enumerate(_sets(place, sets, reps, weight), 1):
            at += timedelta(seconds=place.dice.randint(90, 180))
            head = (place.id, date_, new_id(), person.id, log_id, row_id, *exercise, place_, "normal")
            day.sets.append((*head, *done, at))
    day.ids.append((place.id, date_, log_id, person.id, "api"))
    body_weight = _weight(BODY_KG * (0.6 + 0.4 * person.strength), in_pounds=in_pounds)
    session = (started_at, at, place.kind.time_zone, title, "api")
    day.logs.append((place.id, date_, log_id, person.id, *session, *body_weight))


def _sets(
    place: DemoPlace, sets: int, reps: int, weight: tuple[str | None, str | None, int | None]
) -> Iterator[tuple[Any, ...]]:
    """Yield reps, load as entered, unit, grams, seconds and repetitions in reserve of each set."""
    for number in range(sets):
        if not reps:
            yield None, None, None, None, PLANK_S + place.dice.randint(-15, 30), None
            continue
        tired = place.dice.random() < 0.15 * number
        yield reps - (1 if tired else 0), *weight, None, float(max(0, 3 - number - (1 if tired else 0)))


def _weight(kilograms: float, *, in_pounds: bool) -> tuple[str | None, str | None, int | None]:
    """Return a load as someone would put it on the bar: as entered, its unit, grams."""
    if not kilograms:
        return None, None, None
    unit, step, amount = ("lb", 5.0, kilograms / POUND_KG) if in_pounds else ("kg", PLATE_KG, kilograms)
    text = f"{max(step, round(amount / step) * step):g}"
    return text, unit, grams(text, unit)
