"""Visibility rules of exercises and logs: everyone sees shared exercises; a log is visible if its student is."""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select

from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, shared_with_platform, visibility, visible_to
from campshub.students.models import Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.workouts.models import (
    Exercise,
    ExerciseMuscle,
    Muscle,
    WorkoutLog,
    WorkoutLogId,
    WorkoutWeek,
    WorkoutWeekStale,
)

for _model in (Muscle, Exercise, ExerciseMuscle):
    shared_with_platform(_model)


def usable_exercises(principal: Principal, owner_user_id: Any = None) -> ColumnElement[bool]:
    """Return the condition that the principal may use an exercise.

    A user's own exercise is visible only to them, whatever the caller's role. ``owner_user_id`` also includes those of
    the person for whom the principal writes.
    """
    owners = [Exercise.owner_user_id.is_(None), Exercise.owner_user_id == principal.user_id]
    if owner_user_id is not None:
        owners.append(Exercise.owner_user_id == owner_user_id)
    return and_(visible_to(principal, Exercise), or_(*owners))


def _of_visible_student(principal: Principal, model: Any) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(Student)
        .where(visible_to(principal, Student), Student.id == model.student_id)
        .correlate(model)
    )


for _scope in (Scope.GROUPS, Scope.OWN):
    for _of_person in (WorkoutLog, WorkoutLogId, WorkoutWeek, WorkoutWeekStale):

        @visibility(_of_person, _scope)
        def _trained_by(principal: Principal, model: Any = _of_person) -> ColumnElement[bool]:
            return _of_visible_student(principal, model)
