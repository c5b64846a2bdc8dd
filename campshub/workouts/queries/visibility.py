"""Who sees which exercises and logs: shared exercises everybody, logs as far as one sees the person who trained."""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select

from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, shared_with_platform, visibility, visible_to
from campshub.students.models import Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - who sees which student is registered there
from campshub.workouts.models import Exercise, ExerciseMuscle, Muscle, WorkoutLog, WorkoutLogId

for _model in (Muscle, Exercise, ExerciseMuscle):
    shared_with_platform(_model)


def usable_exercises(principal: Principal, owner_user_id: Any = None) -> ColumnElement[bool]:
    """Return the condition under which the principal may choose an exercise.

    A user's own is theirs alone, whatever the role of who asks; ``owner_user_id`` lets another one's in as well, that
    of the person for whom the principal writes.
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

    @visibility(WorkoutLog, _scope)
    def _logs(principal: Principal) -> ColumnElement[bool]:
        return _of_visible_student(principal, WorkoutLog)

    @visibility(WorkoutLogId, _scope)
    def _log_ids(principal: Principal) -> ColumnElement[bool]:
        return _of_visible_student(principal, WorkoutLogId)
