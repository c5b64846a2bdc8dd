"""Visibility rules of exercises and logs: everyone sees shared exercises; a log is visible if its student is.

Guardians see the logs of their students only if the organization allows it, and never write them.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select, true, union_all

from campshub.accounts.models import Organization
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, shared_with_platform, visibility, visible_to
from campshub.students.models import Student
from campshub.students.queries.visibility import student_of_login, students_of_guardian
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


def writable_logs(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that the principal may write a visible log: with the scope ``own``, only their own ones."""
    if principal.scope is not Scope.OWN:
        return true()
    return WorkoutLogId.student_id.in_(student_of_login(principal))


for _of_person in (WorkoutLog, WorkoutLogId, WorkoutWeek, WorkoutWeekStale):

    @visibility(_of_person, Scope.GROUPS)
    def _trained_by(principal: Principal, model: Any = _of_person) -> ColumnElement[bool]:
        return _of_visible_student(principal, model)

    @visibility(_of_person, Scope.OWN)
    def _own_or_shown_to_guardian(principal: Principal, model: Any = _of_person) -> ColumnElement[bool]:
        is_allowed = exists(
            select(1).where(Organization.id == principal.organization_id, Organization.guardians_see_training)
        )
        children = students_of_guardian(principal).where(is_allowed)
        rows: ColumnElement[bool] = model.student_id.in_(union_all(student_of_login(principal), children))
        return rows
