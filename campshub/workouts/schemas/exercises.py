"""Schemas of muscles and exercises."""

from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.http.schemas import fields
from campshub.workouts import catalogue
from campshub.workouts.models import (
    EQUIPMENT,
    FORCES,
    LEVELS,
    LOAD_MODES,
    MECHANICS,
    METRICS,
    MUSCLE_GROUPS,
    SIDES,
    SIDES_OF_BODY,
)

_MUSCLES = catalogue.muscle_keys()
_FEW = 20
_LEAST_SHARE = 0.01


class MuscleOut(fields.Out):
    """A muscle or muscle group by which training is counted."""

    id = fields.Id(required=True)
    key = fields.Text(required=True)
    name = fields.Text(required=True)
    group = fields.Text(required=True, one_of=MUSCLE_GROUPS)
    side = fields.Text(required=True, one_of=SIDES_OF_BODY)


class ExerciseMuscleIn(fields.In):
    """A muscle's share in an exercise."""

    muscle = fields.Text(required=True, one_of=_MUSCLES, metadata={"description": "A muscle's key."})
    share = fields.Float(
        load_default=1.0,
        least=_LEAST_SHARE,
        most=1,
        metadata={"description": "1 for the target muscle, less for assisting ones."},
    )


class ExerciseIn(fields.In):
    """A new exercise."""

    example = fields.Example(
        id=fields.example_id("exercise_id"), name="Squat to a low box", equipment="barbell", aliases=["Low box squat"]
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second exercise."})
    private = fields.Boolean(load_default=False, metadata={"description": "Your own, not the organization's."})
    name = fields.Name(required=True)
    aliases = fields.BoundedList(fields.Name(), load_default=list, most=_FEW)
    equipment = fields.Text(required=True, one_of=EQUIPMENT)
    mechanic = fields.Text(load_default=None, allow_none=True, one_of=MECHANICS)
    force = fields.Text(load_default=None, allow_none=True, one_of=FORCES)
    level = fields.Text(load_default=None, allow_none=True, one_of=LEVELS)
    load_mode = fields.Text(load_default="external", one_of=LOAD_MODES)
    side = fields.Text(load_default="both", one_of=SIDES)
    metrics = ma.List(
        fields.Text(one_of=METRICS), load_default=lambda: ["reps", "load"], validate=validate.Length(min=1, max=4)
    )
    muscles = fields.BoundedList(ma.Nested(ExerciseMuscleIn), load_default=list, most=_FEW)


class ExercisePatch(fields.In):
    """Changes of an exercise; omitted fields stay as they are."""

    example = fields.Example(level="beginner")

    name = fields.Name()
    aliases = fields.BoundedList(fields.Name(), most=_FEW)
    equipment = fields.Text(one_of=EQUIPMENT)
    mechanic = fields.Text(allow_none=True, one_of=MECHANICS)
    force = fields.Text(allow_none=True, one_of=FORCES)
    level = fields.Text(allow_none=True, one_of=LEVELS)
    load_mode = fields.Text(one_of=LOAD_MODES)
    side = fields.Text(one_of=SIDES)
    metrics = ma.List(fields.Text(one_of=METRICS), validate=validate.Length(min=1, max=4))
    muscles = fields.BoundedList(
        ma.Nested(ExerciseMuscleIn), most=_FEW, metadata={"description": "Replaces all of them."}
    )


class ExerciseMuscleOut(fields.Out):
    """A muscle's share in an exercise."""

    muscle = fields.Text(required=True, one_of=_MUSCLES)
    share = fields.Float(required=True, most=1)


class ExerciseOut(fields.Out):
    """An exercise."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)
    aliases = ma.List(fields.Text(), required=True)
    equipment = fields.Text(required=True, one_of=EQUIPMENT)
    mechanic = fields.Text(required=True, allow_none=True, one_of=MECHANICS)
    force = fields.Text(required=True, allow_none=True, one_of=FORCES)
    level = fields.Text(required=True, allow_none=True, one_of=LEVELS)
    load_mode = fields.Text(required=True, one_of=LOAD_MODES)
    side = fields.Text(required=True, one_of=SIDES)
    metrics = ma.List(fields.Text(one_of=METRICS), required=True)
    muscles = ma.List(ma.Nested(ExerciseMuscleOut), required=True)
    owner_id = fields.Id(required=True, metadata={"description": "The organization, or the platform for a public one."})
    owner_user_id = fields.Id(required=True, allow_none=True, metadata={"description": "The user who owns it."})
    licence = fields.Text(required=True, allow_none=True)
    attribution = fields.Text(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class ExerciseFilter(fields.Filter):
    """Filters of exercises."""

    q = fields.SearchText(load_default=None, most=100, metadata={"description": "Words of the name or an alias."})
    muscle = fields.Text(load_default=None, one_of=_MUSCLES, metadata={"description": "Works this muscle (its key)."})
    equipment = fields.Text(load_default=None, one_of=EQUIPMENT)
    mine = fields.Boolean(load_default=False, metadata={"description": "Only your own."})
    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})
