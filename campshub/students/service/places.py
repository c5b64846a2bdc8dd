"""Check whether a group accepts an enrolment: its state, its term, and its capacity on each day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Integer, and_, func, literal, select, union_all

from campshub.core.db.session import Session
from campshub.core.errors import Conflict, FieldError
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries.in_group import COUNTED, in_group_during

_DAY = timedelta(days=1)


class GroupClosed(Conflict):
    """The group is archived, or a date is outside its term."""

    code = "group_closed"
    default_detail = "The group is archived, or a date is outside its term."


class GroupFull(Conflict):
    """The group is full on some of these days; with the status "pending" the student waits for a place."""

    code = "group_full"
    default_detail = 'The group is full on some of these days; with the status "pending" the student waits for a place.'


@dataclass(frozen=True)
class Term:
    """An enrolment's status and dates."""

    status: str
    begins_on: date
    ends_on: date | None

    @property
    def is_counted(self) -> bool:
        """Whether it takes a place in the group on any day."""
        return self.status in COUNTED and not self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether it never began."""
        return self.ends_on is not None and self.ends_on < self.begins_on

    def beyond(self, other: "Term | None") -> Iterator[tuple[date, date | None]]:
        """Yield the periods, first and last day, that another term does not include."""
        if self.is_empty:
            return
        if other is None or other.is_empty:
            yield self.begins_on, self.ends_on
            return
        if self.begins_on < other.begins_on:
            before = other.begins_on - _DAY
            yield self.begins_on, before if self.ends_on is None else min(self.ends_on, before)
        if other.ends_on is not None and (self.ends_on is None or self.ends_on > other.ends_on):
            yield max(self.begins_on, other.ends_on + _DAY), self.ends_on


def require(session: Session, group: Group, student_id: UUID, *, before: Term | None, after: Term, today: date) -> None:
    """Check that a group, locked by the caller, accepts the days that an enrolment gains.

    Giving up days is always allowed: a student can leave a group that is archived or over capacity.

    :raises GroupClosed: the group is archived, or a date is outside its term.
    :raises GroupFull: the group is full on one of the days.
    """
    if before is not None and after.is_counted and not before.is_counted:
        before = None
    gained = list(after.beyond(before))
    if not gained:
        return
    dates = {}
    if before is None or before.begins_on != after.begins_on:
        dates["/begins_on"] = after.begins_on
    if before is None or before.ends_on != after.ends_on:
        # An open end counts as today at least, so that a group whose term has ended refuses it.
        dates["/ends_on"] = after.ends_on or max(after.begins_on, today)
    require_open(group, dates)
    if after.is_counted and group.capacity is not None:
        taken = session.scalar(_most_taken(group, student_id, gained))
        if (taken or 0) >= group.capacity:
            raise GroupFull


def require_open(group: Any, dates: dict[str, date]) -> None:
    """Check that a group is not archived and that dates (by JSON pointer) are in its term.

    :raises GroupClosed: it is archived, or a date is outside its term.
    """
    if group.status == "archived":
        raise GroupClosed("The group is archived.")
    errors = []
    for pointer, day in dates.items():
        if group.begins_on is not None and day < group.begins_on:
            errors.append(FieldError(pointer, GroupClosed.code, f"The group begins on {group.begins_on}."))
        elif group.ends_on is not None and day > group.ends_on:
            errors.append(FieldError(pointer, GroupClosed.code, f"The group ends on {group.ends_on}."))
    if errors:
        raise GroupClosed(errors[0].detail, errors)


def _most_taken(group: Group, student_id: UUID, periods: Sequence[tuple[date, date | None]]) -> Any:
    """Return the query of the number of other students in a group on the fullest day of some periods."""
    wanted = func.datemultirange(*(func.daterange(first, literal(last, Date), "[]") for first, last in periods))
    days = func.range_agg(func.daterange(Enrolment.begins_on, func.least(Enrolment.ends_on, Student.left_on), "[]"))
    # The merged days of each student, because a withdrawn enrolment may overlap another one.
    occupied = (
        select(func.unnest(days.op("*")(wanted)).label("days"))
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(Enrolment.organization_id == group.organization_id, Enrolment.group_id == group.id)
        .where(Enrolment.student_id != student_id, in_group_during(periods[0][0], periods[-1][1]))
        .group_by(Enrolment.student_id)
        .subquery("occupied")
    )
    changes = union_all(
        select(func.lower(occupied.c.days).label("day"), literal(1, Integer).label("change")),
        select(func.upper(occupied.c.days), literal(-1, Integer)).where(~func.upper_inf(occupied.c.days)),
    ).subquery("changes")
    # The default window frame sums all changes of one day together.
    taken = select(func.sum(changes.c.change).over(order_by=changes.c.day).label("taken")).subquery("taken")
    return select(func.max(taken.c.taken))
