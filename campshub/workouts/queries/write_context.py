"""The data that a write of a log needs before it begins, each read with one statement."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, null, or_, select, true
from sqlalchemy.sql.selectable import LateralFromClause

from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.security.audit import PersonKey
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.queries.logs import located, same_log
from campshub.workouts.queries.visibility import usable_exercises


def before_create(
    session: Session,
    principal: Principal,
    *,
    student_id: UUID | None,
    log_id: UUID | None,
    source: str,
    external_id: str | None,
    exercise_ids: Collection[UUID],
) -> AnyRow | None:
    """Return the data for a new log; None if the principal sees no such student.

    The columns are ``student_id`` (by default the student linked to the principal's login), ``sealed_key`` (the person
    key for the audit log, encrypted), ``exercises`` (name and load mode by id, of those that may be used) and
    ``present`` (ids and fingerprints of existing logs with the id or the external id).
    """
    who = Student.user_id == principal.user_id if student_id is None else Student.id == student_id
    if principal.scope is Scope.OWN:  # a guardian logs no workouts for their students
        who = and_(who, Student.user_id == principal.user_id)
    key = (
        select(PersonKey.sealed_key)
        .where(PersonKey.organization_id == Student.organization_id, PersonKey.id == Student.id)
        .correlate(Student)
        .scalar_subquery()
    )
    return session.execute(
        select(
            Student.id.label("student_id"),
            key.label("sealed_key"),
            _named(principal, exercise_ids).label("exercises"),
            _present(log_id, source, external_id).label("present"),
        ).where(visible_to(principal, Student), Student.deleted_at.is_(None), who)
    ).one_or_none()


def _named(principal: Principal, exercise_ids: Collection[UUID]) -> ColumnElement[Any]:
    """Return the exercises that the principal may use for the student, as JSON.

    Deleted ones are included: a workout may have been logged offline before the deletion was known.
    """
    if not exercise_ids:
        return null()
    shown = func.jsonb_build_object("name", Exercise.name, "load_mode", Exercise.load_mode)
    return (
        select(func.jsonb_object_agg(Exercise.id, shown))
        .where(usable_exercises(principal, Student.user_id), Exercise.id.in_(exercise_ids))
        .correlate(Student)
        .scalar_subquery()
    )


def _present(log_id: UUID | None, source: str, external_id: str | None) -> ColumnElement[Any]:
    """Return the existing logs with the id or the external id, as JSON."""
    same: list[ColumnElement[bool]] = []
    if log_id is not None:
        same.append(WorkoutLogId.id == log_id)
    if external_id is not None:
        same.append(
            and_(
                WorkoutLogId.student_id == Student.id,
                WorkoutLogId.source == source,
                WorkoutLogId.external_id == external_id,
            )
        )
    if not same:
        return null()
    found = func.jsonb_build_object("id", WorkoutLogId.id, "fingerprint", func.encode(WorkoutLogId.fingerprint, "hex"))
    return (
        select(func.jsonb_agg(found))
        .where(WorkoutLogId.organization_id == Student.organization_id, or_(*same))
        .correlate(Student)
        .scalar_subquery()
    )


def before_append(
    session: Session,
    principal: Principal,
    *,
    log_id: UUID,
    log_exercise_id: UUID | None,
    exercise_id: UUID | None,
) -> AnyRow | None:
    """Return the data for a new set of a log; None if the principal sees no such log.

    The columns are ``local_date``, ``student_id``, the exercise's entry in the log (``log_exercise_id`` and the
    exercise, NULL if it is not in the log yet), the last positions, and ``usable`` (the exercise, if it may be used).

    This locks the locator's row until the unit of work ends, so appends to one log run one after another. After waiting
    for the lock, the data may be outdated; the insert detects that. Each month of a table in this statement costs
    planning time, so it reads only what every append needs.
    """
    entry = _entry(log_exercise_id, exercise_id)
    statement = select(
        WorkoutLogId.local_date,
        WorkoutLogId.student_id,
        entry.c.id.label("log_exercise_id"),
        entry.c.exercise_owner_id,
        entry.c.exercise_id,
        _last(WorkoutSet, WorkoutSet.log_exercise_id == entry.c.id).label("last_set"),
        (null() if exercise_id is None else _last(WorkoutLogExercise)).label("last_exercise"),
        _usable(principal, exercise_id).label("usable"),
    )
    statement = located(statement, principal, log_id, is_written=True).where(WorkoutLog.deleted_at.is_(None))
    statement = statement.outerjoin(entry, true())
    return session.execute(statement.with_for_update(of=WorkoutLogId, key_share=True)).one_or_none()


def _entry(log_exercise_id: UUID | None, exercise_id: UUID | None) -> LateralFromClause:
    """Read one exercise entry of a log: the named one, or the last one of the exercise."""
    wanted = (
        WorkoutLogExercise.id == log_exercise_id
        if log_exercise_id is not None
        else WorkoutLogExercise.exercise_id == exercise_id
    )
    return (
        select(WorkoutLogExercise.id, WorkoutLogExercise.exercise_owner_id, WorkoutLogExercise.exercise_id)
        .where(same_log(WorkoutLogExercise, WorkoutLogId), wanted)
        .order_by(WorkoutLogExercise.position.desc())
        .limit(1)
        .lateral("entry")
    )


def _last(model: Any, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Return the last used position in a log, or 0."""
    return func.coalesce(
        select(func.max(model.position))
        .where(same_log(model, WorkoutLogId), *conditions)
        .correlate_except(model)
        .scalar_subquery(),
        0,
    )


def _usable(principal: Principal, exercise_id: UUID | None) -> ColumnElement[Any]:
    """Return the exercise's id, deleted or not, if the principal may use it for the log's student."""
    if exercise_id is None:
        return null()
    login = (
        select(Student.user_id)
        .where(Student.organization_id == WorkoutLogId.organization_id, Student.id == WorkoutLogId.student_id)
        .correlate(WorkoutLogId)
        .scalar_subquery()
    )
    return (
        select(Exercise.id)
        .where(usable_exercises(principal, login), Exercise.id == exercise_id)
        .correlate(WorkoutLogId)
        .scalar_subquery()
    )
