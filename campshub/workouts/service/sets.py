"""Append, change and delete one set of an existing log."""

from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.core.db import creates, writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, IdTaken
from campshub.core.security.principal import Principal
from campshub.workouts.models import WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.ownership import owner_of
from campshub.workouts.queries import logs as reads
from campshub.workouts.queries import write_context
from campshub.workouts.service.logs import reweighed, set_row
from campshub.workouts.service.problems import UnknownExercise, UnknownLoggedExercise, absent

# The second try follows a wait for a concurrent append; holding the lock, it cannot be overtaken again.
TRIES = 2
SETS = creates.Collection(WorkoutSet, "/api/workout-logs/{row.log_id}/sets/{row.id}/")


class SetFields(TypedDict, total=False):
    """Fields of a set, of a new one or of a change."""

    type: str
    reps: int | None
    load: str | None
    load_unit: str | None
    seconds: int | None
    metres: int | None
    rir: float | None
    rest_seconds: int | None
    done_at: datetime | None


def append(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    log_id: UUID,
    id: UUID | None = None,
    log_exercise_id: UUID | None = None,
    exercise_id: UUID | None = None,
    **values: Unpack[SetFields],
) -> tuple[Any, bool]:
    """Append a set to an exercise of a log; return it, and False if an earlier, identical call has created it.

    This takes three statements, and a few more after a concurrent append.

    :raises NotFound: the principal sees no such log.
    :raises UnknownLoggedExercise: the log has no such exercise.
    :raises UnknownExercise: the principal may not use the exercise.
    :raises Deleted: the id belongs to a set that is deleted.
    :raises IdTaken: the id belongs to a set with other content.
    """
    where = {"log_exercise_id": log_exercise_id, "exercise_id": exercise_id}
    body_fingerprint = fingerprint({**values, **where})
    for _ in range(TRIES):
        known = write_context.before_append(session, principal, log_id=log_id, **where)
        if known is None:
            raise absent(session, principal, log_id)
        location, new_exercises = _location(principal, known, log_id, exercise_id, now)
        row = {**set_row(location, {**values, "id": id or new_id()}), "fingerprint": body_fingerprint}
        inserted, written = writes.insert_together(session, (WorkoutLogExercise, new_exercises), (WorkoutSet, [row]))
        if written:
            return {**row, "version": 1, "deleted_at": None}, True
        if len(inserted) < len(new_exercises):  # a concurrent append has taken the new exercise's position
            continue
        present = _sent_before(session, principal, known, log_id, id)
        if present is not None:
            return creates.require_same_create(SETS, present, fingerprint=body_fingerprint, is_seen=True), False
    raise Conflict


def _sent_before(
    session: Session, principal: Principal, known: AnyRow, log_id: UUID, set_id: UUID | None
) -> WorkoutSet | None:
    """Return the existing set with the id; None if only its position was taken.

    :raises IdTaken: the set is in another log of the day.
    """
    if set_id is None:
        return None
    present = session.get(
        WorkoutSet, {"organization_id": principal.organization_id, "local_date": known.local_date, "id": set_id}
    )
    if present is not None and present.log_id != log_id:
        seen = reads.located(select(WorkoutLogId.id), principal, present.log_id).where(WorkoutLog.deleted_at.is_(None))
        is_seen = session.execute(seen).first() is not None
        raise SETS.conflict(IdTaken, present if is_seen else None)
    return present


def _location(
    principal: Principal, known: AnyRow, log_id: UUID, exercise_id: UUID | None, now: datetime
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the location columns of a new set, and a new exercise row if the log does not have the exercise yet."""
    location = {
        "log_id": log_id,
        "local_date": known.local_date,
        "student_id": known.student_id,
        "created_at": now,
        "updated_at": now,
    }
    if known.log_exercise_id is not None:
        same = {name: getattr(known, name) for name in ("log_exercise_id", "exercise_owner_id", "exercise_id")}
        return {**location, **same, "position": known.last_set + 1}, []
    if exercise_id is None:
        raise UnknownLoggedExercise
    if known.usable is None:
        raise UnknownExercise
    location |= {"exercise_owner_id": owner_of(exercise_id, principal.organization_id), "exercise_id": exercise_id}
    exercise = {**location, "id": new_id(), "position": known.last_exercise + 1}
    return {**location, "log_exercise_id": exercise["id"], "position": 1}, [exercise]


def change(
    session: Session,
    principal: Principal,
    *,
    log_id: UUID,
    set_id: UUID,
    expected: Versions,
    **given: Unpack[SetFields],
) -> WorkoutSet:
    """Change a set.

    :raises NotFound: the principal sees no such set.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SaysNothing: it would have no values left.
    """
    one = _lock(session, principal, log_id, set_id, expected=expected)
    for name, value in {**given, **reweighed("load", one, given)}.items():
        setattr(one, name, value)
    session.flush()
    return one


def delete(
    session: Session, principal: Principal, *, log_id: UUID, set_id: UUID, expected: Versions, now: datetime
) -> None:
    """Mark a set as deleted; ``undelete`` restores it at its position.

    :raises NotFound: the principal sees no such set.
    """
    _lock(session, principal, log_id, set_id, expected=expected).deleted_at = now


def undelete(session: Session, principal: Principal, *, log_id: UUID, set_id: UUID) -> WorkoutSet:
    """Undelete a set; this does nothing for one that is not deleted.

    :raises NotFound: the principal sees no such set.
    """
    one = _lock(session, principal, log_id, set_id, deleted=None)
    one.deleted_at = None
    session.flush()
    return one


def _lock(
    session: Session,
    principal: Principal,
    log_id: UUID,
    set_id: UUID,
    *,
    expected: Versions = None,
    deleted: bool | None = False,
) -> WorkoutSet:
    """Lock a set of a log and check its version."""
    statement = (
        reads.located(select(WorkoutSet), principal, log_id, is_written=True)
        .join(WorkoutSet, reads.same_log(WorkoutSet))
        .where(WorkoutSet.id == set_id, WorkoutLog.deleted_at.is_(None))
        .with_for_update(of=WorkoutSet)
    )
    if deleted is not None:
        statement = statement.where(WorkoutSet.deleted_at.is_(None))
    one: WorkoutSet | None = session.scalars(statement).one_or_none()
    if one is None:
        raise absent(session, principal, log_id)
    require_version(one, expected)
    return one
