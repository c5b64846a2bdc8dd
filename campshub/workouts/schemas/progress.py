"""Schemas of training progress."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.workouts.models import LOAD_MODES

_OF_WORK = "Performed sets only, without warm-ups."
_BEST = "Of the set with the best estimate; of an assisted exercise, with the least assistance."


class WeekFilter(fields.Filter):
    """Filters of weeks: a range of at most 400 days, extended to whole weeks, a student and an exercise."""

    first_date = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "Default: eleven weeks before the last date."}
    )
    last_date = fields.LocalDate(data_key="to", load_default=None, metadata={"description": "Default: today."})
    student_id = fields.Id(load_default=None, metadata={"description": "Default: all students that you see."})
    exercise_id = fields.Id(load_default=None)


class WeekOut(fields.Out):
    """The aggregates of a person's sets of an exercise in a week."""

    week = ma.Date(required=True, metadata={"description": "The Monday of the week."})
    student_id = fields.Id(required=True)
    exercise_id = fields.Id(required=True)
    load_mode = fields.Text(required=True, one_of=LOAD_MODES, metadata={"description": "The exercise's load mode."})
    sets = ma.Integer(required=True, metadata={"description": "All logged sets."})
    working_sets = ma.Integer(required=True, metadata={"description": _OF_WORK})
    reps = ma.Integer(required=True, metadata={"description": _OF_WORK})
    volume_grams = ma.Integer(
        required=True, metadata={"description": f"Load times reps; without assistance and mode none. {_OF_WORK}"}
    )
    heaviest_grams = ma.Integer(
        required=True,
        allow_none=True,
        metadata={"description": f"The record load: the most, or the least assistance. {_OF_WORK}"},
    )
    most_reps = ma.Integer(required=True, allow_none=True, metadata={"description": _OF_WORK})
    best_1rm_grams = ma.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "The one-repetition maximum, estimated by Epley's formula from sets of up to 12 reps. Mode"
            " bodyweight_plus: body weight and load together, null without a body weight in the log; null for modes"
            " assisted and none."
        },
    )
    best_load_grams = ma.Integer(required=True, allow_none=True, metadata={"description": _BEST})
    best_reps = ma.Integer(required=True, allow_none=True, metadata={"description": _BEST})
    best_body_weight_grams = ma.Integer(
        required=True, allow_none=True, metadata={"description": f"Mode bodyweight_plus only. {_BEST}"}
    )
    added_load_grams = ma.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Mode bodyweight_plus only: best_1rm_grams without the body weight."},
    )
