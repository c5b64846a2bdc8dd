"""Schemas of organizations."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validate
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.security.passwords import LONGEST_BYTES
from campshub.core.security.permissions import Role

_PLAN = "The rate limit of each user and key; null: the default. It takes effect with the next access token."
_SUBMIT = "A register with marks is submitted so many hours after the end of its session; null: never."
_LOCK = "A register is locked so many days after the end of its session; null: never."
_RATE = "At risk: the attendance rate of the last weeks is below so many per cent; null: the rule is off."
_WEEKS = "The whole weeks before this one that the rate is of; this week counts too."
_ABSENCES = "At risk: so many missed sessions in a row; null: the rule is off."
_DAYS_AWAY = "At risk: no visit for so many days; null: the rule is off."
_DAYS_AHEAD = "How many days ahead sessions are created from the weekly meetings of groups."
_ALERT = "Trainers are alerted to a register not taken so many minutes after the session's start; null: never."
_ALERT_ADMINS = (
    "Admins are alerted so many minutes after the trainers, if the register is still not taken; null: never."
)
_NOTICE = "Guardians are notified of an absence so many minutes after the mark; null: never."
ORGANIZATION_STATUSES = ("active", "suspended", "closed")
_GRACE = "Minutes of grace for check-in events; null: no event makes a mark {}."
_DAYS_BACK = "The most days after which an offline device may send an event."
KIOSK_WAYS = ("card", "code", "personal_code", "search")
_WAYS = "How kiosks may recognise students: by card, typed code, personal code, or by search and choice."
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_HOURS = "The hours after which an open gym visit ends if no one has checked out."
_CLOSES = "The local time, HH:MM, at which such visits end at the latest; null: none."
_NETWORKS = "The networks (CIDR) from which students may use a session's QR code; none: from all."
_MOST_GRACE = 240
_LONGEST_NETWORK = 50


class _Network(fields.Text):
    """A network in CIDR notation."""

    default_error_messages = {"network": "Must be a network, such as 203.0.113.0/24."}  # noqa: RUF012 - marshmallow's own form

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> str:
        text = super()._deserialize(value, attr, data, **options)
        if len(text) > _LONGEST_NETWORK:
            raise ValidationError(f"Longer than maximum length {_LONGEST_NETWORK}.")
        try:
            return str(ipaddress.ip_network(text))
        except ValueError as error:
            raise self.make_error("network") from error


class _LocalTime(fields.Text):
    """A time of day, ``HH:MM``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=len("00:00"), **options)
        self.validators.append(validate.Regexp(_TIME, error="Must be a time of day, such as 22:00."))


class OrganizationIn(fields.In):
    """A new organization with its first admin."""

    example = fields.Example(
        name="Lake Camp",
        time_zone="Asia/Kolkata",
        currency="INR",
        admin_email="admin@lake.example",
        admin_name="Mira Das",
        admin_password="correct horse battery",
    )

    name = fields.Name(required=True)
    time_zone = fields.TimeZone(required=True)
    currency = fields.Currency(required=True)
    locale = fields.Name(load_default="en", most=35)
    admin_email = fields.EmailAddress(required=True)
    admin_name = fields.Name(required=True)
    admin_password = fields.Text(required=True, most=LONGEST_BYTES, least=1)


class OrganizationPatch(fields.In):
    """Changes of the organization by an admin."""

    example = fields.Example(name="Hill Camp", time_zone="Asia/Kolkata")

    name = fields.Name()
    time_zone = fields.TimeZone()
    currency = fields.Currency()
    locale = fields.Name(most=35)
    password_length_min = fields.Integer(least=8, most=64)
    submit_after_hours = fields.Integer(least=1, most=720, allow_none=True, metadata={"description": _SUBMIT})
    lock_after_days = fields.Integer(least=1, most=365, allow_none=True, metadata={"description": _LOCK})
    session_days_ahead = fields.Integer(least=0, most=60, metadata={"description": _DAYS_AHEAD})
    register_alert_after_minutes = fields.Integer(least=1, most=1440, allow_none=True, metadata={"description": _ALERT})
    register_alert_admins_after_minutes = fields.Integer(
        least=1, most=1440, allow_none=True, metadata={"description": _ALERT_ADMINS}
    )
    absence_notice_after_minutes = fields.Integer(
        least=0, most=1440, allow_none=True, metadata={"description": _NOTICE}
    )
    mfa_roles = fields.BoundedList(
        fields.Text(most=36),
        most=len(Role) + 100,
        metadata={"description": "Built-in roles by name, custom roles by id."},
    )
    late_after_minutes = fields.Integer(
        most=_MOST_GRACE, allow_none=True, metadata={"description": _GRACE.format("late")}
    )
    left_early_before_minutes = fields.Integer(
        most=_MOST_GRACE, allow_none=True, metadata={"description": _GRACE.format("left early")}
    )
    check_in_days_back = fields.Integer(least=1, most=60, metadata={"description": _DAYS_BACK})
    open_gym_hours = fields.Integer(least=1, most=24, metadata={"description": _HOURS})
    open_gym_closes_at = _LocalTime(allow_none=True, metadata={"description": _CLOSES})
    check_in_ways = fields.BoundedList(
        fields.Text(one_of=KIOSK_WAYS), most=len(KIOSK_WAYS), metadata={"description": _WAYS}
    )
    check_in_networks = fields.BoundedList(
        _Network(most=_LONGEST_NETWORK), most=50, metadata={"description": _NETWORKS}
    )
    at_risk_rate = fields.Integer(least=1, most=100, allow_none=True, metadata={"description": _RATE})
    at_risk_weeks = fields.Integer(least=1, most=12, metadata={"description": _WEEKS})
    at_risk_absences = fields.Integer(least=2, most=30, allow_none=True, metadata={"description": _ABSENCES})
    at_risk_days_away = fields.Integer(least=2, most=90, allow_none=True, metadata={"description": _DAYS_AWAY})
    guardians_see_training = fields.Boolean(
        metadata={"description": "Whether guardians see the training data of their students."}
    )


class OrganizationStatePatch(fields.In):
    """Changes of any organization by the platform's staff."""

    example = fields.Example(status="active")

    status = fields.Text(one_of=ORGANIZATION_STATUSES)
    requests_per_hour = fields.Integer(least=1, most=9_999_999, allow_none=True, metadata={"description": _PLAN})


class OrganizationOut(fields.Out):
    """An organization."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)
    status = fields.Text(required=True, one_of=ORGANIZATION_STATUSES)
    closed_at = fields.Instant(required=True, allow_none=True)
    time_zone = fields.Text(required=True)
    currency = fields.Text(required=True)
    locale = fields.Text(required=True)
    mfa_roles = ma.List(
        fields.Text(), required=True, metadata={"description": "Roles whose users need a second factor."}
    )
    requests_per_hour = ma.Integer(required=True, allow_none=True, metadata={"description": _PLAN})
    guardians_see_training = ma.Boolean(
        required=True, metadata={"description": "Whether guardians see the training data of their students."}
    )
    password_length_min = ma.Integer(required=True, metadata={"description": "The minimum length of a password."})
    submit_after_hours = ma.Integer(required=True, allow_none=True, metadata={"description": _SUBMIT})
    lock_after_days = ma.Integer(required=True, allow_none=True, metadata={"description": _LOCK})
    late_after_minutes = ma.Integer(required=True, allow_none=True, metadata={"description": _GRACE.format("late")})
    left_early_before_minutes = ma.Integer(
        required=True, allow_none=True, metadata={"description": _GRACE.format("left early")}
    )
    check_in_days_back = ma.Integer(required=True, metadata={"description": _DAYS_BACK})
    open_gym_hours = ma.Integer(required=True, metadata={"description": _HOURS})
    open_gym_closes_at = fields.Text(required=True, allow_none=True, metadata={"description": _CLOSES})
    check_in_ways = ma.List(fields.Text(one_of=KIOSK_WAYS), required=True, metadata={"description": _WAYS})
    check_in_networks = ma.List(fields.Text(), required=True, metadata={"description": _NETWORKS})
    at_risk_rate = ma.Integer(required=True, allow_none=True, metadata={"description": _RATE})
    at_risk_weeks = ma.Integer(required=True, metadata={"description": _WEEKS})
    at_risk_absences = ma.Integer(required=True, allow_none=True, metadata={"description": _ABSENCES})
    at_risk_days_away = ma.Integer(required=True, allow_none=True, metadata={"description": _DAYS_AWAY})
    session_days_ahead = ma.Integer(required=True, metadata={"description": _DAYS_AHEAD})
    register_alert_after_minutes = ma.Integer(required=True, allow_none=True, metadata={"description": _ALERT})
    register_alert_admins_after_minutes = ma.Integer(
        required=True, allow_none=True, metadata={"description": _ALERT_ADMINS}
    )
    absence_notice_after_minutes = ma.Integer(required=True, allow_none=True, metadata={"description": _NOTICE})
    created_at = fields.Instant(required=True)
    updated_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
