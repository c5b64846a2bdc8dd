"""What sets add up to, by student, exercise and week: kept, and exact at any moment."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, exists, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, array

from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.rollups import Rollup, month_of, rollup, week_of, within_month
from campshub.core.db.session import Session
from campshub.core.http.pagination import Page, PageRequest
from campshub.core.http.problems import Invalid
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.workouts.models import WorkoutLog, WorkoutSet, WorkoutWeek, WorkoutWeekStale
from campshub.workouts.queries import visibility as _rules  # noqa: F401 - who sees what is registered there
from campshub.workouts.queries.logs import WARM_UP, same_log

WEEKS_BACK = 11
MOST_DAYS = 400
# Beyond, an estimate from repetitions says nothing.
MOST_REPS = 12
_SUMS = ("sets", "working_sets", "reps", "volume_grams")
_BEST = ("best_1rm_grams", "best_load_grams", "best_reps")


def _weeks() -> AnySelect:
    one, log, week, month = WorkoutSet, WorkoutLog, week_of(WorkoutSet.local_date), month_of(WorkoutSet.local_date)
    is_work = one.type != WARM_UP
    load, reps = cast(one.load_grams, BigInteger), cast(one.reps, BigInteger)
    key = (one.organization_id, one.student_id, week.label("week"), one.exercise_owner_id, one.exercise_id)
    best = _greatest(array([_once(load, reps), load, reps]), and_(is_work, load > 0, reps.between(1, MOST_REPS)))
    return (
        select(
            *key,
            month.label("month"),
            func.count().label("sets"),
            func.count().filter(is_work).label("working_sets"),
            func.coalesce(func.sum(reps).filter(is_work), 0).label("reps"),
            func.coalesce(func.sum(reps * load).filter(is_work), 0).label("volume_grams"),
            func.max(one.load_grams).filter(is_work).label("heaviest_grams"),
            func.max(one.reps).filter(is_work).label("most_reps"),
            *(best[number].label(name) for number, name in enumerate(_BEST, start=1)),
        )
        .join(log, same_log(one, log))
        .where(one.deleted_at.is_(None), log.deleted_at.is_(None))
        .group_by(one.organization_id, one.student_id, week, one.exercise_owner_id, one.exercise_id, month)
    )


def _once(load: Any, reps: Any) -> ColumnElement[Any]:
    """Estimate what could be lifted once, in whole grams: by Epley, whose formula a single repetition does not need."""
    thirty = literal_column("30", BigInteger)
    return case((reps == literal_column("1"), load), else_=load * (thirty + reps) // thirty)


def _greatest(one: Any, condition: Any = None) -> Any:
    """Return the greatest of arrays, which are compared from their first value on."""
    greatest = func.max(one, type_=ARRAY(BigInteger))
    return greatest if condition is None else greatest.filter(condition)


def _of_month(keys: Any) -> ColumnElement[bool]:
    return and_(WorkoutSet.student_id == keys.student_id, within_month(WorkoutSet.local_date, keys.month))


WEEKS = rollup(
    Rollup(
        model=WorkoutWeek,
        stale=WorkoutWeekStale,
        key=("student_id", "month"),
        date="month",
        raw=WorkoutSet,
        counted=_weeks,
        matches=_of_month,
        beside=(WorkoutLog,),
    )
)


def list_weeks(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    page: PageRequest,
    from_: date | None = None,
    to: date | None = None,
    student_id: UUID | None = None,
    exercise_id: UUID | None = None,
) -> Page:
    """List what the sets of those whom the principal sees add up to, by week, person and exercise.

    Whole weeks, from Monday to Sunday; the last twelve unless asked otherwise.

    :raises Invalid: the dates are no range.
    """
    last = to or principal.today(now)
    first = from_ or last - timedelta(weeks=WEEKS_BACK)
    if last < first:
        raise Invalid.at("/to", "invalid", "The last date lies before the first.")
    if (last - first).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"At most {MOST_DAYS} days from the first date.")
    monday = first - timedelta(days=first.weekday())
    sunday = last + timedelta(days=6 - last.weekday())
    asked = _listed(
        principal,
        page=page,
        monday=monday,
        sunday=sunday,
        month=monday.replace(day=1),
        student_id=student_id,
        exercise_id=exercise_id,
    )
    return page.read(session, asked)


@prepared
def _listed(
    principal: Principal,
    *,
    page: PageRequest,
    monday: date,
    sunday: date,
    month: date,
    student_id: Any,
    exercise_id: Any,
) -> AnySelect:
    def of(model: Any, *names: str) -> list[ColumnElement[bool]]:
        given = {"student_id": student_id, "exercise_id": exercise_id}
        return [getattr(model, name) == given[name] for name in names if given[name] is not None]

    own, kept, note = WorkoutSet, WorkoutWeek, WorkoutWeekStale
    both = ("student_id", "exercise_id")
    weeks = WEEKS.current(
        kept=[visible_to(principal, kept), kept.week >= monday, kept.week <= sunday, *of(kept, *both)],
        stale=[visible_to(principal, note), note.month >= month, note.month <= sunday, *of(note, "student_id")],
        # Whom the principal sees, the keys have settled.
        raw=[
            own.organization_id == principal.organization_id,
            own.local_date >= monday,
            own.local_date <= sunday,
            *of(own, *both),
        ],
    ).c
    best = _greatest(array([weeks[name] for name in _BEST]), weeks.best_1rm_grams.is_not(None))
    columns = [
        weeks.week,
        weeks.student_id,
        weeks.exercise_id,
        *(cast(func.sum(weeks[name]), BigInteger).label(name) for name in _SUMS),
        *(func.max(weeks[name]).label(name) for name in ("heaviest_grams", "most_reps")),
        *(best[number].label(name) for number, name in enumerate(_BEST, start=1)),
    ]
    keys = (weeks.week, weeks.student_id, weeks.exercise_owner_id, weeks.exercise_id)
    rows = select(*page.choose(columns)).where(_is_there(principal, weeks.student_id)).group_by(*keys)
    return page.ordered(rows, order=(weeks.week, weeks.student_id, weeks.exercise_id))


def _is_there(principal: Principal, student_id: Any) -> ColumnElement[bool]:
    student: Any = Student
    own = select(1).select_from(student).where(student.organization_id == principal.organization_id)
    return exists(own.where(student.id == student_id, student.deleted_at.is_(None)))
