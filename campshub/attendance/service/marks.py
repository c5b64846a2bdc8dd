"""What a mark becomes, and when it may change: the rules that marking a roster and changing one mark share."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from campshub.attendance.queries.registers import Meeting
from campshub.attendance.service.sessions import SESSIONS, SessionCancelled, SessionLocked
from campshub.core.errors import FieldError, Invalid
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal

# What whoever marks says of a mark; all else follows from it.
SAID = ("code", "check_in_at", "check_out_at", "note")


class ReasonRequired(Invalid):
    """The register has been submitted: say why it changes."""

    code = "reason_required"
    default_detail = "The register has been submitted: say why it changes."
    pointer = "/reason"


def require_changeable(principal: Principal, meeting: Meeting, reason: str | None) -> None:
    """Refuse a change of a register's marks that its state does not allow.

    :raises SessionCancelled: the session is cancelled.
    :raises SessionLocked: it is locked, and the principal may not change it all the same or does not say why.
    :raises ReasonRequired: it has been submitted, and there is no reason.
    """
    if meeting.status == "cancelled":
        raise SESSIONS.conflict(SessionCancelled, meeting)
    if meeting.status == "locked" and not (reason and principal.may(Permission.ATTENDANCE_WRITE)):
        raise SESSIONS.conflict(SessionLocked, meeting)
    if meeting.status == "submitted" and not reason:
        raise ReasonRequired


def said(present: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a mark says once it has been changed as given; what is not named stays."""
    present = present or {}
    told = {name: given.get(name, present.get(name)) for name in SAID}
    return {**told, "note": told["note"] or None}


def errors_of(principal: Principal, told: Mapping[str, Any], *, local_date: date) -> list[FieldError]:
    """Return what is wrong with a mark's times: each lies within a day of the session's date, out after in."""
    zone = ZoneInfo(principal.time_zone)
    arrived, left = told["check_in_at"], told["check_out_at"]
    errors = [
        FieldError(f"/{name}", "not_that_day", "More than a day away from the session's date.")
        for name in ("check_in_at", "check_out_at")
        if told[name] is not None and abs((told[name].astimezone(zone).date() - local_date).days) > 1
    ]
    if arrived is not None and left is not None and left < arrived:
        errors.append(FieldError("/check_out_at", "out_before_in", "Before the check-in."))
    return errors


def minutes_between(arrived: datetime | None, left: datetime | None) -> int | None:
    """Return the whole minutes that someone was there, None where either end is not known."""
    return None if arrived is None or left is None else int((left - arrived).total_seconds() // 60)


_NAMED = 20  # of the codes that there are; the refusal stands in each row


def unknown_code(pointer: str, key: str, known: Sequence[str]) -> FieldError:
    """Return the refusal of a code that cannot be given."""
    there_are = ", ".join(sorted(known)[:_NAMED])
    return FieldError(pointer, "unknown_code", f"No code {key!r} is in use; there are: {there_are}.")
