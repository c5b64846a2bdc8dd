"""The reasons why a check-in event is refused, each with its own code."""

from campshub.core.errors import Conflict, Forbidden, Invalid, UnknownReference


class OneWay(Invalid):
    """An event must name the person in exactly one way."""

    code = "one_way"
    default_detail = "Name the person in exactly one way."


class WayNotAllowed(Forbidden):
    """The organization does not allow this way of checking in on its kiosks, or not to this caller."""

    code = "way_not_allowed"
    default_detail = (
        "This way of checking in is not allowed here; students use the session's QR code, in their own name."
    )


class UnknownPerson(UnknownReference):
    """No student was found."""

    code = "unknown_student"
    default_detail = "The student does not exist, or you may not see them."


class UnknownSession(UnknownReference):
    """The session does not exist, or the caller may not see it."""

    code = "unknown_session"
    default_detail = "The session does not exist, or you may not see it."
    pointer = "/session_id"


class NoSession(UnknownReference):
    """The group has no session on the day of the event."""

    code = "no_session"
    default_detail = "You see no session of this group on the day of the event."
    pointer = "/group_id"


class SessionOrGroup(Invalid):
    """An event names a session or a group, not both; a QR code is of a session."""

    code = "one_session"
    default_detail = "Name `session_id` or `group_id`, not both; with a QR code, no group."
    pointer = "/session_id"


class NotOnRoster(Invalid):
    """The student is not in the group on the date of the session."""

    code = "not_on_roster"
    default_detail = "The student is not in the group on the date of the session."


class NotNearThatDay(Invalid):
    """The event must be at most a day from the session's date."""

    code = "not_that_day"
    default_detail = "Must be at most a day from the date of the session."
    pointer = "/at"


class TooOld(Invalid):
    """The event is older than the organization accepts."""

    code = "too_old"
    default_detail = "The event is older than the organization accepts (`check_in_days_back`)."
    pointer = "/at"


class TooFarAhead(Invalid):
    """The event is ahead of the server's clock."""

    code = "too_far_ahead"
    default_detail = "More than 5 minutes ahead of the server's clock."
    pointer = "/at"


class SessionClosed(Conflict):
    """The session is cancelled or locked, or was submitted before the event."""

    code = "session_closed"
    default_detail = "The session is cancelled or locked, or was submitted before the event."


class NoCode(Conflict):
    """The organization has no code in use that counts as present."""

    code = "no_code"
    default_detail = "The organization has no attendance code in use that counts as present."


class QrInvalid(Invalid):
    """The server has not issued this QR code."""

    code = "qr_invalid"
    default_detail = "This is no QR code of a session."
    pointer = "/qr"


class QrExpired(Invalid):
    """The QR code is older than 30 seconds."""

    code = "qr_expired"
    default_detail = "The QR code is older than 30 seconds; scan the current one."
    pointer = "/qr"


class QrOtherOrganization(Invalid):
    """The QR code is of another organization."""

    code = "qr_other_organization"
    default_detail = "The QR code is of another organization."
    pointer = "/qr"


class QrOtherSession(Invalid):
    """The QR code is of another session than the event names."""

    code = "qr_other_session"
    default_detail = "The QR code is of another session."
    pointer = "/qr"


class QrHasTime(Invalid):
    """With a QR code, the server's time counts."""

    code = "not_with_qr"
    default_detail = "With a QR code, the server's time counts; leave `at` out."
    pointer = "/at"


class OnlineOnly(Invalid):
    """A device that was offline cannot use what works only once or for a moment."""

    code = "online_only"
    default_detail = "This way of checking in works only in a request of its own, at the moment of the check-in."


class NotInGroup(Forbidden):
    """The student is not in the group of the session."""

    code = "not_in_group"
    default_detail = "You are not in the group of this session on its date. You were not checked in."


class NotAStudent(Forbidden):
    """The user is no student of the organization."""

    code = "not_a_student"
    default_detail = "Only students can use the QR code, each in their own name."


class ForeignNetwork(Forbidden):
    """The request does not come from the organization's networks."""

    code = "foreign_network"
    default_detail = "Check in from the organization's own network."


class CodeNotValid(Invalid):
    """The personal code is unknown, used or expired."""

    code = "code_not_valid"
    default_detail = "The code is unknown, has been used, or has expired; ask for a new one."
    pointer = "/personal_code"


class CardTaken(Conflict):
    """A student of the organization has a card with this number."""

    code = "card_taken"
    default_detail = "A student has a card with this number."
    constraint = "uq_student_cards_number"
    pointer = "/number"
