"""Reads of one session's register: who stands on it, and the mark that each has."""

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


class Meeting(NamedTuple):
    """The session of a register: which one it is, and whether its state allows a change."""

    id: UUID
    version: int
    status: str


@dataclass(frozen=True)
class Register:
    """A session that is being marked: its codes, and the students of its roster and of the request."""

    meeting: Meeting
    group_id: UUID | None
    local_date: date
    version: int  # how often its marks have been changed
    codes: Mapping[str, Mapping[str, Any]]
    entries: Mapping[UUID, Entry]


def show(session: Session, principal: Principal, session_id: UUID, *, page: PageRequest) -> Page:
    """List who was on a session's roster as of its date, and whoever else has a mark, each with the mark, by name.

    :raises NotFound: the principal sees no such session.
    """
    # The version is read before the marks: one that was given meanwhile is newer than the version, never older.
    meeting = session.execute(_meeting(principal, session_id=session_id)).one_or_none()
    if meeting is None:
        raise NotFound
    asked = _shown(principal, page=page, session_id=session_id, group_id=meeting.group_id, on=meeting.local_date)
    found = page.read(session, asked)
    rows = [{**row._mapping, "mark": _read(row.mark)} for row in found.rows]  # noqa: SLF001 - SQLAlchemy's public name for it
    return Page(rows, found.next_cursor, version=meeting.version)


@prepared
def _meeting(principal: Principal, *, session_id: UUID) -> AnySelect:
    return select(
        AttendanceSession.group_id, AttendanceSession.local_date, _version(session_id).label("version")
    ).where(visible_to(principal, AttendanceSession), AttendanceSession.id == session_id)


def _version(session_id: UUID) -> ColumnElement[int]:
    """Return how often the marks of a session have been changed."""
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
    """Take a session's register to mark in it, with one statement: the students named, or the ``whole`` roster too.

    The session is locked against a change of its state or date, and against others who mark its roster, until the unit
    of work ends. The rest is read as it was when the statement began: whoever had to wait for the lock may see marks
    from before it, so what is written must still look at their versions.

    :raises NotFound: the principal sees no such session.
    """
    meeting = _locked_meeting(principal, session_id)
    # As values, not as a join, so that the months of other dates are not even looked at.
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
    """Return the part of a statement that locks a session to mark in it."""
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
    """Return the marks that students have by now in a register."""
    rows = session.execute(_marks(principal, register.local_date, register.meeting.id, student_ids))
    return {row.student_id: {name: getattr(row, name) for name in MARK} for row in rows}


def _listed(part: Any, name: str) -> Any:
    """Return a statement's rows as one JSON value of another."""
    return select(func.json_agg(part.subquery(name).table_valued())).scalar_subquery().label(name)


def _markable(principal: Principal, group: Any, on: Any, student_ids: Sequence[UUID], *, whole: bool) -> Any:
    """Return the statement of the students named and of the roster, as far as the principal sees them."""
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
    """Return the statement of a session's marks, of some students or of all.

    It is not joined with the roster: months begin empty, and a plan made for an empty table would look through all
    marks for each student.
    """
    marks = select(AttendanceRecord.student_id, *(getattr(AttendanceRecord, name) for name in MARK)).where(
        AttendanceRecord.organization_id == principal.organization_id,
        AttendanceRecord.local_date == on,
        AttendanceRecord.session_id == session_id,
    )
    if student_ids is None:
        return marks.limit(MOST_ON_ROSTER)
    # Behind a select, so that the planner does not weigh each of a thousand ids for each month: that took it 48 ms.
    named = cast(select(literal(list(student_ids), ARRAY(Uuid))).scalar_subquery(), ARRAY(Uuid))
    return marks.where(AttendanceRecord.student_id == any_(named))


def _people(roster: Any, named: Any) -> Any:
    """Return everyone of a roster and everyone named, once each."""
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
    """Return the statement of who was enrolled in a group on a date; the student's part of it follows their join."""
    return (
        select(Enrolment.student_id)
        .where(Enrolment.organization_id == principal.organization_id, Enrolment.group_id == group, enrolled_on(on))
        .distinct()
    )


def _mark(on: Any, session_id: UUID) -> Any:
    """Return the student's mark in a session, as JSON; looked up for the rows of one page alone."""
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
    """Read a mark that came as JSON."""
    if mark is None:
        return None
    times = {name: datetime.fromisoformat(mark[name]) for name in ("check_in_at", "check_out_at") if mark[name]}
    return {**mark, **times, "id": UUID(mark["id"])}
