"""Schemas of sets."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validates_schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.workouts.models import SET_TYPES, WEIGHT_PATTERN
from campshub.workouts.weights import UNITS

_REQUIRED = "Missing data for required field."
_WEIGHT = re.compile(WEIGHT_PATTERN)
_HALVES = 2
MOST_REPS = 10_000
MOST_SECONDS = 2 * 24 * 3600
MOST_METRES = 1_000_000
MOST_RIR = 10


class Weight(fields.Text):
    """A weight up to 9999.999, as text or as a number; the digits are stored as entered."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's own form
        "invalid": "Must be a weight from 0 to 9999.999, with at most three digits after the point."
    }

    def __init__(self, **options: Any) -> None:
        stated = {"pattern": WEIGHT_PATTERN, **options.pop("metadata", {})}
        super().__init__(most=8, metadata=stated, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = repr(value)
        text = super()._deserialize(value, attr, data, **options)
        if not _WEIGHT.fullmatch(text) or text.endswith("\n"):
            raise self.make_error("invalid")
        return text


class Halves(fields.Float):
    """A number in steps of a half."""

    def __init__(self, **options: Any) -> None:
        stated = {"multipleOf": 1 / _HALVES, **options.pop("metadata", {})}
        super().__init__(step=" in steps of 0.5", metadata=stated, **options)

    def _validated(self, value: Any) -> Any:
        number = super()._validated(value)
        if number is not None and not (number * _HALVES).is_integer():
            raise self.make_error("invalid", input=value)
        return number


def require_unit(given: Mapping[str, Any], name: str) -> None:
    """Refuse a weight without its unit, and a unit without its weight.

    :raises ValidationError: one of the two is missing.
    """
    unit = f"{name}_unit"
    if given.get(name) is not None and given.get(unit) is None:
        raise ValidationError({unit: [_REQUIRED]})
    if given.get(unit) is not None and given.get(name) is None:
        raise ValidationError({name: [_REQUIRED]})


class _Set(fields.In):
    """Fields common to creating and changing a set."""

    reps = fields.Integer(allow_none=True, most=MOST_REPS)
    # Another attribute name, because `load` is a method of schemas.
    load_ = Weight(
        data_key="load",
        attribute="load",
        allow_none=True,
        metadata={"description": "As entered; text preserves each digit."},
    )
    load_unit = fields.Text(allow_none=True, one_of=UNITS)
    seconds = fields.Integer(allow_none=True, most=MOST_SECONDS)
    metres = fields.Integer(allow_none=True, most=MOST_METRES)
    rir = Halves(allow_none=True, most=MOST_RIR, metadata={"description": "Reps in reserve, in halves."})
    rest_seconds = fields.Integer(allow_none=True, most=MOST_SECONDS)
    done_at = fields.PastInstant(allow_none=True)


class SetIn(_Set):
    """A new set."""

    documented_as = "WorkoutSetIn"

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second set."})
    type = fields.Text(load_default="normal", one_of=SET_TYPES)

    @validates_schema
    def _says_something(self, given: Mapping[str, Any], **_options: Any) -> None:
        require_unit(given, "load")
        if all(given.get(name) is None for name in ("reps", "load", "seconds", "metres")):
            raise ValidationError("Send reps, load, seconds or metres.")


class AppendedSetIn(SetIn):
    """A new set at the end of an exercise of the log."""

    example = fields.Example(log_exercise_id=fields.example_id("log_exercise_id"), reps=4, load="62.5", load_unit="kg")

    documented_as = "AppendedSetIn"

    log_exercise_id = fields.Id(metadata={"description": "The id of the exercise in the log."})
    exercise_id = fields.Id(
        metadata={"description": "Instead: the last occurrence of this exercise in the log, or a new one at its end."}
    )

    @validates_schema
    def _says_where(self, given: Mapping[str, Any], **_options: Any) -> None:
        if ("log_exercise_id" in given) == ("exercise_id" in given):
            raise ValidationError({"exercise_id": ["Send exercise_id or log_exercise_id."]})


class SetPatch(_Set):
    """Changes of a set; omitted fields stay as they are."""

    example = fields.Example(reps=6)

    documented_as = "WorkoutSetPatch"

    type = fields.Text(one_of=SET_TYPES)


class SetFilter(fields.Filter):
    """Filters of a log's sets."""

    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})


class SetOut(fields.Out):
    """A set."""

    documented_as = "WorkoutSet"

    id = fields.Id(required=True)
    log_id = fields.Id(required=True)
    log_exercise_id = fields.Id(required=True)
    exercise_id = fields.Id(required=True)
    position = ma.Integer(required=True, metadata={"description": "Increases in the exercise; gaps are deleted sets."})
    type = fields.Text(required=True, one_of=SET_TYPES)
    reps = ma.Integer(required=True, allow_none=True)
    load_ = fields.Text(
        data_key="load", attribute="load", required=True, allow_none=True, metadata={"description": "As entered."}
    )
    load_unit = fields.Text(required=True, allow_none=True, one_of=UNITS)
    load_grams = ma.Integer(required=True, allow_none=True)
    seconds = ma.Integer(required=True, allow_none=True)
    metres = ma.Integer(required=True, allow_none=True)
    rir = Halves(required=True, allow_none=True, most=MOST_RIR)
    rest_seconds = ma.Integer(required=True, allow_none=True)
    done_at = ma.AwareDateTime(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)
