"""Create, change and delete exercises of an organization or of a user."""

from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import or_, select

from campshub.core.db import creates, writes
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Forbidden, Invalid
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.workouts import catalogue
from campshub.workouts.models import Exercise, ExerciseMuscle
from campshub.workouts.ownership import FIRST_OWN_ID, owner_of
from campshub.workouts.queries import exercises as reads
from campshub.workouts.queries.visibility import usable_exercises


class ExerciseNameTaken(Conflict):
    """Another exercise in this catalogue has this name."""

    code = "name_taken"
    default_detail = "Another exercise in this catalogue has this name."
    constraint = "uq_exercises_name"
    pointer = "/name"


EXERCISES = creates.Collection(
    Exercise,
    "/api/exercises/{row.id}/",
    (
        creates.unique(
            ExerciseNameTaken,
            Exercise.owner_user_id,
            Exercise.sort_name,
            nulls_equal=True,
            among=Exercise.deleted_at.is_(None),
        ),
    ),
    seen_by=usable_exercises,
)


class MuscleRepeated(Invalid):
    """A muscle is listed twice."""

    code = "repeated"
    default_detail = "A muscle is listed twice."
    constraint = "uq_exercise_muscles_muscle"
    pointer = "/muscles"


class ReservedExerciseId(Invalid):
    """Ids with a zero timestamp are reserved; use a UUID of version 7."""

    code = "reserved_id"
    default_detail = "Ids with a zero timestamp are reserved; use a UUID of version 7."
    constraint = "ck_exercises_reserved_id"
    pointer = "/id"


class OrganizationsExercise(Forbidden):
    """Your role cannot change the organization's exercises; create your own exercise."""

    default_detail = "Your role cannot change the organization's exercises; create your own exercise."


class _ExerciseFields(TypedDict, total=False):
    """Fields common to creating and changing an exercise."""

    mechanic: str | None
    force: str | None
    level: str | None
    load_mode: str
    side: str
    metrics: list[str]


class NewExercise(_ExerciseFields):
    """The fields of a new exercise, without its muscles."""

    name: str
    aliases: list[str]
    equipment: str


class ExerciseChanges(_ExerciseFields, total=False):
    """Fields of an exercise that a change may have, without its muscles."""

    name: str
    aliases: list[str]
    equipment: str


def create(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    private: bool,
    muscles: list[dict[str, Any]],
    id: UUID | None = None,
    **values: Unpack[NewExercise],
) -> tuple[Any, bool]:
    """Create an exercise; return it, and False if an earlier, identical call has created it.

    :raises OrganizationsExercise: the principal may only create their own.
    :raises ReservedExerciseId: the id is in the platform's range.
    :raises IdTaken: the id belongs to an exercise with other content.
    :raises ExerciseNameTaken: another exercise has the name.
    """
    if not private and not principal.may(Permission.EXERCISES_WRITE):
        raise OrganizationsExercise
    if id is not None and id < FIRST_OWN_ID:
        raise ReservedExerciseId
    owner = principal.user_id if private else None
    body = {**values, "muscles": muscles, "owner_user_id": owner}
    row = {
        **values,
        **catalogue.searched(values["name"], values["aliases"]),
        "owner_user_id": owner,
        "created_at": now,
        "updated_at": now,
    }
    made, is_new = creates.create(session, principal, EXERCISES, id=id, body=body, row=row)
    if not is_new:
        return reads.get_exercise(session, principal, made.id), False
    writes.insert(session, ExerciseMuscle, [_share(principal, made.id, given) for given in muscles])
    return _shown(principal, {**row, "id": made.id}, muscles), True


def _share(principal: Principal, exercise_id: UUID, given: dict[str, Any]) -> dict[str, Any]:
    muscle = catalogue.muscle_id(given["muscle"])
    return {
        "exercise_id": exercise_id,
        "muscle_owner_id": owner_of(muscle, principal.organization_id),
        "muscle_id": muscle,
        "share": given["share"],
    }


def _shown(principal: Principal, row: dict[str, Any], muscles: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row that has just been written in the form of the reads."""
    return {
        **row,
        "muscles": sorted(muscles, key=lambda given: (-given["share"], given["muscle"])),
        "owner_id": principal.organization_id,
        "licence": None,
        "attribution": None,
        "deleted_at": None,
        "version": 1,
    }


def change(
    session: Session,
    principal: Principal,
    *,
    exercise_id: UUID,
    expected: Versions,
    now: datetime,
    muscles: list[dict[str, Any]] | None = None,
    **changes: Unpack[ExerciseChanges],
) -> Any:
    """Change an exercise; ``muscles`` replaces the whole list.

    :raises NotFound: the principal sees no such exercise of the organization or of their own.
    :raises OrganizationsExercise: the principal may only change their own.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises ExerciseNameTaken: another exercise has the name.
    """
    exercise = _lock(session, principal, exercise_id, Exercise.deleted_at.is_(None), expected=expected)
    if not changes and muscles is None:  # even if an older release has folded the name differently
        return reads.get_exercise(session, principal, exercise.id)
    for name, value in changes.items():
        setattr(exercise, name, value)
    for name, text in catalogue.searched(exercise.name, exercise.aliases).items():
        setattr(exercise, name, text)
    if muscles is not None:
        exercise.updated_at = now  # the version covers the muscles too
    creates.flush(session, principal, EXERCISES, exercise)
    if muscles is not None:
        _set_muscles(session, principal, exercise, muscles)
        session.flush()
    return reads.get_exercise(session, principal, exercise.id)


def _set_muscles(session: Session, principal: Principal, exercise: Exercise, muscles: list[dict[str, Any]]) -> None:
    """Replace an exercise's muscles, writing only the differences."""
    wanted = {row["muscle_id"]: row for row in (_share(principal, exercise.id, given) for given in muscles)}
    if len(wanted) < len(muscles):
        raise MuscleRepeated
    present = session.scalars(
        select(ExerciseMuscle).where(
            ExerciseMuscle.organization_id == principal.organization_id, ExerciseMuscle.exercise_id == exercise.id
        )
    ).all()
    for row in present:
        given = wanted.pop(row.muscle_id, None)
        if given is None:
            session.delete(row)
        elif row.share != given["share"]:
            row.share = given["share"]
    writes.insert(session, ExerciseMuscle, list(wanted.values()))


def delete(session: Session, principal: Principal, *, exercise_id: UUID, expected: Versions, now: datetime) -> None:
    """Mark an exercise as deleted; logs still refer to it, and ``undelete`` restores it.

    :raises NotFound: the principal sees no such exercise of the organization or of their own.
    :raises OrganizationsExercise: the principal may only delete their own.
    """
    exercise = _lock(session, principal, exercise_id, Exercise.deleted_at.is_(None), expected=expected)
    exercise.deleted_at = now


def undelete(session: Session, principal: Principal, *, exercise_id: UUID) -> Any:
    """Undelete an exercise; this does nothing for one that is not deleted.

    :raises NotFound: the principal sees no such exercise of the organization or of their own.
    :raises ExerciseNameTaken: another exercise has its name by now.
    """
    exercise = _lock(session, principal, exercise_id)
    exercise.deleted_at = None
    creates.flush(session, principal, EXERCISES, exercise)
    return reads.get_exercise(session, principal, exercise.id)


def _lock(
    session: Session, principal: Principal, exercise_id: UUID, *conditions: Any, expected: Versions = None
) -> Exercise:
    """Lock an exercise of the organization or of the principal, never the platform's or another user's."""
    owners = or_(Exercise.owner_user_id.is_(None), Exercise.owner_user_id == principal.user_id)
    exercise = lock(session, principal, Exercise, exercise_id, owners, *conditions, expected=expected)
    if exercise.owner_user_id is None and not principal.may(Permission.EXERCISES_WRITE):
        raise OrganizationsExercise
    return exercise
