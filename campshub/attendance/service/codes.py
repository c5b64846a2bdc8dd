"""Create and change an organization's own attendance codes."""

from typing import Any, TypedDict, Unpack
from uuid import UUID

from campshub.attendance.models import FIRST_OWN_ID, AttendanceCode
from campshub.attendance.queries import codes as reads
from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, IdTaken
from campshub.core.security.principal import Principal


class KeyTaken(Conflict):
    """The organization has a code with this key."""

    code = "key_taken"
    default_detail = "The organization has a code with this key."
    constraint = "uq_attendance_codes_key"
    pointer = "/key"


class ReservedCodeId(IdTaken):
    """Ids with a zero timestamp are reserved; use a UUID of version 7."""

    default_detail = "Ids with a zero timestamp are reserved; use a UUID of version 7."
    constraint = "ck_attendance_codes_reserved_ids"


CODES = creates.Collection(
    AttendanceCode, "/api/attendance/codes/{row.id}/", (creates.unique(KeyTaken, AttendanceCode.key),)
)


class DefaultCode(Conflict):
    """A default code cannot be changed. Create a code with the same key; it replaces the default."""

    code = "default_code"
    default_detail = "A default code cannot be changed. Create a code with the same key; it replaces the default."


class CodeChanges(TypedDict, total=False):
    """Fields of a code that a change may have."""

    label: str
    counts_as: str
    in_rate: bool
    position: int
    is_archived: bool


class NewCode(TypedDict):
    """The fields of a new code."""

    key: str
    label: str
    counts_as: str
    in_rate: bool
    position: int
    is_archived: bool


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **values: Unpack[NewCode]
) -> tuple[dict[str, Any], bool]:
    """Create a code; return it, and False if an earlier, identical call has created it.

    :raises IdTaken: the id belongs to a code with other content.
    :raises KeyTaken: the organization has a code with this key.
    """
    code, is_new = creates.create(session, principal, CODES, id=id, body=values)
    return _shown(code), is_new


def change(
    session: Session, principal: Principal, *, code_id: UUID, expected: Versions, **changes: Unpack[CodeChanges]
) -> dict[str, Any]:
    """Change one of the organization's own codes; earlier marks still count as before.

    :raises NotFound: the organization has no such code.
    :raises DefaultCode: it is a default.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    if code_id < FIRST_OWN_ID:
        reads.get_code(session, principal, code_id)
        raise DefaultCode
    code = lock(session, principal, AttendanceCode, code_id, expected=expected)
    for name, value in changes.items():
        setattr(code, name, value)
    session.flush()
    return _shown(code)


def _shown(code: AttendanceCode) -> dict[str, Any]:
    """Return a code in the form of the reads."""
    return {**{column.key: getattr(code, column.key) for column in reads.COLUMNS}, "is_default": False}
