"""The dates of the organizations that tests create."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

TIME_ZONE = ZoneInfo("Asia/Kolkata")


def today() -> date:
    """Return the organizations' date: on the evening before the first of a month, UTC still has the month before."""
    return datetime.now(TIME_ZONE).date()
