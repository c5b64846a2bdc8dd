"""Rules shared by marking a roster and changing one mark: the new values, and when a change is allowed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from campshub.attendance.queries.registers import Meeting
from campshub.attendance.service.sessions import SESSIONS, SessionCancelled, SessionLocked
from campshub.core.errors import FieldError, Invalid
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal

# The fields of a mark that the caller sends; all others are derived.
INPUT_FIELDS = ("code", "check_in_at", "check_out_at", "note")


class ReasonRequired(Invalid):
    """The register has been submitted, so a change needs a `reason`."""

    code = "reason_required"
    default_detail = "The register has been submitted, so a change needs a `reason`."
    pointer = "/reason"


def require_changeable(principal: Principal, meeting: Meeting, reason: str | None) -> None:
    """Refuse a change of marks that the register's state does not allow.

    :raises SessionCancelled: the session is cancelled.
    :raises SessionLocked: it is locked, and the permission to change it anyway or the reason is missing.
    :raises ReasonRequired: it has been submitted, and there is no reason.
    """
    if meeting.status == "cancelled":
        raise SESSIONS.conflict(SessionCancelled, meeting)
    if meeting.status == "locked" and not (reason and principal.may(Permission.ATTENDANCE_WRITE)):
        raise SESSIONS.conflict(SessionLocked, meeting)
    if meeting.status == "submitted" and not reason:
        raise ReasonRequired


def merged(present: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mark's input fields after a change; omitted fields stay as they are."""
    present = present or {}
    values = {name: given.get(name, present.get(name)) for name in INPUT_FIELDS}
    return {**values, "note": values["note"] or None}


def errors_of(principal: Principal, values: Mapping[str, Any], *, local_date: date) -> list[FieldError]:
    """Return the errors of a mark's times: within a day of the session's date, and check-out not before check-in."""
    zone = ZoneInfo(principal.time_zone)
    arrived, left = values["check_in_at"], values["check_out_at"]
    errors = [
        FieldError(f"/{name}", "not_that_day", "Must be at most a day from the date of the session.")
        for name in ("check_in_at", "check_out_at")
        if values[name] is not None and abs((values[name].astimezone(zone).date() - local_date).days) > 1
    ]
    if arrived is not None and left is not None and left < arrived:
        errors.append(FieldError("/check_out_at", "out_before_in", "Must not be before the check-in."))
    return errors


def minutes_between(arrived: datetime | None, left: datetime | None) -> int | None:
    """Return the whole minutes between check-in and check-out; None if either is unknown."""
    return None if arrived is None or left is None else int((left - arrived).total_seconds() // 60)


_MOST_LISTED = 20  # codes in an error text, which may repeat in each row


def unknown_code(pointer: str, key: str, known: Sequence[str]) -> FieldError:
    """Return the error for a code that is not in use."""
    in_use = ", ".join(sorted(known)[:_MOST_LISTED])
    return FieldError(pointer, "unknown_code", f"The code {key!r} is not in use; use one of: {in_use}.")
