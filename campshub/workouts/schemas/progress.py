"""Progress, as it goes out."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.workouts.models import LOAD_MODES

_OF_WORK = "Performed sets only, without warm-ups."
_BEST = "Of the set with the best estimate; of an assisted exercise, with the least help."


class WeekFilter(fields.Filter):
    """Which weeks, whole ones, of whom, and of which exercise; 400 days at most."""

    from_ = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "None: eleven weeks before the last date."}
    )
    to = fields.LocalDate(load_default=None, metadata={"description": "None: today."})
    student_id = fields.Id(load_default=None, metadata={"description": "None: everybody whom you see."})
    exercise_id = fields.Id(load_default=None)


class WeekOut(fields.Out):
    """What a person's sets of an exercise add up to in a week."""

    week = ma.Date(required=True, metadata={"description": "Its Monday."})
    student_id = fields.Id(required=True)
    exercise_id = fields.Id(required=True)
    load_mode = fields.Text(required=True, one_of=LOAD_MODES, metadata={"description": "The exercise's."})
    sets = ma.Integer(required=True, metadata={"description": "All that are logged."})
    working_sets = ma.Integer(required=True, metadata={"description": _OF_WORK})
    reps = ma.Integer(required=True, metadata={"description": _OF_WORK})
    volume_grams = ma.Integer(
        required=True, metadata={"description": f"Load times reps; help and mode none are no load. {_OF_WORK}"}
    )
    heaviest_grams = ma.Integer(
        required=True,
        allow_none=True,
        metadata={"description": f"The record load: the most, of an assisted exercise the least help. {_OF_WORK}"},
    )
    most_reps = ma.Integer(required=True, allow_none=True, metadata={"description": _OF_WORK})
    best_1rm_grams = ma.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "What could be lifted once, estimated by Epley from sets of up to 12 reps: of mode"
            " bodyweight_plus body weight and load together, null without a body weight in the log; null of modes"
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
