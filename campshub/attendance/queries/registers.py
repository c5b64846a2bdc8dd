"""Reads of one session's register: its roster, and the mark of each student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, any_, cast, false, func, literal, or_, select, true, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from campshub.attendance.models import AttendanceRecord, AttendanceSession, RegisterVersion
from campshub.attendance.queries import codes
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.in_group import enrolled_on, still_there

# The columns of a mark in its register.
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
    "recorded_at",
    "version",
)
_TIMES = ("check_in_at", "check_out_at", "recorded_at")
# A roster is read as a whole, to mark it in one statement.
MOST_ON_ROSTER = 5_000

Mark = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A student who can be marked."""

    is_on_roster: bool
    mark: Mark | None


class Meeting(NamedTuple):
    """The session of a register: its id, version and status."""

    id: UUID
    version: int
    status: str


@dataclass(frozen=True)
class Register:
    """The data for marking a session: its codes, and the students of its roster and of the request."""

    meeting: Meeting
    group_id: UUID | None
    local_date: date
    version: int  # the number of changes of its marks
    codes: Mapping[str, Mapping[str, Any]]
    entries: Mapping[UUID, Entry]


def show(session: Session, principal: Principal, session_id: UUID, *, page: PageRequest) -> Page:
    """List the students on a session's roster as of its date, and others with a mark, each with their mark, by name.

    :raises NotFound: the principal sees no such session.
    """
    # Read the version before the marks: marks made in between are newer than the version, never older.
    meeting = session.execute(_meeting(principal, session_id=session_id)).one_or_none()
    if meeting is None:
        raise NotFound
    query = _shown(principal, page=page, session_id=session_id, group_id=meeting.group_id, on=meeting.local_date)
    found = page.read(session, query)
    rows = [{**row._mapping, "mark": _read(row.mark)} for row in found.rows]  # noqa: SLF001 - SQLAlchemy's public name for it
    return Page(rows, found.next_cursor, version=meeting.version)


@prepared
def _meeting(principal: Principal, *, session_id: UUID) -> AnySelect:
    return select(
        AttendanceSession.group_id, AttendanceSession.local_date, _version(session_id).label("version")
    ).where(visible_to(principal, AttendanceSession), AttendanceSession.id == session_id)


def _version(session_id: UUID) -> ColumnElement[int]:
    """Return the number of changes of a session's marks."""
    changed = select(RegisterVersion.version).where(
        RegisterVersion.organization_id == AttendanceSession.organization_id, RegisterVersion.id == session_id
    )
    return func.coalesce(changed.correlate(AttendanceSession).scalar_subquery(), 0)


@prepared
def _shown(principal: Principal, *, page: PageRequest, session_id: UUID, group_id: Any, on: date) -> AnySelect:
    roster = _roster(principal, group_id, on).subquery("roster")
    marked = select(AttendanceRecord.student_id).where(
        AttendanceRecord.organization_id == principal.organization_id,
        AttendanceRecord.local_date == on,
        AttendanceRecord.session_id == session_id,
    )
    people = _people(roster, marked.subquery("marked"))
    rows = (
        select(
            Student.id.label("student_id"),
            Student.code.label("student_code"),
            Student.given_name,
            Student.family_name,
            Student.preferred_name,
            and_(people.c.is_on_roster, still_there(on)).label("is_on_roster"),
            _mark(on, session_id).label("mark"),
        )
        .select_from(people)
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == people.c.student_id))
        .where(visible_to(principal, Student), or_(still_there(on), people.c.is_named))
    )
    return page.ordered(rows, order=(Student.sort_name, Student.id))


def lock_for_marking(
    session: Session, principal: Principal, session_id: UUID, student_ids: Sequence[UUID], *, whole: bool
) -> Register:
    """Lock a session's register for marking, with one statement: the named students, and the ``whole`` roster if set.

    The lock lasts until the unit of work ends. It prevents changes of the session's state or date, and concurrent
    marking of its roster. Everything else is read as of the start of the statement: after waiting for the lock, the
    marks may be outdated, so writes must check their versions.

    :raises NotFound: the principal sees no such session.
    """
    meeting = _locked_meeting(principal, session_id)
    # As scalar values instead of a join, so that the planner skips the other months.
    group, on = (select(c).scalar_subquery() for c in (meeting.c.group_id, meeting.c.local_date))
    parts = {
        "codes": codes.usable(principal),
        "people": _markable(principal, group, on, student_ids, whole=whole),
        "marks": _marks(principal, on, session_id, None if whole else student_ids),
    }
    found = session.execute(select(meeting, *(_listed(part, name) for name, part in parts.items()))).one_or_none()
    if found is None:
        raise NotFound
    mark_of = {mark.pop("student_id"): _read(mark) for mark in found.marks or ()}
    return Register(
        meeting=Meeting(found.id, found.version, found.status),
        group_id=found.group_id,
        local_date=found.local_date,
        version=found.marks_version,
        codes={code["key"]: code for code in found.codes or ()},
        entries={
            UUID(one["student_id"]): Entry(one["is_on_roster"], mark_of.get(one["student_id"]))
            for one in found.people or ()
        },
    )


def _locked_meeting(principal: Principal, session_id: UUID) -> Any:
    """Return the CTE that locks a session for marking."""
    columns = ("id", "group_id", "local_date", "status", "version")
    return (
        select(*(getattr(AttendanceSession, name) for name in columns), _version(session_id).label("marks_version"))
        .where(visible_to(principal, AttendanceSession), AttendanceSession.id == session_id)
        .with_for_update(key_share=True, of=AttendanceSession)
        .cte("meeting")
    )


def marks_of(
    session: Session, principal: Principal, register: Register, student_ids: Sequence[UUID]
) -> dict[UUID, Mark]:
    """Return the students' current marks in a register."""
    rows = session.execute(_marks(principal, register.local_date, register.meeting.id, student_ids))
    return {row.student_id: {name: getattr(row, name) for name in MARK} for row in rows}


def _listed(part: Any, name: str) -> Any:
    """Return a query's rows as one JSON column."""
    return select(func.json_agg(part.subquery(name).table_valued())).scalar_subquery().label(name)


def _markable(principal: Principal, group: Any, on: Any, student_ids: Sequence[UUID], *, whole: bool) -> Any:
    """Return the query of the named students and of the roster, limited to those that the principal sees."""
    given = literal(list(student_ids), ARRAY(Uuid))
    named = select(func.unnest(given, type_=Uuid).label("student_id")).cte("named")
    roster = _roster(principal, group, on)
    if not whole:
        roster = roster.where(Enrolment.student_id.in_(select(named.c.student_id)))
    people = _people(roster.limit(MOST_ON_ROSTER).subquery("roster"), named)
    return (
        select(Student.id.label("student_id"), and_(people.c.is_on_roster, still_there(on)).label("is_on_roster"))
        .select_from(people)
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == people.c.student_id))
        .where(visible_to(principal, Student), Student.deleted_at.is_(None))
    )


def _marks(principal: Principal, on: Any, session_id: UUID, student_ids: Sequence[UUID] | None) -> Any:
    """Return the query of a session's marks, of some students or of all.

    It is not joined with the roster: months begin empty, and a plan made for an empty table would scan all
    marks for each student.
    """
    marks = select(AttendanceRecord.student_id, *(getattr(AttendanceRecord, name) for name in MARK)).where(
        AttendanceRecord.organization_id == principal.organization_id,
        AttendanceRecord.local_date == on,
        AttendanceRecord.session_id == session_id,
    )
    if student_ids is None:
        return marks.limit(MOST_ON_ROSTER)
    # A subselect, so that the planner does not estimate each of a thousand ids for each month, which took 48 ms.
    named = cast(select(literal(list(student_ids), ARRAY(Uuid))).scalar_subquery(), ARRAY(Uuid))
    return marks.where(AttendanceRecord.student_id == any_(named))


def _people(roster: Any, named: Any) -> Any:
    """Return the union of the roster and the named students, each once."""
    both = union_all(
        select(roster.c.student_id, true().label("is_on_roster"), false().label("is_named")),
        select(named.c.student_id, false(), true()),
    ).subquery("both")
    return (
        select(
            both.c.student_id,
            func.bool_or(both.c.is_on_roster).label("is_on_roster"),
            func.bool_or(both.c.is_named).label("is_named"),
        )
        .group_by(both.c.student_id)
        .subquery("people")
    )


def _roster(principal: Principal, group: Any, on: Any) -> Any:
    """Return the query of the enrolments in a group on a date; conditions on the student follow after the join."""
    return (
        select(Enrolment.student_id)
        .where(Enrolment.organization_id == principal.organization_id, Enrolment.group_id == group, enrolled_on(on))
        .distinct()
    )


def _mark(on: Any, session_id: UUID) -> Any:
    """Return the student's mark in a session as JSON; it is looked up only for the rows of the page."""
    columns = [item for name in MARK for item in (name, getattr(AttendanceRecord, name))]
    return (
        select(func.json_build_object(*columns))
        .where(
            AttendanceRecord.organization_id == Student.organization_id,
            AttendanceRecord.student_id == Student.id,
            AttendanceRecord.local_date == on,
            AttendanceRecord.session_id == session_id,
        )
        .correlate(Student)
        .scalar_subquery()
    )


def _read(mark: Mark | None) -> Mark | None:
    """Convert a mark from JSON."""
    if mark is None:
        return None
    times = {name: datetime.fromisoformat(mark[name]) for name in _TIMES if mark[name]}
    return {**mark, **times, "id": UUID(mark["id"])}
