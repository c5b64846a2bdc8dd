"""Schemas of workout logs."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields as ma
from marshmallow import validates_schema

from campshub.core.http.schemas import fields
from campshub.workouts.models import LOAD_MODES
from campshub.workouts.schemas.sets import SetIn, SetOut, Weight, require_unit
from campshub.workouts.weights import UNITS

MOST_EXERCISES = 50
MOST_SETS = 100
MOST_SUPERSETS = 50


class _Log(fields.In):
    """Fields common to creating and changing a log."""

    ended_at = fields.PastInstant(allow_none=True)
    title = fields.Name(allow_none=True)
    note = fields.Note(allow_none=True, most=fields.LONG)
    body_weight = Weight(
        allow_none=True, metadata={"description": "On that day; estimates of body weight exercises use it."}
    )
    body_weight_unit = fields.Text(allow_none=True, one_of=UNITS)


class LoggedExerciseIn(fields.In):
    """An exercise of a new log."""

    id = fields.Id()
    exercise_id = fields.Id(required=True)
    note = fields.Note(load_default=None, allow_none=True, most=fields.LONG)
    superset = fields.Integer(
        load_default=None,
        allow_none=True,
        least=1,
        most=MOST_SUPERSETS,
        metadata={"description": "Exercises with the same number were done in turn."},
    )
    sets = fields.BoundedList(ma.Nested(SetIn), load_default=list, most=MOST_SETS)


class WorkoutLogIn(_Log):
    """A new log with its exercises and sets."""

    example = fields.Example(
        id=fields.example_id("log_id"),
        student_id=fields.example_id("student_id"),
        started_at=fields.yesterday_morning,
        time_zone="Asia/Kolkata",
        title="Legs",
        exercises=[
            {
                "id": fields.example_id("log_exercise_id"),
                "exercise_id": fields.example_id("exercise_id"),
                "sets": [{"id": fields.example_id("set_id"), "reps": 5, "load": "60", "load_unit": "kg"}],
            }
        ],
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second log."})
    student_id = fields.Id(metadata={"description": "Who trained; default: the student linked to your login."})
    started_at = fields.PastInstant(required=True)
    time_zone = fields.TimeZone(metadata={"description": "Where the person trained; default: the organization's."})
    source = fields.Name(load_default="api", most=40, metadata={"description": "The app that the log comes from."})
    external_id = fields.Name(
        load_default=None,
        allow_none=True,
        metadata={"description": "The log's id in that app, to make a sync repeatable."},
    )
    exercises = fields.BoundedList(ma.Nested(LoggedExerciseIn), load_default=list, most=MOST_EXERCISES)

    @validates_schema
    def _weighs(self, given: Mapping[str, Any], **_options: Any) -> None:
        require_unit(given, "body_weight")


class WorkoutLogPatch(_Log):
    """Changes of a log; omitted fields stay as they are. Its start and so its date cannot change."""

    example = fields.Example(title="Legs and back", note="Felt strong.")


class LoggedExerciseOut(fields.Out):
    """An exercise of a log."""

    id = fields.Id(required=True)
    position = ma.Integer(required=True)
    exercise_id = fields.Id(required=True)
    name = fields.Text(required=True)
    load_mode = fields.Text(required=True, one_of=LOAD_MODES)
    superset = ma.Integer(required=True, allow_none=True)
    note = fields.Text(required=True, allow_none=True)
    sets = ma.List(ma.Nested(SetOut), required=True)


class LogHeaderOut(fields.Out):
    """A log without its sets."""

    documented_as = "WorkoutLogBrief"

    id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    local_date = ma.Date(required=True, metadata={"description": "The date where the person trained."})
    time_zone = fields.Text(required=True)
    started_at = ma.AwareDateTime(required=True)
    ended_at = ma.AwareDateTime(required=True, allow_none=True)
    title = fields.Text(required=True, allow_none=True)
    note = fields.Text(required=True, allow_none=True)
    body_weight = fields.Text(required=True, allow_none=True)
    body_weight_unit = fields.Text(required=True, allow_none=True, one_of=UNITS)
    body_weight_grams = ma.Integer(required=True, allow_none=True)
    source = fields.Text(required=True)
    external_id = fields.Text(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    set_count = ma.Integer(required=True)
    exercise_count = ma.Integer(required=True)
    volume_grams = ma.Integer(
        required=True,
        metadata={"description": "Load times reps, without warm-ups and without the assistance of assisted exercises."},
    )
    version = ma.Integer(required=True, metadata={"description": "Increases with each change of the log or its sets."})


class WorkoutLogOut(LogHeaderOut):
    """A log with its exercises and sets."""

    documented_as = "WorkoutLog"

    exercises = ma.List(ma.Nested(LoggedExerciseOut), required=True)


class DateRangeFilter(fields.Filter):
    """A range of dates."""

    first_date = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "Default: 400 days before the last date."}
    )
    last_date = fields.LocalDate(
        data_key="to", load_default=None, metadata={"description": "The last date; default: up to now."}
    )
    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})


class WorkoutLogFilter(DateRangeFilter):
    """Filters of logs."""

    student_id = fields.Id(load_default=None)
    exercise_id = fields.Id(load_default=None, metadata={"description": "With a set of this exercise."})
    updated_from = fields.UpdatedFrom()
