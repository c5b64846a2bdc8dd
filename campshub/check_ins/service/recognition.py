"""Recognise the student of an event, in one of the ways that the caller may use."""

from collections.abc import Mapping
from typing import Any

from campshub.check_ins.models import WAYS
from campshub.check_ins.queries.people import Named, NamedStudent
from campshub.check_ins.service.refusals import CodeNotValid, NotAStudent, OneWay, UnknownPerson, WayNotAllowed
from campshub.core.security.permissions import OF_DEVICES, Permission
from campshub.core.security.principal import Principal

# Wrong codes, cards and personal codes: more are refused before they are looked up.
GUESSES_OF_CALLER = "30 per 10 minutes"
GUESSES_OF_ORGANIZATION = "300 per 10 minutes"
GUESSED = ("code", "card", "personal_code")
_SEARCH = "search"


def way_of(given: Mapping[str, Any]) -> str:
    """Return the way in which an event names its student.

    :raises OneWay: it names none, or in several ways.
    """
    ways = [way for way in WAYS if given.get(way) is not None]
    if len(ways) != 1:
        raise OneWay
    return ways[0]


def is_device(principal: Principal) -> bool:
    """Return whether the caller is a kiosk: a key that can do no more than a device's key."""
    return principal.api_key_id is not None and principal.permissions <= OF_DEVICES


def origin_of(principal: Principal, way: str) -> dict[str, Any]:
    """Return the columns of a new mark that say where it came from; a kiosk marks for no user."""
    by_device = is_device(principal)
    return {
        "source": "qr" if way == "qr" else "kiosk" if by_device else "api",
        "device_id": principal.api_key_id,
        "marked_by": None if by_device else principal.user_id,
    }


def require_allowed(principal: Principal, way: str) -> None:
    """Refuse a caller who may not use a way: QR codes are for people, all others for those who mark attendance.

    :raises WayNotAllowed: a key sends a QR code, or the caller may not mark attendance.
    """
    is_allowed = principal.api_key_id is None if way == "qr" else principal.may(Permission.ATTENDANCE_MARK)
    if not is_allowed:
        raise WayNotAllowed


def require_way(principal: Principal, rules: Mapping[str, Any], way: str) -> None:
    """Refuse a way that the organization does not allow on kiosks; to choose a student there is to search.

    :raises WayNotAllowed: the reason.
    """
    if is_device(principal) and (_SEARCH if way == "student_id" else way) not in rules["check_in_ways"]:
        raise WayNotAllowed


def find_person(named: Named, way: str, given: Mapping[str, Any]) -> NamedStudent:
    """Return the student of an event.

    :raises UnknownPerson: the principal sees no such student.
    :raises CodeNotValid: a personal code is unknown, used or expired.
    :raises NotAStudent: the caller uses a QR code and is no student.
    """
    if way == "qr":
        if named.oneself is None:
            raise NotAStudent
        return named.oneself
    if way == "personal_code":
        if named.by_personal_code is None:
            raise CodeNotValid
        return named.by_personal_code
    found = {"student_id": named.people, "code": named.by_code, "card": named.by_card}[way]
    person: NamedStudent | None = found.get(given[way])  # type: ignore[attr-defined] # each by its own kind of key
    if person is None:
        raise UnknownPerson.at(f"/{way}", UnknownPerson.code, UnknownPerson.default_detail)
    return person


def guess_limits(principal: Principal) -> tuple[tuple[str, str], ...]:
    """Return the limits of wrong codes and cards: per device or user, and per organization."""
    caller = principal.api_key_id or principal.user_id
    return (GUESSES_OF_CALLER, f"guesses:{caller}"), (GUESSES_OF_ORGANIZATION, f"guesses:{principal.organization_id}")
