"""The registers of groups: what was scheduled and what was marked, session by session."""

from typing import Any

from sqlalchemy import Subquery, func, literal_column, select

from campshub.analytics.queries import marks, scheduled
from campshub.attendance.models import ATTENDED, COUNTS_AS
from campshub.core.security.principal import Principal


def of_groups(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any) -> Subquery:
    """Return the sessions of visible groups that were not cancelled, with the counts of their marks."""
    meetings = scheduled.of_sessions(principal, first_date=first_date, last_date=last_date, group_id=group_id)
    counts = marks.of_sessions(principal, first_date=first_date, last_date=last_date, group_id=group_id)
    found = {name: func.coalesce(counts.c[name], literal_column("0")) for name in (*COUNTS_AS, "rated", "attended")}
    marked = sum((found[name] for name in COUNTS_AS[1:]), found[COUNTS_AS[0]])
    there = sum((found[name] for name in ATTENDED[1:]), found[ATTENDED[0]])
    due = func.greatest(meetings.c.expected, marked)
    return (
        select(
            *(meetings.c.session_id, meetings.c.local_date, meetings.c.group_id, meetings.c.expected),
            *(value.label(name) for name, value in found.items()),
            *(marked.label("marked"), there.label("there")),
            *(due.label("scheduled"), (due - marked).label("not_taken")),
        )
        .outerjoin(counts, counts.c.session_id == meetings.c.session_id)
        .subquery("registers")
    )
