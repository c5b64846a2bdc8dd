"""Weights: stored as entered, and in whole grams for computing."""

from decimal import ROUND_HALF_EVEN, Decimal

UNITS = ("kg", "lb")
_GRAMS = {"kg": Decimal(1000), "lb": Decimal("453.59237")}  # the international pound of 1959, exactly


def grams(weight: str, unit: str) -> int:
    """Return a weight in grams, with halves rounded to even, so that sums do not drift."""
    return int((Decimal(weight) * _GRAMS[unit]).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def weighed(name: str, weight: str | None, unit: str | None) -> dict[str, str | int | None]:
    """Return the three columns of a weight: as entered, its unit, and grams; all None if there is no weight."""
    if weight is None or unit is None:
        return {name: None, f"{name}_unit": None, f"{name}_grams": None}
    return {name: weight, f"{name}_unit": unit, f"{name}_grams": grams(weight, unit)}
