"""Mark students as having left who are missing from a full list of another system."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import ARRAY, Text, all_, and_, literal

from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.errors import Conflict
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.service import changes

# Those who are still here; leads have not come yet, the others have left already.
_PRESENT = ("active", "suspended")


class TooManyLeavers(Conflict):
    """More students are missing from the list than `max_removed` allows; nothing was changed."""

    code = "too_many_leavers"
    default_detail = "More students are missing from the list than `max_removed` allows; nothing was changed."


def remove_missing(
    session: Session,
    principal: Principal,
    *,
    key: str,
    values: Sequence[str],
    max_removed: int,
    left_on: date,
    dry_run: bool,
) -> dict[str, Any]:
    """Give the status ``inactive`` and a last day to the students who are missing from a full list.

    Students without the key are unknown to the other system, and stay as they are.

    :param left_on: their last day; the day when they joined, if that is later. An earlier last day stays.
    :raises TooManyLeavers: more than ``max_removed`` are missing.
    """
    # One parameter, however long the list is.
    is_missing = getattr(Student, key) != all_(literal(list(values), ARRAY(Text)))
    has_key = getattr(Student, key).is_not(None)
    is_here = and_(Student.deleted_at.is_(None), Student.status.in_(_PRESENT))
    rows = changes.lock_students(session, principal, visible_to(principal, Student), is_here, has_key, is_missing)
    if len(rows) > max_removed:
        raise TooManyLeavers(
            f"{len(rows)} students are missing from the list; `max_removed` is {max_removed}. Nothing was changed."
        )
    for row in rows:
        row |= {"status": "inactive", "left_on": _last_day(row, left_on)}
    versions = {} if dry_run else writes.update(session, Student, rows, change=("left_on", "status"))
    students = [{**row, "version": versions.get(row["id"], row["version"])} for row in rows]
    return {"students": students, "removed": len(rows), "dry_run": dry_run}


def _last_day(row: dict[str, Any], left_on: date) -> date:
    day = left_on if row["joined_on"] is None else max(left_on, row["joined_on"])
    return day if row["left_on"] is None else min(day, row["left_on"])
