"""Marks as reports tell them: the letters of the codes, and what marks add up to."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from campshub.attendance.models import ATTENDED, AttendanceCode
from campshub.attendance.queries import codes
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal

_LETTERS = {"present": "P", "absent": "A", "late": "L", "excused": "E", "left_early": "LE"}
COUNTED = ("present", "absent", "late", "excused", "left_early")


def letter(code: str) -> str:
    """Return what stands for a code where there is room for a letter or two."""
    return _LETTERS.get(code) or code[:2].upper()


def legend(session: Session, principal: Principal) -> str:
    """Return what the letters of the organization's codes mean."""
    rows = session.execute(
        select(AttendanceCode.key, AttendanceCode.label)
        .where(codes.in_force(principal), AttendanceCode.is_archived.is_(False))
        .order_by(AttendanceCode.position, AttendanceCode.id)
        .limit(codes.MOST_CODES)
    )
    return ", ".join(f"{letter(row.key)} {row.label}" for row in rows)


def totals(marks: Iterable[Any]) -> tuple[list[int], float | None]:
    """Return how many marks there are of each kind, and which share of what enters the rate was there."""
    known = list(marks)
    rated = [mark for mark in known if mark.in_rate]
    there = sum(mark.counts_as in ATTENDED for mark in rated)
    counts = [sum(mark.counts_as == name for mark in known) for name in COUNTED]
    return counts, there / len(rated) if rated else None
