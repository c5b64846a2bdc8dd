"""What logging a workout may be refused for."""

from campshub.core.http.problems import Conflict, Invalid, UnknownReference


class ExternalIdTaken(Conflict):
    """Another log of this student came from the same source with this external id."""

    code = "external_id_taken"
    pointer = "/external_id"


class UnknownStudent(UnknownReference):
    """You see no such student."""

    pointer = "/student_id"


class NoStudent(Invalid):
    """Say whose log it is: your login is not linked to a student."""

    code = "required"
    pointer = "/student_id"


class UnknownExercise(UnknownReference):
    """You see no such exercise."""

    pointer = "/exercise_id"


class UnknownLoggedExercise(UnknownReference):
    """The log has no such exercise."""

    pointer = "/log_exercise_id"


class DateOutOfRange(Invalid):
    """A log begins at most 400 days ago and at most 2 days ahead."""

    code = "date_out_of_range"
    pointer = "/started_at"


class EndedBeforeStart(Invalid):
    """A workout ends after it began, and within 24 hours."""

    code = "ended_before_start"
    constraint = "ck_workout_logs_ended_after_start"
    pointer = "/ended_at"


class UnitMissing(Invalid):
    """A weight needs its unit, and a unit its weight."""

    code = "required"


class SaysNothing(Invalid):
    """A set says reps, load, seconds or metres."""

    code = "says_nothing"
    constraint = "ck_workout_sets_says_something"
    pointer = "/reps"
