"""The first read of check-ins: the organization's rules, and the locked students and sessions that the events name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Select, Text, Uuid, and_, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from campshub.accounts.models import Organization
from campshub.attendance.models import AttendanceCode, AttendanceSession
from campshub.attendance.queries import codes
from campshub.check_ins.models import CheckInCode, CheckInEvent, StudentCard
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student

_EVENT_COLUMNS = (
    *(CheckInEvent.id, CheckInEvent.session_id, CheckInEvent.student_id, CheckInEvent.local_date),
    *(CheckInEvent.at, CheckInEvent.fingerprint),
)
RULES = (
    *("late_after_minutes", "left_early_before_minutes", "check_in_days_back", "check_in_networks", "check_in_ways"),
    *("open_gym_hours", "open_gym_closes_at"),
)


@dataclass(frozen=True)
class EventSession:
    """A session that an event may belong to."""

    id: UUID
    group_id: UUID | None
    local_date: date
    starts_at: datetime | None
    ends_at: datetime | None
    status: str
    version: int
    submitted_at: datetime | None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "EventSession":
        """Convert a session from JSON."""
        times = {name: _instant(row[name]) for name in ("starts_at", "ends_at", "submitted_at")}
        group_id = UUID(row["group_id"]) if row["group_id"] else None
        day = date.fromisoformat(row["local_date"])
        return cls(UUID(row["id"]), group_id, day, status=row["status"], version=row["version"], **times)


@dataclass(frozen=True)
class NamedStudent:
    """A student whom an event may name."""

    id: UUID
    code: str
    name: str
    user_id: UUID | None


@dataclass(frozen=True)
class KnownEvent:
    """An event that was recorded before."""

    session_id: UUID | None
    student_id: UUID
    local_date: date
    at: datetime
    fingerprint: bytes


@dataclass(frozen=True)
class Wanted:
    """What the events of a request name."""

    event_ids: Sequence[UUID] = ()
    session_ids: Sequence[UUID] = ()
    group_ids: Sequence[UUID] = ()
    days: tuple[date, date] | None = None  # the dates on which the groups' sessions are looked for
    student_ids: Sequence[UUID] = ()
    codes: Sequence[str] = ()
    cards: Sequence[str] = ()
    personal_codes: Sequence[bytes] = ()  # their hashes
    # Also sessions that the caller does not see, because they have seen its QR code; and the caller's own student.
    qr_session_ids: Sequence[UUID] = ()

    @property
    def wants_oneself(self) -> bool:
        """Whether an event is in the caller's own name."""
        return bool(self.qr_session_ids)


@dataclass(frozen=True)
class Named:
    """What the database has of it."""

    rules: Mapping[str, Any]
    codes: Sequence[Mapping[str, Any]]
    events: Mapping[UUID, KnownEvent]
    meetings: Mapping[UUID, EventSession]
    people: Mapping[UUID, NamedStudent]
    by_code: Mapping[str, NamedStudent]
    oneself: NamedStudent | None
    by_card: Mapping[str, NamedStudent]
    personal_code_id: UUID | None  # of the only one, if it is valid
    by_personal_code: NamedStudent | None


def lock_named(session: Session, principal: Principal, wanted: Wanted, *, now: datetime) -> Named:
    """Return what the events name, with one statement, and lock it until the unit of work ends.

    The sessions are locked against changes of their state and against marking of their roster, and the students
    against other check-ins: so events of one student are decided one after the other. Both are locked in the order of
    their ids, so that two uploads cannot deadlock.
    """
    cards, personal = _cards(principal, wanted.cards), _personal_codes(principal, wanted.personal_codes, now)
    meetings, people = _meetings(principal, wanted), _people(principal, wanted, cards, personal)
    parts = {
        "codes": codes.usable(principal).order_by(AttendanceCode.position, AttendanceCode.id),
        "events": _events(principal, wanted.event_ids),
        "meetings": select(meetings),
        "people": select(people),
        **({"cards": select(cards)} if wanted.cards else {}),
        **({"personal": select(personal)} if wanted.personal_codes else {}),
    }
    rules = (getattr(Organization, name) for name in RULES)
    statement = select(*rules, *(_listed(part, name) for name, part in parts.items())).where(
        Organization.id == principal.organization_id
    )
    found = session.execute(statement).one()
    return _named(principal, found)


def _named(principal: Principal, found: Any) -> Named:
    """Convert the row from JSON."""
    people = {UUID(one["id"]): _student(one) for one in found.people or ()}
    cards = {row["number"]: UUID(row["student_id"]) for row in getattr(found, "cards", None) or ()}
    code = next(iter(getattr(found, "personal", None) or ()), None)
    return Named(
        rules={name: getattr(found, name) for name in RULES},
        codes=found.codes or (),
        events={UUID(row["id"]): _recorded(row) for row in found.events or ()},
        meetings={UUID(row["id"]): EventSession.read(row) for row in found.meetings or ()},
        people=people,
        by_card={number: people[one] for number, one in cards.items() if one in people},
        by_code={one.code: one for one in people.values()},
        oneself=next((one for one in people.values() if one.user_id == principal.user_id), None),
        personal_code_id=UUID(code["id"]) if code else None,
        by_personal_code=people.get(UUID(code["student_id"])) if code else None,
    )


def _student(row: Mapping[str, Any]) -> NamedStudent:
    name = row["preferred_name"] or row["given_name"] or row["family_name"]
    return NamedStudent(UUID(row["id"]), row["code"], name, UUID(row["user_id"]) if row["user_id"] else None)


def _recorded(row: Mapping[str, Any]) -> KnownEvent:
    return KnownEvent(
        UUID(row["session_id"]) if row["session_id"] else None,
        UUID(row["student_id"]),
        date.fromisoformat(row["local_date"]),
        datetime.fromisoformat(row["at"]),
        bytes.fromhex(row["fingerprint"]),
    )


def events_with(session: Session, principal: Principal, event_ids: Sequence[UUID]) -> dict[UUID, KnownEvent]:
    """Return the recorded events with some ids."""
    rows = session.execute(select(*_EVENT_COLUMNS).where(*_these(principal, event_ids)))
    return {row.id: KnownEvent(row.session_id, row.student_id, row.local_date, row.at, row.fingerprint) for row in rows}


def _meetings(principal: Principal, wanted: Wanted) -> Any:
    """Return the CTE of the sessions, locked."""
    columns = ("id", "group_id", "local_date", "starts_at", "ends_at", "status", "version", "submitted_at")
    named: list[ColumnElement[bool]] = [among(AttendanceSession.id, wanted.session_ids)]
    if wanted.days is not None:
        first, last = wanted.days
        named.append(
            and_(among(AttendanceSession.group_id, wanted.group_ids), AttendanceSession.local_date.between(first, last))
        )
    seen = [and_(visible_to(principal, AttendanceSession), or_(*named))]
    if wanted.qr_session_ids:
        seen.append(among(AttendanceSession.id, wanted.qr_session_ids))
    return (
        select(*(getattr(AttendanceSession, name) for name in columns))
        .where(AttendanceSession.organization_id == principal.organization_id, or_(*seen))
        .order_by(AttendanceSession.id)
        .with_for_update(read=True, of=AttendanceSession)
        .cte("meetings")
    )


def _people(principal: Principal, wanted: Wanted, cards: Any, personal: Any) -> Any:
    """Return the CTE of the students, locked; marks that refer to them are not blocked."""
    columns = ("id", "code", "given_name", "family_name", "preferred_name", "user_id")
    # The students of events that were recorded before, by a code that has been used up since.
    recorded = select(CheckInEvent.student_id).where(*_these(principal, wanted.event_ids))
    named: list[ColumnElement[bool]] = [among(Student.id, wanted.student_ids), Student.id.in_(recorded)]
    if wanted.codes:
        named.append(among(Student.code, wanted.codes, Text))
    if wanted.cards:
        named.append(Student.id.in_(select(cards.c.student_id)))
    if wanted.personal_codes:
        named.append(Student.id.in_(select(personal.c.student_id)))
    seen = [and_(visible_to(principal, Student), or_(*named))]
    if wanted.wants_oneself:
        seen.append(Student.user_id == principal.user_id)
    return (
        select(*(getattr(Student, name) for name in columns))
        .where(Student.organization_id == principal.organization_id, Student.deleted_at.is_(None), or_(*seen))
        .order_by(Student.id)
        .with_for_update(key_share=True, of=Student)
        .cte("people")
    )


def _cards(principal: Principal, numbers: Sequence[str]) -> Any:
    rows = select(StudentCard.number, StudentCard.student_id)
    return rows.where(
        StudentCard.organization_id == principal.organization_id, among(StudentCard.number, numbers, Text)
    ).cte("cards")


def _personal_codes(principal: Principal, hashes: Sequence[bytes], now: datetime) -> Any:
    valid = and_(CheckInCode.used_at.is_(None), CheckInCode.expires_at > now)
    return (
        select(CheckInCode.id, CheckInCode.student_id)
        .where(CheckInCode.organization_id == principal.organization_id, valid)
        .where(among(CheckInCode.code_hash, hashes, LargeBinary))
        .cte("personal")
    )


def _events(principal: Principal, event_ids: Sequence[UUID]) -> Select[Any]:
    readable = func.encode(CheckInEvent.fingerprint, "hex").label("fingerprint")
    return select(*_EVENT_COLUMNS[:-1], readable).where(*_these(principal, event_ids))


def _these(principal: Principal, event_ids: Sequence[UUID]) -> tuple[ColumnElement[bool], ...]:
    return CheckInEvent.organization_id == principal.organization_id, among(CheckInEvent.id, event_ids)


def among(column: Any, values: Sequence[Any], type_: Any = Uuid) -> ColumnElement[bool]:
    """Return the condition that a column has one of some values, as one parameter."""
    found: ColumnElement[bool] = column == func.any(literal(list(values), ARRAY(type_)))
    return found


def _listed(part: Any, name: str) -> Any:
    """Return a query's rows as one JSON column."""
    return select(func.json_agg(part.subquery(f"{name}_").table_valued())).scalar_subquery().label(name)


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
