"""The second read of check-ins, after the locks: rosters, marks, and the times of all events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.queries.registers import MARK, Mark
from campshub.check_ins.models import CheckInEvent
from campshub.check_ins.queries.people import among
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal
from campshub.students.models import Enrolment, Student
from campshub.students.queries.in_group import in_group

# A session and a student.
Pair = tuple[UUID, UUID]
# Also the columns that a check-in preserves.
WHOLE_MARK = (*MARK, "device_id", "marked_by")
_TIMES = ("check_in_at", "check_out_at", "recorded_at")


@dataclass
class RosterState:
    """The marks and events of some students in some sessions, and who of them is on the roster."""

    rosters: set[Pair] = field(default_factory=set)
    marks: dict[Pair, Mark | None] = field(default_factory=dict)
    times: dict[Pair, list[tuple[str, datetime]]] = field(default_factory=dict)
    by_qr: set[tuple[Pair, str, datetime]] = field(default_factory=set)


def read_state(session: Session, principal: Principal, days: Mapping[Pair, date]) -> RosterState:
    """Return the state of pairs with the dates of their sessions, with one statement."""
    if not days:
        return RosterState()
    meeting_ids, student_ids = (sorted({pair[part] for pair in days}) for part in (0, 1))
    parts = (
        _rosters(principal, meeting_ids, student_ids),
        _marks(principal, sorted(set(days.values())), meeting_ids, student_ids),
        _events(principal, meeting_ids, student_ids),
    )
    aggregated = (select(func.json_agg(part.subquery().table_valued())).scalar_subquery() for part in parts)
    rosters, marks, events = session.execute(select(*aggregated)).one()
    state = RosterState({_pair(row) for row in rosters or ()}, {_pair(row): _mark(row) for row in marks or ()})
    for row in events or ():
        at = datetime.fromisoformat(row["at"])
        state.times.setdefault(_pair(row), []).append((row["kind"], at))
        if row["way"] == "qr":
            state.by_qr.add((_pair(row), row["kind"], at))
    return state


def _rosters(principal: Principal, meeting_ids: Sequence[UUID], student_ids: Sequence[UUID]) -> Any:
    same = Enrolment.organization_id == principal.organization_id
    return (
        select(AttendanceSession.id.label("session_id"), Enrolment.student_id)
        .select_from(AttendanceSession)
        .join(Enrolment, and_(same, Enrolment.group_id == AttendanceSession.group_id))
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == Enrolment.student_id))
        .where(
            AttendanceSession.organization_id == principal.organization_id,
            among(AttendanceSession.id, meeting_ids),
            among(Enrolment.student_id, student_ids),
            in_group(AttendanceSession.local_date),
        )
        .distinct()
    )


def _marks(principal: Principal, days: Sequence[Any], meeting_ids: Sequence[UUID], student_ids: Sequence[UUID]) -> Any:
    columns = (getattr(AttendanceRecord, name) for name in ("session_id", "student_id", "local_date", *WHOLE_MARK))
    return select(*columns).where(
        AttendanceRecord.organization_id == principal.organization_id,
        AttendanceRecord.local_date.in_(days),
        among(AttendanceRecord.session_id, meeting_ids),
        among(AttendanceRecord.student_id, student_ids),
    )


def _events(principal: Principal, meeting_ids: Sequence[UUID], student_ids: Sequence[UUID]) -> Any:
    columns = (getattr(CheckInEvent, name) for name in ("session_id", "student_id", "kind", "way", "at"))
    return select(*columns).where(
        CheckInEvent.organization_id == principal.organization_id,
        among(CheckInEvent.session_id, meeting_ids),
        among(CheckInEvent.student_id, student_ids),
    )


def _pair(row: Mapping[str, Any]) -> Pair:
    return UUID(row["session_id"]), UUID(row["student_id"])


def _mark(row: Mapping[str, Any]) -> Mark:
    """Convert a mark from JSON."""
    times = {name: datetime.fromisoformat(row[name]) if row[name] else None for name in _TIMES}
    ids = {name: UUID(row[name]) if row[name] else None for name in ("id", "device_id", "marked_by")}
    return {name: row[name] for name in WHOLE_MARK} | times | ids
