"""Create, change and delete workout logs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from campshub.core.dates import years_before
from campshub.core.db import creates, writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, Deleted, FieldError, IdTaken, Invalid, NotFound
from campshub.core.security.audit import unwrap_person_key
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.workouts.models import WorkoutLog, WorkoutLogExercise, WorkoutLogId, WorkoutSet
from campshub.workouts.ownership import owner_of
from campshub.workouts.queries import logs as reads
from campshub.workouts.queries import write_context
from campshub.workouts.service.problems import (
    EndedBeforeStart,
    LogDateOutOfRange,
    LogExternalIdTaken,
    NoStudent,
    UnitMissing,
    UnknownExercise,
    UnknownStudent,
    absent,
)
from campshub.workouts.weights import weighed

LONGEST = timedelta(hours=24)
LOGS = creates.Collection(WorkoutLogId, "/api/workout-logs/{row.id}/")

Rows = list[dict[str, Any]]


class LogChanges(TypedDict, total=False):
    """Fields of a log that a change may have."""

    ended_at: datetime | None
    title: str | None
    note: str | None
    body_weight: str | None
    body_weight_unit: str | None


class NewLog(LogChanges, total=False):
    """The fields of a new log; each exercise has its sets."""

    student_id: UUID
    started_at: Required[datetime]
    time_zone: str
    source: Required[str]
    external_id: Required[str | None]
    exercises: Required[Sequence[dict[str, Any]]]


def create(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    now: datetime,
    id: UUID | None = None,
    **given: Unpack[NewLog],
) -> tuple[dict[str, Any], bool]:
    """Log a workout with its exercises and sets; return it, and False if an earlier, identical call has created it.

    This takes three statements for any number of sets: the read before the write, all inserts, and the commit.

    :raises UnknownStudent: the principal sees no such student.
    :raises UnknownExercise: the principal may not use one of the exercises.
    :raises LogDateOutOfRange: it began too long ago, or too far in the future.
    :raises MonthUnavailable: the log was sent before, and its month is not in the database.
    :raises Deleted: the log was sent before, and is deleted.
    :raises IdTaken: the id, or that of a set, belongs to something else.
    :raises LogExternalIdTaken: another log of the student has this source and external id.
    """
    body_fingerprint = fingerprint(given)
    known = _known(session, principal, id, given)
    present = _sent_before(session, principal, known, id, body_fingerprint)
    if present is not None:
        return present, False
    local_date = _local_date(principal, services.settings.workout_years_back, given, now)
    _require_exercises(known, given["exercises"])
    _cache_person_key(session, principal, services, known)
    log, exercises, sets = _rows(principal, known, id or new_id(), local_date, now, given)
    located, inserted = _insert(session, log, exercises, sets, body_fingerprint)
    if not located:
        # A concurrent request has written the same log meanwhile.
        present = _sent_before(session, principal, _known(session, principal, id, given), id, body_fingerprint)
        if present is None:
            raise Conflict
        return present, False
    _require_free_ids(given["exercises"], (exercises, inserted[0]), (sets, inserted[1]))
    return _shown(log, exercises, sets, known.exercises or {}), True


def _insert(
    session: Session, log: dict[str, Any], exercises: Rows, sets: Rows, body_fingerprint: bytes
) -> tuple[set[UUID], list[set[UUID]]]:
    """Insert a log's rows; return the ids that were written: of the locator, and of exercises and sets."""
    locator = {name: log[name] for name in ("id", "local_date", "student_id", "source", "external_id")}
    located, _, *inserted = writes.insert_together(
        session,
        (WorkoutLogId, [{**locator, "fingerprint": body_fingerprint}]),
        (WorkoutLog, [log]),
        (WorkoutLogExercise, exercises),
        (WorkoutSet, sets),
    )
    return located, inserted


def _cache_person_key(session: Session, principal: Principal, services: Services, known: Any) -> None:
    """Cache the person key, which encrypts titles and notes in the audit log, to save the unit of work a statement."""
    if known.sealed_key is not None:
        key = unwrap_person_key(services.ring, principal.organization_id, known.student_id, known.sealed_key)
        session.unit.person_keys[known.student_id] = key


def _local_date(principal: Principal, years_back: int, given: NewLog, now: datetime) -> date:
    """Return the local date where the person trained, after checking its range."""
    started_at, ended_at = given["started_at"], given.get("ended_at")
    found: date = started_at.astimezone(ZoneInfo(given.get("time_zone") or principal.time_zone)).date()
    today = principal.today(now)
    if not years_before(today, years_back) <= found <= today + timedelta(days=reads.DAYS_AHEAD):
        raise LogDateOutOfRange(
            f"A log starts at most {years_back} years ago and at most {reads.DAYS_AHEAD} days ahead."
        )
    _require_end(started_at, ended_at)
    return found


def _require_end(started_at: datetime, ended_at: datetime | None) -> None:
    if ended_at is not None and not started_at <= ended_at <= started_at + LONGEST:
        raise EndedBeforeStart


def _known(session: Session, principal: Principal, id: UUID | None, given: NewLog) -> AnyRow:
    """Read the data for the log, and refuse a student that the principal does not see."""
    known = write_context.before_create(
        session,
        principal,
        student_id=given.get("student_id"),
        log_id=id,
        source=given["source"],
        external_id=given["external_id"],
        exercise_ids={exercise["exercise_id"] for exercise in given["exercises"]},
    )
    if known is None:
        raise UnknownStudent if given.get("student_id") else NoStudent
    return known


def _require_exercises(known: AnyRow, exercises: Sequence[dict[str, Any]]) -> None:
    """Refuse exercises that the principal may not use, and repeated ids."""
    unknown = [
        FieldError(
            f"/exercises/{index}/exercise_id",
            UnknownExercise.code,
            "The exercise does not exist, or you may not see it.",
        )
        for index, exercise in enumerate(exercises)
        if str(exercise["exercise_id"]) not in (known.exercises or {})
    ]
    if unknown:
        raise UnknownExercise.of(unknown)
    seen: set[UUID] = set()
    for pointer, given in _ids_with_pointers(exercises):
        if given in seen:
            raise Invalid.at(pointer, "repeated", "Sent more than once.")
        seen.add(given)


def _sent_before(
    session: Session, principal: Principal, known: AnyRow, id: UUID | None, body_fingerprint: bytes
) -> dict[str, Any] | None:
    """Return the log of an earlier, identical request.

    :raises MonthUnavailable: its month is not in the database.
    :raises Deleted: it is deleted.
    :raises IdTaken, LogExternalIdTaken: the id or the external id belongs to another log.
    """
    if not known.present:
        return None
    found = min(known.present, key=lambda found: found["id"] != str(id))
    has_id, is_same = found["id"] == str(id), found["fingerprint"] == body_fingerprint.hex()
    try:
        log = reads.get_log(session, principal, UUID(found["id"]), deleted=None)
    except NotFound:
        if is_same:
            raise absent(session, principal, UUID(found["id"])) from None
        raise IdTaken if has_id else LogExternalIdTaken from None
    existing = SimpleNamespace(**{name: log[name] for name in ("id", "version", "deleted_at")})
    if log["deleted_at"] is not None and (has_id or is_same):
        raise LOGS.conflict(Deleted, existing)
    if not is_same:
        raise LOGS.conflict(IdTaken if has_id else LogExternalIdTaken, existing)
    return log


def _rows(
    principal: Principal, known: AnyRow, log_id: UUID, local_date: date, now: datetime, given: NewLog
) -> tuple[dict[str, Any], Rows, Rows]:
    """Return the rows of a log, its exercises and its sets."""
    stamps = {"created_at": now, "updated_at": now}
    location = {"local_date": local_date, "student_id": known.student_id, **stamps}
    log = {
        **location,
        **{name: given.get(name) for name in ("ended_at", "title", "note", "source", "external_id", "started_at")},
        **weighed("body_weight", given.get("body_weight"), given.get("body_weight_unit")),
        "id": log_id,
        "time_zone": given.get("time_zone") or principal.time_zone,
    }
    exercises: Rows = []
    sets: Rows = []
    for position, exercise in enumerate(given["exercises"], start=1):
        of_exercise = {
            **location,
            "log_id": log_id,
            "exercise_owner_id": owner_of(exercise["exercise_id"], principal.organization_id),
            "exercise_id": exercise["exercise_id"],
        }
        row = {
            **of_exercise,
            "id": exercise.get("id") or new_id(),
            "position": position,
            "superset": exercise["superset"],
            "note": exercise["note"],
        }
        exercises.append(row)
        sets += [
            set_row({**of_exercise, "log_exercise_id": row["id"], "position": number}, one)
            for number, one in enumerate(exercise["sets"], start=1)
        ]
    return log, exercises, sets


def set_row(location: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a set's row: its location, its values, and the fingerprint of the request."""
    values = {name: value for name, value in given.items() if name != "id"}
    plain = {name: value for name, value in values.items() if name not in ("load", "load_unit")}
    return {
        **dict.fromkeys(("reps", "seconds", "metres", "rir", "rest_seconds", "done_at")),
        **plain,
        **weighed("load", values.get("load"), values.get("load_unit")),
        **location,
        "id": given.get("id") or new_id(),
        "fingerprint": fingerprint(values),
    }


def _ids_with_pointers(exercises: Sequence[dict[str, Any]]) -> Iterator[tuple[str, UUID]]:
    """Yield each id in the body, with its JSON pointer."""
    for number, exercise in enumerate(exercises):
        if "id" in exercise:
            yield f"/exercises/{number}/id", exercise["id"]
        for index, one in enumerate(exercise["sets"]):
            if "id" in one:
                yield f"/exercises/{number}/sets/{index}/id", one["id"]


def _require_free_ids(exercises: Sequence[dict[str, Any]], *parts: tuple[Rows, set[UUID]]) -> None:
    """Refuse ids of a new log's rows that other rows of that day already have."""
    for rows, written in parts:
        taken = {row["id"] for row in rows} - written
        if taken:
            raise IdTaken(
                errors=[
                    FieldError(pointer, IdTaken.code, "Another resource has this id.")
                    for pointer, given in _ids_with_pointers(exercises)
                    if given in taken
                ]
            )


def _shown(log: dict[str, Any], exercises: Rows, sets: Rows, known: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return a log that has just been written in the form of the reads."""
    new = {"version": 1, "deleted_at": None}
    named = [{**row, **new, **known[str(row["exercise_id"])]} for row in exercises]
    return reads.assembled(log | new, named, [row | new for row in sets])


def change(
    session: Session, principal: Principal, *, log_id: UUID, expected: Versions, **given: Unpack[LogChanges]
) -> dict[str, Any]:
    """Change a log's own fields; return the whole log.

    :raises NotFound: the principal sees no such log.
    :raises PreconditionFailed: it or one of its sets has changed since the caller read it.
    :raises EndedBeforeStart: it would end before it began, or more than 24 hours later.
    """
    log = _lock(session, principal, log_id, expected=expected)
    for name, value in {**given, **reweighed("body_weight", log, given)}.items():
        setattr(log, name, value)
    _require_end(log.started_at, log.ended_at)
    session.flush()
    return reads.get_log(session, principal, log_id)


def reweighed(name: str, row: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the three columns of a weight after a change of it or its unit; an empty dict if neither changes.

    :raises UnitMissing: the weight would have no unit, or the unit no weight.
    """
    unit = f"{name}_unit"
    if name not in changes and unit not in changes:
        return {}
    new_weight = changes.get(name, getattr(row, name))
    new_unit = changes.get(unit, getattr(row, unit) if new_weight is not None else None)
    if (new_weight is None) != (new_unit is None):
        pointer = f"/{unit}" if new_unit is None else f"/{name}"
        raise UnitMissing.of([FieldError(pointer, UnitMissing.code, "A weight and its unit must be sent together.")])
    return weighed(name, new_weight, new_unit)


def delete(session: Session, principal: Principal, *, log_id: UUID, expected: Versions, now: datetime) -> None:
    """Mark a log as deleted; ``undelete`` restores it with its sets.

    :raises NotFound: the principal sees no such log.
    """
    _lock(session, principal, log_id, expected=expected).deleted_at = now


def undelete(session: Session, principal: Principal, *, log_id: UUID) -> dict[str, Any]:
    """Undelete a log; this does nothing for one that is not deleted.

    :raises NotFound: the principal sees no such log.
    """
    _lock(session, principal, log_id, deleted=None).deleted_at = None
    session.flush()
    return reads.get_log(session, principal, log_id)


def _lock(
    session: Session, principal: Principal, log_id: UUID, *, expected: Versions = None, deleted: bool | None = False
) -> WorkoutLog:
    """Lock a log and check its version, which is the sum of the versions of all its rows."""
    versions = [
        select(func.coalesce(func.sum(model.version), 0))
        .where(reads.same_log(model))
        .correlate(WorkoutLog)
        .scalar_subquery()
        for model in (WorkoutLogExercise, WorkoutSet)
    ]
    whole = (WorkoutLog.version + versions[0] + versions[1]).label("version")
    statement = reads.located(select(WorkoutLog, whole), principal, log_id, is_written=True).with_for_update(
        of=WorkoutLog
    )
    if deleted is not None:
        statement = statement.where(WorkoutLog.deleted_at.is_(None))
    row = session.execute(statement).one_or_none()
    if row is None:
        raise absent(session, principal, log_id)
    require_version(row, expected)
    log: WorkoutLog = row.WorkoutLog
    return log
