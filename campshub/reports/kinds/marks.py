"""Marks in reports: the letters of the codes, and totals."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, select

from campshub.attendance.models import ATTENDED, AttendanceCode, AttendanceRecord, AttendanceSession
from campshub.attendance.queries import codes
from campshub.core.db.prepared import AnySelect
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.kinds import ReportArguments, beyond
from campshub.students.models import Group, Student

_LETTERS = {"present": "P", "absent": "A", "late": "L", "excused": "E", "left_early": "LE"}
COUNTED = ("present", "absent", "late", "excused", "left_early")


def by_date(principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None, *, most: int) -> AnySelect:
    """Return the query of the marks that the principal sees, for the dates, group and student of the report."""
    mark = AttendanceRecord
    own = mark.organization_id
    in_session = and_(AttendanceSession.organization_id == own, AttendanceSession.id == mark.session_id)
    named = {name: wanted for name in ("group_id", "student_id") if (wanted := arguments.id(name)) is not None}
    return (
        select(
            *(mark.local_date, mark.id, mark.code, mark.counts_as, mark.in_rate, mark.check_in_at, mark.check_out_at),
            *(mark.minutes, mark.note, Student.given_name, Student.family_name, Student.code.label("roll")),
            *(Group.name.label("group_name"), AttendanceSession.slot),
        )
        .join(Student, and_(Student.organization_id == own, Student.id == mark.student_id))
        .outerjoin(Group, and_(Group.organization_id == own, Group.id == mark.group_id))
        .join(AttendanceSession, in_session)
        # Marks of deleted students too: the register and the analytics count them.
        .where(visible_to(principal, mark), visible_to(principal, Student))
        .where(mark.local_date >= arguments.first_date, mark.local_date <= arguments.last_date, *beyond(mark, after))
        .where(*(getattr(mark, name) == wanted for name, wanted in named.items()))
        .order_by(mark.local_date, mark.id)
        .limit(most)
    )


def letter(code: str) -> str:
    """Return a code's abbreviation of one or two letters."""
    return _LETTERS.get(code) or code[:2].upper()


def legend(session: Session, principal: Principal) -> str:
    """Return the meaning of the letters of the organization's codes."""
    rows = session.execute(
        select(AttendanceCode.key, AttendanceCode.label)
        .where(codes.in_force(principal), AttendanceCode.is_archived.is_(False))
        .order_by(AttendanceCode.position, AttendanceCode.id)
        .limit(codes.MOST_CODES)
    )
    return ", ".join(f"{letter(row.key)} {row.label}" for row in rows)


def totals(marks: Iterable[Any]) -> tuple[list[int], float | None]:
    """Return the number of marks of each kind, and the attendance rate; None if no mark counts in it."""
    known = list(marks)
    rated = [mark for mark in known if mark.in_rate]
    attended = sum(mark.counts_as in ATTENDED for mark in rated)
    counts = [sum(mark.counts_as == name for mark in known) for name in COUNTED]
    return counts, attended / len(rated) if rated else None
