"""Reads of workout logs: the locator finds the date, which selects the month table."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.sql.elements import Label

from campshub.core.dates import month_start
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.partitions import all_present, name_of
from campshub.core.partitions.writable import stays_writable, tables_of
from campshub.core.security.principal import Principal, visible_to
from campshub.students.queries.enrolments import require_visible_student
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.queries.visibility import writable_logs
from campshub.workouts.queries.work import volume, volume_of

DAYS_BACK = 400
DAYS_AHEAD = 2
# A local date is at most one month before the UTC date.
stays_writable(WorkoutLog.__tag__, lambda settings: settings.workout_years_back * 12 + 1)
SUM_FIELDS = frozenset({"set_count", "exercise_count", "volume_grams", "version"})

LOG_COLUMNS = (
    WorkoutLog.id,
    WorkoutLog.student_id,
    WorkoutLog.local_date,
    WorkoutLog.time_zone,
    WorkoutLog.started_at,
    WorkoutLog.ended_at,
    WorkoutLog.title,
    WorkoutLog.note,
    WorkoutLog.body_weight,
    WorkoutLog.body_weight_unit,
    WorkoutLog.body_weight_grams,
    WorkoutLog.source,
    WorkoutLog.external_id,
    WorkoutLog.deleted_at,
    WorkoutLog.created_at,
    WorkoutLog.updated_at,
)
SET_COLUMNS = (
    WorkoutSet.id,
    WorkoutSet.log_id,
    WorkoutSet.log_exercise_id,
    WorkoutSet.exercise_id,
    WorkoutSet.position,
    WorkoutSet.type,
    WorkoutSet.reps,
    WorkoutSet.load,
    WorkoutSet.load_unit,
    WorkoutSet.load_grams,
    WorkoutSet.seconds,
    WorkoutSet.metres,
    WorkoutSet.rir,
    WorkoutSet.rest_seconds,
    WorkoutSet.done_at,
    WorkoutSet.deleted_at,
    WorkoutSet.created_at,
    WorkoutSet.updated_at,
    WorkoutSet.version,
)


def same_log(model: Any, log: Any = WorkoutLog) -> ColumnElement[bool]:
    """Return the condition that a row belongs to a log; the date limits it to one month."""
    log_id = model.id if model is WorkoutLog else model.log_id
    return and_(
        model.organization_id == log.organization_id,
        model.local_date == log.local_date,
        log_id == log.id,
    )


def exercise_of(model: Any) -> ColumnElement[bool]:
    """Return the condition that joins a row's exercise."""
    return and_(Exercise.organization_id == model.exercise_owner_id, Exercise.id == model.exercise_id)


def _sums(first_date: date, last_date: date) -> tuple[Label[list[int]], Label[list[int]]]:
    """Return the sums of a log's sets (count, volume, versions) and of its exercises (count, versions).

    Warm-ups and assistance do not count as volume. Deleted rows count in the version, so that it only increases. Each
    is one subselect, which PostgreSQL evaluates only for the rows of the page; a join would be evaluated for every log.
    """
    alive = WorkoutSet.deleted_at.is_(None)
    sets = (
        select(
            func.json_build_array(
                func.count().filter(alive),
                func.coalesce(func.sum(volume(WorkoutSet, Exercise.load_mode, alive)), 0),
                func.coalesce(func.sum(WorkoutSet.version), 0),
            )
        )
        .select_from(WorkoutSet)
        .join(Exercise, exercise_of(WorkoutSet))
        .where(same_log(WorkoutSet), *_months(WorkoutSet, first_date, last_date))
    )
    exercises = select(
        func.json_build_array(func.count(), func.coalesce(func.sum(WorkoutLogExercise.version), 0))
    ).where(same_log(WorkoutLogExercise), *_months(WorkoutLogExercise, first_date, last_date))
    return (
        sets.correlate(WorkoutLog).scalar_subquery().label("sets"),
        exercises.correlate(WorkoutLog).scalar_subquery().label("exercises"),
    )


def _header_columns(page: PageRequest, first_date: date, last_date: date) -> tuple[Any, ...]:
    """Return the columns of a log without its sets, limited to the fields of the page."""
    columns = tuple(page.choose(LOG_COLUMNS))
    if page.fields is not None and not page.fields & SUM_FIELDS:
        return columns
    return (*columns, WorkoutLog.version, *_sums(first_date, last_date))


def header_columns(first_date: date, last_date: date) -> tuple[Any, ...]:
    """Return the columns of ``header`` for logs of these dates."""
    return (*LOG_COLUMNS, WorkoutLog.version, *_sums(first_date, last_date))


def header(row: AnyRow) -> dict[str, Any]:
    """Return a log with its sums by name; its version is the sum of the versions of all its rows."""
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    if "sets" not in values:
        return values
    set_count, volume, of_sets = values.pop("sets")
    exercise_count, of_exercises = values.pop("exercises")
    sums = {"set_count": set_count, "exercise_count": exercise_count, "volume_grams": volume}
    return {**values, **sums, "version": values["version"] + of_sets + of_exercises}


def list_logs(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    page: PageRequest,
    first_date: date | None = None,
    last_date: date | None = None,
    student_id: UUID | None = None,
    exercise_id: UUID | None = None,
    updated_from: datetime | None = None,
    deleted: bool = False,
) -> Page:
    """List logs by date; the last 400 days by default."""
    today = principal.today(now)
    last_date = last_date or today + timedelta(days=DAYS_AHEAD)
    first_date = first_date or last_date - timedelta(days=DAYS_BACK + DAYS_AHEAD)
    filters = {"student_id": student_id, "exercise_id": exercise_id, "updated_from": updated_from, "deleted": deleted}
    query = _listed(principal, page=page, first_date=first_date, last_date=last_date, **filters)
    found = page.read(session, query)
    return Page([header(row) for row in found.rows], found.next_cursor)


@prepared
def _listed(
    principal: Principal,
    *,
    page: PageRequest,
    first_date: date,
    last_date: date,
    student_id: Any,
    exercise_id: Any,
    updated_from: Any,
    deleted: bool,
) -> AnySelect:
    rows = (
        select(*_header_columns(page, first_date, last_date))
        .select_from(WorkoutLog)
        .where(
            visible_to(principal, WorkoutLog),
            *_months(WorkoutLog, first_date, last_date),
            _is(WorkoutLog, deleted=deleted),
        )
    )
    if student_id is not None:
        rows = rows.where(WorkoutLog.student_id == student_id)
    if updated_from is not None:
        rows = rows.where(WorkoutLog.updated_at >= updated_from)
    if exercise_id is not None:
        rows = rows.where(_has_exercise(exercise_id, first_date, last_date))
    return page.ordered(rows, order=(WorkoutLog.local_date, WorkoutLog.id))


def _is(model: Any, *, deleted: bool) -> ColumnElement[bool]:
    """Return the condition that a row is, or is not, deleted."""
    found: ColumnElement[bool] = model.deleted_at.is_not(None) if deleted else model.deleted_at.is_(None)
    return found


def _months(model: Any, first_date: date, last_date: date) -> tuple[ColumnElement[bool], ...]:
    """Return conditions on the dates as constants, so that the planner opens only their partitions."""
    return (model.local_date >= first_date, model.local_date <= last_date)


def _has_exercise(exercise_id: UUID, first_date: date, last_date: date) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(WorkoutSet)
        .where(
            same_log(WorkoutSet),
            *_months(WorkoutSet, first_date, last_date),
            WorkoutSet.exercise_id == exercise_id,
            WorkoutSet.deleted_at.is_(None),
        )
        .correlate(WorkoutLog)
    )


def list_student_logs(
    session: Session, principal: Principal, *, student_id: UUID, page: PageRequest, now: datetime, **period: Any
) -> Page:
    """List one student's logs.

    :raises NotFound: the principal sees no such student.
    """
    found = list_logs(session, principal, now=now, page=page, student_id=student_id, **period)
    if not found.rows:
        require_visible_student(session, principal, student_id)
    return found


def get_log(session: Session, principal: Principal, log_id: UUID, *, deleted: bool | None = False) -> dict[str, Any]:
    """Return one log with its exercises and sets; ``deleted=None`` includes a deleted one.

    :raises NotFound: the principal sees no such log.
    """
    log = session.execute(_one(principal, log_id=log_id, deleted=deleted)).one_or_none()
    if log is None:
        raise NotFound
    exercises = session.execute(_exercises_of(principal, log_id=log_id, on=log.local_date)).all()
    sets = session.execute(_sets_of(principal, log_id=log_id, on=log.local_date)).all()
    return assembled(log._mapping, [row._mapping for row in exercises], [row._mapping for row in sets])  # noqa: SLF001


def unavailable_month(session: Session, principal: Principal, log_id: UUID) -> date | None:
    """Return the month of a visible log whose rows are not in the database; None for other logs."""
    day: date | None = session.scalar(
        select(WorkoutLogId.local_date).where(visible_to(principal, WorkoutLogId), WorkoutLogId.id == log_id)
    )
    if day is None:
        return None
    month = month_start(day)
    names = [name_of(table, month) for table in tables_of(WorkoutLog.__tag__)]
    return None if all_present(session, names) else month


@prepared
def _one(principal: Principal, *, log_id: UUID, deleted: bool | None) -> AnySelect:
    statement: AnySelect = located(select(*LOG_COLUMNS, WorkoutLog.version), principal, log_id)
    if deleted is None:
        return statement
    return statement.where(WorkoutLog.deleted_at.is_not(None) if deleted else WorkoutLog.deleted_at.is_(None))


def assembled(
    log: Mapping[Any, Any], exercises: Sequence[Mapping[Any, Any]], sets: Sequence[Mapping[Any, Any]]
) -> dict[str, Any]:
    """Return a log with its exercises, their sets, and the same sums as in lists of logs."""
    sets_of: dict[UUID, list[Mapping[Any, Any]]] = {exercise["id"]: [] for exercise in exercises}
    modes = {exercise["id"]: exercise["load_mode"] for exercise in exercises}
    alive = [one for one in sets if one["deleted_at"] is None]
    for one in alive:
        sets_of[one["log_exercise_id"]].append(one)
    return {
        **log,
        "exercises": [{**exercise, "sets": sets_of[exercise["id"]]} for exercise in exercises],
        "set_count": len(alive),
        "exercise_count": len(exercises),
        "volume_grams": sum(volume_of(one, modes[one["log_exercise_id"]]) for one in alive),
        "version": sum(row["version"] for row in (log, *exercises, *sets)),
    }


def located(statement: Any, principal: Principal, log_id: UUID, *, is_written: bool = False) -> Any:
    """Join a visible log to a statement by its locator, which limits it to one month."""
    located_ = (
        statement.select_from(WorkoutLogId)
        .join(WorkoutLog, same_log(WorkoutLog, WorkoutLogId))
        .where(visible_to(principal, WorkoutLogId), WorkoutLogId.id == log_id)
    )
    return located_.where(writable_logs(principal)) if is_written else located_


@prepared
def _exercises_of(principal: Principal, *, log_id: UUID, on: date) -> AnySelect:
    """Read a log's exercises in order."""
    return (
        select(
            WorkoutLogExercise.id,
            WorkoutLogExercise.position,
            WorkoutLogExercise.exercise_id,
            Exercise.name,
            Exercise.load_mode,
            WorkoutLogExercise.superset,
            WorkoutLogExercise.note,
            WorkoutLogExercise.version,
        )
        .join(Exercise, exercise_of(WorkoutLogExercise))
        .where(*_of_log(WorkoutLogExercise, principal, log_id, on))
        .order_by(WorkoutLogExercise.position)
    )


@prepared
def _sets_of(principal: Principal, *, log_id: UUID, on: date) -> AnySelect:
    """Read a log's sets in order, including deleted ones, which count in its version."""
    return select(*SET_COLUMNS).where(*_of_log(WorkoutSet, principal, log_id, on)).order_by(WorkoutSet.position)


def _of_log(model: Any, principal: Principal, log_id: UUID, on: date) -> tuple[ColumnElement[bool], ...]:
    return (
        model.organization_id == principal.organization_id,
        model.local_date == on,
        model.log_id == log_id,
    )


def list_sets(session: Session, principal: Principal, *, log_id: UUID, deleted: bool, page: PageRequest) -> Page:
    """List the sets of a log, exercise by exercise.

    :raises NotFound: the principal sees no such log.
    """
    found = page.read(session, _listed_sets(principal, log_id=log_id, deleted=deleted, page=page))
    if not found.rows and session.execute(_one(principal, log_id=log_id, deleted=False)).one_or_none() is None:
        raise NotFound
    return found


@prepared
def _listed_sets(principal: Principal, *, log_id: UUID, deleted: bool, page: PageRequest) -> AnySelect:
    rows = (
        located(select(*page.choose(SET_COLUMNS)), principal, log_id)
        .join(WorkoutSet, same_log(WorkoutSet))
        .where(WorkoutLog.deleted_at.is_(None), _is(WorkoutSet, deleted=deleted))
    )
    return page.ordered(rows, order=(WorkoutSet.log_exercise_id, WorkoutSet.position, WorkoutSet.id))


def get_set(session: Session, principal: Principal, *, log_id: UUID, set_id: UUID) -> Any:
    """Return one set of a log.

    :raises NotFound: the principal sees no such set.
    """
    row = session.execute(_set(principal, log_id=log_id, set_id=set_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _set(principal: Principal, *, log_id: UUID, set_id: UUID) -> AnySelect:
    found: AnySelect = (
        located(select(*SET_COLUMNS), principal, log_id)
        .join(WorkoutSet, same_log(WorkoutSet))
        .where(WorkoutSet.id == set_id, WorkoutSet.deleted_at.is_(None), WorkoutLog.deleted_at.is_(None))
    )
    return found
