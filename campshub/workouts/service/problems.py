"""What logging a workout may be refused for."""

from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Invalid, MonthUnavailable, NotFound, Problem, UnknownReference
from campshub.core.security.principal import Principal
from campshub.workouts.models import WorkoutLog
from campshub.workouts.queries import logs as reads


class ExternalIdTaken(Conflict):
    """Another log of this student came from the same source with this external id."""

    code = "external_id_taken"
    default_detail = "Another log of this student came from the same source with this external id."
    pointer = "/external_id"


class UnknownStudent(UnknownReference):
    """You see no such student."""

    default_detail = "You see no such student."
    pointer = "/student_id"


class NoStudent(Invalid):
    """Say whose log it is: your login is not linked to a student."""

    code = "required"
    default_detail = "Say whose log it is: your login is not linked to a student."
    pointer = "/student_id"


class UnknownExercise(UnknownReference):
    """You see no such exercise."""

    default_detail = "You see no such exercise."
    pointer = "/exercise_id"


class UnknownLoggedExercise(UnknownReference):
    """The log has no such exercise."""

    default_detail = "The log has no such exercise."
    pointer = "/log_exercise_id"


class DateOutOfRange(Invalid):
    """A log begins at most `WORKOUT_YEARS_BACK` years ago and at most 2 days ahead."""

    code = "date_out_of_range"
    default_detail = "A log begins at most `WORKOUT_YEARS_BACK` years ago and at most 2 days ahead."
    pointer = "/started_at"


class EndedBeforeStart(Invalid):
    """A workout ends after it began, and within 24 hours."""

    code = "ended_before_start"
    default_detail = "A workout ends after it began, and within 24 hours."
    constraint = "ck_workout_logs_ended_after_start"
    pointer = "/ended_at"


class UnitMissing(Invalid):
    """A weight needs its unit, and a unit its weight."""

    code = "required"
    default_detail = "A weight needs its unit, and a unit its weight."


class SaysNothing(Invalid):
    """A set says reps, load, seconds or metres."""

    code = "says_nothing"
    default_detail = "A set says reps, load, seconds or metres."
    constraint = "ck_workout_sets_says_something"
    pointer = "/reps"


def absent(session: Session, principal: Principal, log_id: UUID) -> Problem:
    """Return why a log cannot be written: it does not exist, or its month is not in the database."""
    month = reads.unavailable_month(session, principal, log_id)
    return NotFound() if month is None else MonthUnavailable(missing={(WorkoutLog.__tag__, month)})
