"""Creating and changing an organization's own attendance codes."""

from typing import Any
from uuid import UUID

from campshub.attendance.models import FIRST_OWN_ID, AttendanceCode
from campshub.attendance.queries import codes as reads
from campshub.core.db import creates
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import new_id
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


class ReservedId(IdTaken):
    """Ids whose time is zero belong to the platform's own rows."""

    default_detail = "Ids whose time is zero belong to the platform's own rows."
    constraint = "ck_attendance_codes_reserved_ids"


CODES = creates.Collection(
    AttendanceCode, "/api/attendance/codes/{row.id}/", (creates.unique(KeyTaken, AttendanceCode.key),)
)


class DefaultCode(Conflict):
    """A default cannot be changed; create a code of your own with its key, and that stands in its place."""

    code = "default_code"
    default_detail = (
        "A default cannot be changed; create a code of your own with its key, and that stands in its place."
    )


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **values: Any
) -> tuple[dict[str, Any], bool]:
    """Create a code; return it, and whether it is new rather than made by an earlier, identical call.

    :raises IdTaken: the id belongs to a code that was created from something else.
    :raises KeyTaken: the organization has a code with this key.
    """
    row = {**values, "id": id or new_id()}
    code, is_new = creates.create(session, principal, CODES, row, fingerprint=fingerprint(values))
    return _shown(code), is_new


def change(
    session: Session, principal: Principal, *, code_id: UUID, expected: Versions, **changes: Any
) -> dict[str, Any]:
    """Change a code of the organization's own; the marks that were given before keep what it counted as.

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
    """Return a code of the organization's own as its reads show it."""
    return {**{column.key: getattr(code, column.key) for column in reads.COLUMNS}, "is_default": False}
