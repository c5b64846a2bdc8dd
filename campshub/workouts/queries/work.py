"""The definition of working sets (performed, not warm-ups), and of the load by its mode."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, or_

WARM_UP = "warm_up"
EXTERNAL, BODYWEIGHT_PLUS, ASSISTED = "external", "bodyweight_plus", "assisted"
# The load of an assisted exercise is assistance, not lifted weight; mode ``none`` has no load.
LIFTED = (EXTERNAL, BODYWEIGHT_PLUS)


def performed(one: Any) -> ColumnElement[bool]:
    """Return the condition that a set was performed: with reps, or, if reps are NULL, with seconds or metres."""
    return or_(one.reps > 0, and_(one.reps.is_(None), or_(one.seconds > 0, one.metres > 0)))


def works(one: Any) -> ColumnElement[bool]:
    """Return the condition that a set is a working set: performed, and not a warm-up."""
    return and_(one.type != WARM_UP, performed(one))


def lifts(mode: Any) -> ColumnElement[bool]:
    """Return the condition that the loads of a mode are lifted, and count as volume."""
    condition: ColumnElement[bool] = mode.in_(LIFTED)
    return condition


def volume(one: Any, mode: Any, *conditions: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return a set's load times its reps, in grams; NULL for warm-ups and loads that are not lifted."""
    is_counted = and_(one.type != WARM_UP, lifts(mode), *conditions)
    return case((is_counted, cast(one.reps, BigInteger) * one.load_grams))


def volume_of(one: Mapping[Any, Any], mode: str) -> int:
    """Return the same volume for a set that has been read."""
    if one["type"] == WARM_UP or mode not in LIFTED:
        return 0
    return (one["reps"] or 0) * (one["load_grams"] or 0)
