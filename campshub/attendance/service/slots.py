"""Create or find the session of a slot, for clients that know its group, date and slot, but no id."""

from datetime import date, datetime
from typing import TypedDict, Unpack
from uuid import UUID

from campshub.attendance import slots
from campshub.attendance.queries import sessions as reads
from campshub.attendance.queries.sessions import Slotted
from campshub.attendance.service import sessions
from campshub.core import names
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Invalid, NotFound
from campshub.core.security.principal import Principal


class SlotFields(TypedDict, total=False):
    """The fields of a new session besides its name."""

    starts_at: datetime | None
    ends_at: datetime | None
    notes: str | None
    status: str


def get_or_create(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    local_date: str,
    slot: str,
    expected: Versions,
    now: datetime,
    **values: Unpack[SlotFields],
) -> tuple[AnyRow, bool]:
    """Return the session of a group's date and slot, and whether it is new; the values are those of a new one.

    :raises Invalid: the date or the slot is malformed.
    :raises PreconditionFailed: it exists with another version.
    :raises SessionCancelled: it is cancelled; a client that does not know it must not create it again.
    :raises NotFound: the principal sees no such group.
    :raises SessionDateOutOfRange, GroupClosed, NotThatDay: a new one is refused.
    """
    name = Slotted(group_id, _date(local_date), _slot(slot))
    present = reads.find_sessions(session, principal, ids=[], slots=[name])
    if (cancelled := present.cancelled.get(name)) is not None:
        raise sessions.SESSIONS.conflict(sessions.SessionCancelled, cancelled)
    session_id, is_new = present.by_name.get(name), False
    if session_id is None:
        try:
            session_id, is_new = create_or_find(session, principal, name, session_id=None, now=now, **values)
        except sessions.UnknownGroup as error:  # here, the group is part of the URL
            raise NotFound from error
    found = reads.get_session(session, principal, session_id)
    if not is_new:
        require_version(found, expected)
    return found, is_new


def create_or_find(
    session: Session,
    principal: Principal,
    name: Slotted,
    *,
    session_id: UUID | None,
    now: datetime,
    **values: Unpack[SlotFields],
) -> tuple[UUID, bool]:
    """Create the session of a slot; return its id, and whether it is new.

    If another call has created it at the same moment, its own session is used.
    """
    try:
        made, is_new = sessions.create(session, principal, now=now, id=session_id, **name._asdict(), **values)
    except sessions.SessionExists as taken:
        if taken.present is None:
            raise
        return taken.present["id"], False
    return made.id, is_new


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise Invalid.at("/local_date", "invalid", "Must be a date, such as 2026-12-01.")
    return found


def _slot(text: str) -> str:
    slot = names.trimmed(text)
    if not names.is_visible(slot) or not names.is_one_line(slot) or len(slot) > slots.MOST_CHARACTERS:
        raise Invalid.at("/slot", "invalid", f"Must be one line of at most {slots.MOST_CHARACTERS} characters.")
    return slots.normalized(slot)
