"""Reads of one session's register: who stands on it, and the mark that each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, and_, func, literal, or_, select, union
from sqlalchemy.dialects.postgresql import ARRAY

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.queries import codes, sessions
from campshub.core.db.session import Session
from campshub.core.http.pagination import Page, PageRequest
from campshub.core.http.problems import NotFound
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries import groups

# What is told of a mark within its register.
MARK = (
    "id",
    "code",
    "counts_as",
    "in_rate",
    "check_in_at",
    "check_out_at",
    "minutes",
    "source",
    "note",
    "version",
)
# A roster is read whole, to be marked in one statement.
MOST_ON_ROSTER = 5_000

Mark = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A student who can be marked."""

    is_on_roster: bool
    mark: Mark | None


@dataclass(frozen=True)
class Register:
    """A session that is being marked: its codes, and the students of its roster and of the request."""

    session_id: UUID
    group_id: UUID | None
    local_date: date
    status: str
    codes: Mapping[str, Mapping[str, Any]]
    entries: Mapping[UUID, Entry]


def show(session: Session, principal: Principal, session_id: UUID, *, page: PageRequest) -> Page:
    """List who was on a session's roster as of its date, and whoever else has a mark, each with the mark, by name.

    :raises NotFound: the principal sees no such session.
    """
    meeting = sessions.get_session(session, principal, session_id)
    roster = _roster(principal, meeting.group_id, meeting.local_date).subquery("roster")
    marked = _mark_of(meeting.local_date, meeting.id)
    people = union(
        select(roster.c.student_id),
        select(AttendanceRecord.student_id).where(
            AttendanceRecord.organization_id == principal.organization_id,
            AttendanceRecord.local_date == meeting.local_date,
            AttendanceRecord.session_id == meeting.id,
        ),
    ).subquery("people")
    rows = (
        select(
            Student.id.label("student_id"),
            Student.code.label("student_code"),
            Student.given_name,
            Student.family_name,
            Student.preferred_name,
            roster.c.student_id.is_not(None).label("is_on_roster"),
            *(getattr(AttendanceRecord, name).label(f"mark_{name}") for name in MARK),
        )
        .select_from(people)
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == people.c.student_id))
        .outerjoin(roster, roster.c.student_id == Student.id)
        .outerjoin(AttendanceRecord, marked)
        .where(visible_to(principal, Student), or_(Student.deleted_at.is_(None), AttendanceRecord.id.is_not(None)))
    )
    found = page.of(session, rows, order=(Student.sort_name, Student.id))
    return Page([_with_mark(row) for row in found.rows], found.next_cursor)


def _with_mark(row: Any) -> dict[str, Any]:
    told = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    mark = {name: told.pop(f"mark_{name}") for name in MARK}
    return {**told, "mark": mark if mark["id"] is not None else None}


def take(
    session: Session, principal: Principal, session_id: UUID, student_ids: Sequence[UUID], *, whole: bool
) -> Register:
    """Take a session's register to mark in it, with one statement: the students named, or the ``whole`` roster too.

    The session is locked against a change of its state or date, and against others who mark its roster, until the unit
    of work ends. The rest is read as it was when the statement began: whoever had to wait for the lock may see marks
    from before it, so what is written must still look at their versions.

    :raises NotFound: the principal sees no such session.
    """
    meeting = (
        select(AttendanceSession.id, AttendanceSession.group_id, AttendanceSession.local_date, AttendanceSession.status)
        .where(visible_to(principal, AttendanceSession), AttendanceSession.id == session_id)
        .with_for_update(key_share=True, of=AttendanceSession)
        .cte("meeting")
    )
    # As values, not as a join, so that the months of other dates are not even looked at.
    group, on = (select(c).scalar_subquery() for c in (meeting.c.group_id, meeting.c.local_date))
    known = codes.usable(principal).subquery("known")
    entries = _entries(principal, group, on, session_id, student_ids, whole=whole).subquery("entries")
    found = session.execute(
        select(
            meeting,
            select(func.json_agg(known.table_valued())).scalar_subquery().label("codes"),
            select(func.json_agg(entries.table_valued())).scalar_subquery().label("entries"),
        )
    ).one_or_none()
    if found is None:
        raise NotFound
    return Register(
        session_id=found.id,
        group_id=found.group_id,
        local_date=found.local_date,
        status=found.status,
        codes={code["key"]: code for code in found.codes or ()},
        entries={UUID(entry["student_id"]): _read(entry) for entry in found.entries or ()},
    )


def marks_of(
    session: Session, principal: Principal, register: Register, student_ids: Sequence[UUID]
) -> dict[UUID, Mark]:
    """Return the marks that students have by now in a register."""
    rows = session.execute(
        select(AttendanceRecord.student_id, *(getattr(AttendanceRecord, name) for name in MARK)).where(
            AttendanceRecord.organization_id == principal.organization_id,
            AttendanceRecord.local_date == register.local_date,
            AttendanceRecord.session_id == register.session_id,
            AttendanceRecord.student_id.in_(student_ids),
        )
    )
    return {row.student_id: {name: getattr(row, name) for name in MARK} for row in rows}


def _entries(
    principal: Principal, group: Any, on: Any, session_id: UUID, student_ids: Sequence[UUID], *, whole: bool
) -> Any:
    """Return the statement of the students named and of the roster, as far as the principal sees them."""
    given = literal(list(student_ids), ARRAY(Uuid))
    named = select(func.unnest(given, type_=Uuid).label("student_id")).cte("named")
    enrolled = _roster(principal, group, on)
    if not whole:
        enrolled = enrolled.where(Enrolment.student_id.in_(select(named.c.student_id)))
    roster = enrolled.limit(MOST_ON_ROSTER).cte("roster")
    people = union(select(named.c.student_id), select(roster.c.student_id)).subquery("people")
    return (
        select(
            Student.id.label("student_id"),
            roster.c.student_id.is_not(None).label("is_on_roster"),
            *(getattr(AttendanceRecord, name) for name in MARK),
        )
        .select_from(people)
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == people.c.student_id))
        .outerjoin(roster, roster.c.student_id == Student.id)
        .outerjoin(AttendanceRecord, _mark_of(on, session_id))
        .where(visible_to(principal, Student), Student.deleted_at.is_(None))
    )


def _roster(principal: Principal, group: Any, on: Any) -> Any:
    """Return the statement of who was in a group on a date."""
    return (
        select(Enrolment.student_id)
        .where(
            Enrolment.organization_id == principal.organization_id, Enrolment.group_id == group, groups.on_roster(on)
        )
        .distinct()
    )


def _mark_of(on: Any, session_id: UUID) -> Any:
    """Return the condition that a record is the student's mark in a session."""
    return and_(
        AttendanceRecord.organization_id == Student.organization_id,
        AttendanceRecord.student_id == Student.id,
        AttendanceRecord.local_date == on,
        AttendanceRecord.session_id == session_id,
    )


def _read(entry: dict[str, Any]) -> Entry:
    """Read a row that came as JSON."""
    if entry["id"] is None:
        return Entry(is_on_roster=entry["is_on_roster"], mark=None)
    mark = {name: entry[name] for name in MARK}
    mark["id"] = UUID(mark["id"])
    for name in ("check_in_at", "check_out_at"):
        if mark[name] is not None:
            mark[name] = datetime.fromisoformat(mark[name])
    return Entry(is_on_roster=entry["is_on_roster"], mark=mark)
