"""Reads of attendance sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, exists, null, or_, select

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.queries import groups

COLUMNS = (
    AttendanceSession.id,
    AttendanceSession.group_id,
    AttendanceSession.local_date,
    AttendanceSession.slot,
    AttendanceSession.starts_at,
    AttendanceSession.ends_at,
    AttendanceSession.status,
    AttendanceSession.notes,
    AttendanceSession.submitted_at,
    AttendanceSession.submitted_by,
    AttendanceSession.locked_at,
    AttendanceSession.meeting_id,
    AttendanceSession.planned_on,
    AttendanceSession.reason,
    AttendanceSession.created_at,
    AttendanceSession.updated_at,
    AttendanceSession.version,
)

# A name may have had some cancelled sessions besides the current one.
MOST_FOUND = 1_000


def columns(principal: Principal) -> Sequence[Any]:
    """Return the columns of sessions; the notes and the reason are only for staff."""
    if principal.scope is not Scope.OWN:
        return COLUMNS
    hidden = {name: cast(null(), Text).label(name) for name in ("notes", "reason")}
    return [hidden.get(str(column.key), column) for column in COLUMNS]


def list_sessions(
    session: Session, principal: Principal, *, page: PageRequest, of_group: bool = False, **filters: Any
) -> Page:
    """List the sessions that the principal sees, by date; with ``of_group`` they must see the group as well."""
    return page.read(session, _listed(principal, page=page, of_group=of_group, **filters))


@prepared
def _listed(principal: Principal, *, page: PageRequest, of_group: bool, **filters: Any) -> AnySelect:
    seen = visible_to(principal, AttendanceSession)
    rows = select(*page.choose(columns(principal))).where(seen, *_conditions(filters))
    if of_group:
        rows = rows.where(groups.group_is_visible(principal, filters["group_id"]))
    return page.ordered(rows, order=(AttendanceSession.local_date, AttendanceSession.id))


def list_of_group(session: Session, principal: Principal, group_id: UUID, *, page: PageRequest, **filters: Any) -> Page:
    """List a group's sessions, by date.

    :raises NotFound: the principal sees no such group.
    """
    found = list_sessions(session, principal, page=page, of_group=True, group_id=group_id, **filters)
    if not found.rows:
        groups.require_visible_group(session, principal, group_id)
    return found


def _conditions(filters: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Return one condition per filter."""
    found: list[ColumnElement[bool]] = []
    if filters.get("first_date") is not None:
        found.append(AttendanceSession.local_date >= filters["first_date"])
    if filters.get("last_date") is not None:
        found.append(AttendanceSession.local_date <= filters["last_date"])
    if filters.get("group_id") is not None:
        found.append(AttendanceSession.group_id == filters["group_id"])
    if filters.get("status") is not None:
        found.append(AttendanceSession.status == filters["status"])
    if filters.get("updated_from") is not None:
        found.append(AttendanceSession.updated_at >= filters["updated_from"])
    return found


def get_session(session: Session, principal: Principal, session_id: UUID) -> AnyRow:
    """Return one session.

    :raises NotFound: the principal sees no such session.
    """
    row = session.execute(_one(principal, session_id=session_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, session_id: UUID) -> AnySelect:
    seen = visible_to(principal, AttendanceSession)
    return select(*columns(principal)).where(seen, AttendanceSession.id == session_id)


class Slotted(NamedTuple):
    """What names a meeting besides its id: group (None: open gym), date and slot."""

    group_id: UUID | None
    local_date: date
    slot: str | None


@dataclass(frozen=True)
class KnownSessions:
    """Sessions that the caller sees: by id, by name, and the cancelled ones by name."""

    ids: frozenset[UUID]
    by_name: Mapping[Slotted, UUID]
    cancelled: Mapping[Slotted, AnyRow]

    def of(self, session_id: UUID | None, name: Slotted | None) -> UUID | None:
        """Return the session with an id, or else with a name; an id without a name may be one that does not exist."""
        if session_id in self.ids or name is None:
            return session_id
        return self.by_name.get(name)


def find_sessions(
    session: Session, principal: Principal, *, ids: Sequence[UUID], slots: Sequence[Slotted]
) -> KnownSessions:
    """Return the sessions with these ids or names."""
    if not ids and not slots:
        return KnownSessions(frozenset(), {}, {})
    one = AttendanceSession
    named = (
        and_(
            one.group_id == slot.group_id if slot.group_id else one.group_id.is_(None),
            one.local_date == slot.local_date,
            one.slot == slot.slot if slot.slot is not None else one.slot.is_(None),
        )
        for slot in dict.fromkeys(slots)
    )
    rows = session.execute(
        select(one.id, one.group_id, one.local_date, one.slot, one.status, one.version)
        .where(visible_to(principal, one), or_(one.id.in_(ids), *named))
        .order_by(one.id)
        .limit(MOST_FOUND)
    ).all()
    by_name = {Slotted(row.group_id, row.local_date, row.slot): row for row in rows if row.status == "cancelled"}
    active = {Slotted(row.group_id, row.local_date, row.slot): row.id for row in rows if row.status != "cancelled"}
    cancelled = {name: row for name, row in by_name.items() if name not in active}
    return KnownSessions(frozenset(row.id for row in rows), active, cancelled)


def has_marks(session: Session, meeting: AttendanceSession) -> bool:
    """Return whether a session has any marks."""
    found = select(
        exists(
            select(1).where(
                AttendanceRecord.organization_id == meeting.organization_id,
                AttendanceRecord.local_date == meeting.local_date,
                AttendanceRecord.session_id == meeting.id,
            )
        )
    )
    return bool(session.scalar(found))
