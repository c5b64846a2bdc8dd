"""Membership of a group on a day: one definition for rosters, counts, filters, capacity, reports and visibility.

A student is in a group on day D when an enrolment in it is active, withdrawn or completed, ``begins_on`` <= D <=
``ends_on`` (or no end), the student is not deleted, and ``left_on`` is null or >= D. A pending enrolment never counts.
An enrolment withdrawn before it began has no days.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select, tuple_
from sqlalchemy.orm import aliased

from campshub.students.models import Enrolment, Student

COUNTED = ("active", "withdrawn", "completed")


def in_group(on: Any) -> ColumnElement[bool]:
    """Return the condition that the student (joined in the query) is in the group on a date."""
    return and_(enrolled_on(on), still_there(on))


def in_group_during(first_date: Any, last_date: Any) -> ColumnElement[bool]:
    """Return the condition that the student (joined in the query) is in the group on any day of a period.

    Without ``last`` the period is open-ended.
    """
    left = or_(Student.left_on.is_(None), and_(Student.left_on >= first_date, Student.left_on >= Enrolment.begins_on))
    return and_(enrolled_during(first_date, last_date), Student.deleted_at.is_(None), left)


def enrolled_on(on: Any, enrolment: Any = Enrolment) -> ColumnElement[bool]:
    """Return the enrolment's part of the definition."""
    return and_(
        enrolment.status.in_(COUNTED),
        enrolment.begins_on <= on,
        or_(enrolment.ends_on.is_(None), enrolment.ends_on >= on),
    )


def enrolled_during(first_date: Any, last_date: Any) -> ColumnElement[bool]:
    """Return the enrolment's part of the definition for a period, open-ended without ``last``."""
    ends = and_(Enrolment.ends_on >= first_date, Enrolment.ends_on >= Enrolment.begins_on)
    begun = [] if last_date is None else [Enrolment.begins_on <= last_date]
    return and_(Enrolment.status.in_(COUNTED), *begun, or_(Enrolment.ends_on.is_(None), ends))


def ever_enrolled() -> ColumnElement[bool]:
    """Return the enrolment's part of the definition for any day."""
    has_days = or_(Enrolment.ends_on.is_(None), Enrolment.ends_on >= Enrolment.begins_on)
    return and_(Enrolment.status.in_(COUNTED), has_days)


def still_there(on: Any) -> ColumnElement[bool]:
    """Return the student's part of the definition."""
    return and_(Student.deleted_at.is_(None), not_left(on))


def not_left(on: Any) -> ColumnElement[bool]:
    """Return the condition that a student has not left the organization before a date."""
    return or_(Student.left_on.is_(None), Student.left_on >= on)


def is_latest(on: Any) -> ColumnElement[bool]:
    """Return the condition that no other enrolment of the student in the group on a date began later.

    An active enrolment may overlap a withdrawn one; a roster lists each person once.
    """
    later = aliased(Enrolment)
    return ~exists(
        select(1)
        .select_from(later)
        .where(
            later.organization_id == Enrolment.organization_id,
            later.student_id == Enrolment.student_id,
            later.group_id == Enrolment.group_id,
            enrolled_on(on, later),
            tuple_(later.begins_on, later.id) > tuple_(Enrolment.begins_on, Enrolment.id),
        )
        .correlate(Enrolment)
    )
