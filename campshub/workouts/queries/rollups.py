"""Rollups of sets by student, exercise and week; reads are always exact."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, exists, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, array

from campshub.core.dates import month_start, week_start
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import Invalid
from campshub.core.paging import Page, PageRequest
from campshub.core.rollups.definition import Rollup, month_of, register_rollup, week_of, within_month
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutSet, WorkoutWeek, WorkoutWeekStale
from campshub.workouts.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.workouts.queries.logs import exercise_of, same_log
from campshub.workouts.queries.work import ASSISTED, BODYWEIGHT_PLUS, EXTERNAL, LIFTED, lifts, works

WEEKS_BACK = 11
MOST_DAYS = 400
# With more reps, an estimate means nothing.
MOST_REPS = 12
_SUMS = ("sets", "working_sets", "reps", "volume_grams")
_MOST = ("heaviest_grams", "most_reps")
_BEST = ("best_1rm_grams", "best_load_grams", "best_reps")
_TOTAL = ("total_1rm_grams", "total_body_grams", "total_load_grams", "total_reps")


def _weeks() -> AnySelect:
    one, log, week, month = WorkoutSet, WorkoutLog, week_of(WorkoutSet.local_date), month_of(WorkoutSet.local_date)
    is_work = works(one)
    load, reps = cast(one.load_grams, BigInteger), cast(one.reps, BigInteger)
    added, body = func.coalesce(load, _whole(0)), cast(log.body_weight_grams, BigInteger)
    estimated = and_(is_work, reps.between(1, MOST_REPS))
    key = (one.organization_id, one.student_id, week.label("week"), one.exercise_owner_id, one.exercise_id)
    best = _greatest(array([_one_rep_max(load, reps), load, reps]), and_(estimated, load > 0))
    total = _greatest(array([_one_rep_max(body + added, reps), body, added, reps]), and_(estimated, body > 0))
    least = _greatest(array([-load, func.coalesce(reps, _whole(0))]), and_(is_work, load.is_not(None)))
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
            *_named(_BEST, best),
            *_named(_TOTAL, total),
            (-least[1]).label("least_grams"),
            least[2].label("least_reps"),
        )
        .join(log, same_log(one, log))
        .where(one.deleted_at.is_(None), log.deleted_at.is_(None))
        .group_by(one.organization_id, one.student_id, week, one.exercise_owner_id, one.exercise_id, month)
    )


def _whole(number: int) -> ColumnElement[Any]:
    return literal_column(str(number), BigInteger)


def _named(names: Sequence[str], values: Any) -> list[Any]:
    """Return the values of an array, labelled with names."""
    return [values[number].label(name) for number, name in enumerate(names, start=1)]


def _one_rep_max(load: Any, reps: Any) -> ColumnElement[Any]:
    """Estimate the one-repetition maximum in whole grams with Epley's formula; one rep is the load itself."""
    return case((reps == _whole(1), load), else_=load * (_whole(30) + reps) // _whole(30))


def _greatest(one: Any, condition: Any = None) -> Any:
    """Return the greatest of arrays, which compare by their first value, then the next."""
    greatest = func.max(one, type_=ARRAY(BigInteger))
    return greatest if condition is None else greatest.filter(condition)


def _of_month(keys: Any) -> ColumnElement[bool]:
    return and_(WorkoutSet.student_id == keys.student_id, within_month(WorkoutSet.local_date, keys.month))


WEEKS = register_rollup(
    Rollup(
        model=WorkoutWeek,
        stale=WorkoutWeekStale,
        key=("student_id", "month"),
        date="month",
        raw=WorkoutSet,
        counted=_weeks,
        matches=_of_month,
        also_read=(WorkoutLog,),
    )
)


def list_weeks(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    page: PageRequest,
    first_date: date | None = None,
    last_date: date | None = None,
    student_id: UUID | None = None,
    exercise_id: UUID | None = None,
) -> Page:
    """List the aggregates of sets by week, person and exercise, for the students that the principal sees.

    Whole weeks, from Monday to Sunday; the last twelve by default.

    :raises Invalid: the dates are not a valid range.
    """
    last_date = last_date or principal.today(now)
    first_date = first_date or last_date - timedelta(weeks=WEEKS_BACK)
    if last_date < first_date:
        raise Invalid.at("/to", "invalid", "The last date is before the first.")
    if (last_date - first_date).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"The last date must be at most {MOST_DAYS} days after the first.")
    monday, sunday = week_start(first_date), week_start(last_date) + timedelta(days=6)
    query = _listed(
        principal,
        page=page,
        monday=monday,
        sunday=sunday,
        month=month_start(monday),
        student_id=student_id,
        exercise_id=exercise_id,
    )
    return page.read(session, query)


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

    own, stored, stale = WorkoutSet, WorkoutWeek, WorkoutWeekStale
    both = ("student_id", "exercise_id")
    weeks = WEEKS.current(
        stored=[visible_to(principal, stored), stored.week >= monday, stored.week <= sunday, *of(stored, *both)],
        stale=[visible_to(principal, stale), stale.month >= month, stale.month <= sunday, *of(stale, "student_id")],
        # The stale keys already respect visibility.
        raw=[
            own.organization_id == principal.organization_id,
            own.local_date >= monday,
            own.local_date <= sunday,
            *of(own, *both),
        ],
    ).c
    columns = [*(weeks.week, weeks.student_id, weeks.exercise_id, Exercise.load_mode), *_by_mode(weeks)]
    rows = (
        select(*page.choose(columns))
        .join(Exercise, exercise_of(weeks))
        .where(_student_exists(principal, weeks.student_id))
        .group_by(weeks.week, weeks.student_id, weeks.exercise_owner_id, weeks.exercise_id, Exercise.load_mode)
    )
    return page.ordered(rows, order=(weeks.week, weeks.student_id, weeks.exercise_id))


def _by_mode(weeks: Any) -> list[Any]:
    """Return the aggregates by the exercise's load mode, with the rows of a week in two months combined.

    Assisted: the least assistance is the best, and there is no estimate. Body weight plus load: an estimate of both
    together, and the same without the body weight. Mode ``none``: loads are ignored.
    """
    mode = Exercise.load_mode
    best = _greatest(array([weeks[name] for name in _BEST]), weeks.best_1rm_grams.is_not(None))
    total = _greatest(array([weeks[name] for name in _TOTAL]), weeks.total_1rm_grams.is_not(None))
    least = _greatest(array([-weeks.least_grams, weeks.least_reps]), weeks.least_grams.is_not(None))
    sums: dict[str, Any] = {name: cast(func.sum(weeks[name]), BigInteger) for name in _SUMS}
    sums["volume_grams"] = case((lifts(mode), sums["volume_grams"]), else_=_whole(0))
    heaviest, most_reps = (func.max(weeks[name]) for name in _MOST)

    def chosen(name: str, *values: tuple[str, Any]) -> Any:
        return case(*((mode == of, value) for of, value in values)).label(name)

    return [
        *(value.label(name) for name, value in sums.items()),
        chosen("heaviest_grams", *((of, heaviest) for of in LIFTED), (ASSISTED, -least[1])),
        most_reps.label("most_reps"),
        chosen("best_1rm_grams", (EXTERNAL, best[1]), (BODYWEIGHT_PLUS, total[1])),
        chosen("best_load_grams", (EXTERNAL, best[2]), (BODYWEIGHT_PLUS, total[3]), (ASSISTED, -least[1])),
        chosen("best_reps", (EXTERNAL, best[3]), (BODYWEIGHT_PLUS, total[4]), (ASSISTED, func.nullif(least[2], 0))),
        chosen("best_body_weight_grams", (BODYWEIGHT_PLUS, total[2])),
        chosen("added_load_grams", (BODYWEIGHT_PLUS, total[1] - total[2])),
    ]


def _student_exists(principal: Principal, student_id: Any) -> ColumnElement[bool]:
    student: Any = Student
    own = select(1).select_from(student).where(student.organization_id == principal.organization_id)
    return exists(own.where(student.id == student_id, student.deleted_at.is_(None)))
