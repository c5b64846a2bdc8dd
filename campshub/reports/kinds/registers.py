"""The sessions of a report about registers, each with its expected and its existing marks, and their sums by group."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select, tuple_

from campshub.analytics.queries import registers
from campshub.core.security.principal import Principal
from campshub.reports.kinds import ReportArguments
from campshub.students.models import Group

_SUMMED = (
    *("scheduled", "not_taken", "there", "present", "late", "left_early", "absent", "excused", "rated", "attended"),
)


def by_group(principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None, *, most: int) -> Any:
    """Return the next groups with sessions until today, by name, with the sums of their registers."""
    last_date = min(arguments.last_date, principal.today(datetime.now(UTC)))
    found = registers.of_groups(
        principal, first_date=arguments.first_date, last_date=last_date, group_id=arguments.id("group_id")
    )
    rows = (
        select(
            *(Group.id, Group.name, Group.sort_name, func.count().label("sessions")),
            func.count(found.c.local_date.distinct()).label("days"),
            func.max(found.c.expected).label("strength"),
            *(func.sum(found.c[name]).label(name) for name in _SUMMED),
        )
        .select_from(found)
        .join(Group, and_(Group.organization_id == principal.organization_id, Group.id == found.c.group_id))
        .group_by(Group.organization_id, Group.id)
        .order_by(Group.sort_name, Group.id)
        .limit(most)
    )
    return rows if after is None else rows.where(tuple_(Group.sort_name, Group.id) > (after[0], UUID(after[1])))


def next_group(found: Sequence[Any], most: int) -> list[str] | None:
    """Return the keyset after some groups; None after the last ones."""
    return [found[-1].sort_name, str(found[-1].id)] if len(found) == most else None


def share(part: Any, whole: Any) -> float | None:
    """Return a share; None of nothing."""
    return int(part) / int(whole) if whole else None
