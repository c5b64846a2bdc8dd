"""How many students are in a group on each day, for many enrolments that are checked one after the other."""

import bisect
from collections.abc import Iterable
from datetime import date
from uuid import UUID

_NEVER = date.max.toordinal() + 1

# The first day, and the day after the last one, as ordinals.
Days = tuple[int, int]


def days_of(first_date: date, last_date: date | None) -> Days:
    """Return the days of an enrolment, both dates included; without a last date it has no end."""
    return first_date.toordinal(), _NEVER if last_date is None else last_date.toordinal() + 1


class Occupancy:
    """The days of each student in one group. A student whose enrolments overlap takes one place."""

    def __init__(self) -> None:
        self._by_student: dict[UUID, list[Days]] = {}
        # By day: how many more, or fewer, students are there than on the day before. The days are sorted.
        self._changes: dict[int, int] = {}
        self._days: list[int] = []

    def add(self, student_id: UUID, days: Days) -> None:
        """Add an enrolment's days."""
        if days[0] >= days[1]:
            return
        present = self._by_student.get(student_id, [])
        self._count(present, -1)
        merged = _merged([*present, days])
        self._by_student[student_id] = merged
        self._count(merged, 1)

    def most_others(self, student_id: UUID, days: Days) -> int:
        """Return the number of other students on the fullest of some days."""
        own = self._by_student.get(student_id, [])
        self._count(own, -1)
        taken = most = 0
        for day in self._days:
            if day >= days[1]:
                break
            if day > days[0]:
                most = max(most, taken)
            taken += self._changes[day]
        self._count(own, 1)
        return max(most, taken)

    def _count(self, ranges: Iterable[Days], number: int) -> None:
        for begin, end in ranges:
            for day, change in ((begin, number), (end, -number)):
                if day not in self._changes:
                    bisect.insort(self._days, day)
                self._changes[day] = self._changes.get(day, 0) + change


def _merged(ranges: list[Days]) -> list[Days]:
    found: list[Days] = []
    for begin, end in sorted(ranges):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
