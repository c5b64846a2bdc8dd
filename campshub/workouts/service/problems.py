"""The errors of logging workouts."""

from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Invalid, MonthUnavailable, NotFound, Problem, UnknownReference
from campshub.core.security.principal import Principal
from campshub.workouts.models import WorkoutLog
from campshub.workouts.queries import logs as reads


class LogExternalIdTaken(Conflict):
    """Another log of this student has the same source and external id."""

    code = "external_id_taken"
    default_detail = "Another log of this student has the same source and external id."
    pointer = "/external_id"


class UnknownStudent(UnknownReference):
    """The student does not exist, or you may not see them."""

    default_detail = "The student does not exist, or you may not see them."
    pointer = "/student_id"


class NoStudent(Invalid):
    """`student_id` is required, because your login is not linked to a student."""

    code = "required"
    default_detail = "`student_id` is required, because your login is not linked to a student."
    pointer = "/student_id"


class UnknownExercise(UnknownReference):
    """The exercise does not exist, or you may not see it."""

    default_detail = "The exercise does not exist, or you may not see it."
    pointer = "/exercise_id"


class UnknownLoggedExercise(UnknownReference):
    """The log has no such exercise."""

    default_detail = "The log has no such exercise."
    pointer = "/log_exercise_id"


class LogDateOutOfRange(Invalid):
    """A log starts at most `WORKOUT_YEARS_BACK` years ago and at most 2 days ahead."""

    code = "date_out_of_range"
    default_detail = "A log starts at most `WORKOUT_YEARS_BACK` years ago and at most 2 days ahead."
    pointer = "/started_at"


class EndedBeforeStart(Invalid):
    """A workout must end after it started, and within 24 hours."""

    code = "ended_before_start"
    default_detail = "A workout must end after it started, and within 24 hours."
    constraint = "ck_workout_logs_ended_after_start"
    pointer = "/ended_at"


class UnitMissing(Invalid):
    """A weight and its unit must be sent together."""

    code = "required"
    default_detail = "A weight and its unit must be sent together."


class SaysNothing(Invalid):
    """A set needs reps, load, seconds or metres."""

    code = "says_nothing"
    default_detail = "A set needs reps, load, seconds or metres."
    constraint = "ck_workout_sets_says_something"
    pointer = "/reps"


def absent(session: Session, principal: Principal, log_id: UUID) -> Problem:
    """Return the error for a missing log: it does not exist, or its month is not in the database."""
    month = reads.unavailable_month(session, principal, log_id)
    return NotFound() if month is None else MonthUnavailable(missing={(WorkoutLog.__tag__, month)})
