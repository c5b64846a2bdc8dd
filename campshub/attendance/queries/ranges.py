"""The date range of a read of records."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from campshub.core.dates import month_end, month_start
from campshub.core.errors import Invalid
from campshub.core.security.principal import Principal

MOST_DAYS = 400


def resolved(principal: Principal, now: datetime, given: Mapping[str, Any]) -> tuple[date, date]:
    """Return the first and the last date; a missing one defaults to the month of the other, or to the current month.

    :raises Invalid: the last date is before the first, or the range is too long.
    """
    first_date: date | None = given.get("first_date")
    last_date: date | None = given.get("last_date")
    usual = first_date or last_date or principal.today(now)
    return checked(first_date or month_start(usual), last_date or month_end(usual))


def checked(first_date: date, last_date: date) -> tuple[date, date]:
    """Return the dates.

    :raises Invalid: the last date is before the first, or the range is too long.
    """
    if last_date < first_date:
        raise Invalid.at("/to", "invalid", "The last date is before the first.")
    if (last_date - first_date).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"The last date must be at most {MOST_DAYS} days after the first.")
    return first_date, last_date
