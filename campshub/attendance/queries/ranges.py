"""The dates that a read of records names."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from campshub.core.errors import Invalid
from campshub.core.security.principal import Principal

MOST_DAYS = 400


def asked(principal: Principal, now: datetime, given: Mapping[str, Any]) -> tuple[date, date]:
    """Return the first and the last date asked for; where one is left out, the month of the other, or the present one.

    :raises Invalid: they are the wrong way round, or too far apart.
    """
    first: date | None = given.get("first")
    last: date | None = given.get("last")
    month = (first or last or principal.today(now)).replace(day=1)
    first = first or month
    last = last or (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    if last < first:
        raise Invalid.at("/to", "invalid", "The last date lies before the first.")
    if (last - first).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"At most {MOST_DAYS} days from the first date.")
    return first, last
