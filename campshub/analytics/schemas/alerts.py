"""Schemas of students at risk and of alerts."""

from marshmallow import fields as ma

from campshub.analytics.models import RULES
from campshub.core.http.schemas import fields

_VALUE = (
    "What was found: per cent, rounded down; missed sessions in a row; days since the last visit. Null: never there."
)


class AtRiskFilter(fields.Filter):
    """Filters of students at risk."""

    group_id = fields.Id(load_default=None, metadata={"description": "Only students who are in the group today."})
    rule = fields.Text(load_default=None, one_of=RULES)


class ReasonOut(fields.Out):
    """A rule that a student meets."""

    rule = fields.Text(required=True, one_of=RULES)
    value = ma.Integer(required=True, allow_none=True, metadata={"description": _VALUE})
    threshold = ma.Integer(required=True, metadata={"description": "The rule's limit, a setting of the organization."})


class AtRiskOut(fields.Out):
    """A student at risk, with the reasons."""

    student_id = fields.Id(required=True)
    code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    rated = ma.Integer(required=True, metadata={"description": "Marks in the rate, of the weeks of the rule `rate`."})
    attended = ma.Integer(required=True)
    rate = fields.Float(required=True, allow_none=True, most=1)
    missed_in_a_row = ma.Integer(required=True)
    last_attended_on = ma.Date(
        required=True, allow_none=True, metadata={"description": "Null: not in the months that the rules need."}
    )
    reasons = ma.List(ma.Nested(ReasonOut), required=True)


class AttendanceAlertFilter(fields.Filter):
    """Filters of alerts."""

    is_open = fields.Boolean(
        data_key="open", load_default=None, metadata={"description": "Whether the rule is still met."}
    )
    is_acknowledged = fields.Boolean(data_key="acknowledged", load_default=None)
    student_id = fields.Id(load_default=None)
    rule = fields.Text(load_default=None, one_of=RULES)


class AttendanceAlertOut(fields.Out):
    """An alert about a student at risk."""

    id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    rule = fields.Text(required=True, one_of=RULES)
    value = ma.Integer(required=True, allow_none=True, metadata={"description": _VALUE})
    threshold = ma.Integer(required=True)
    raised_at = fields.Instant(required=True)
    resolved_at = fields.Instant(required=True, allow_none=True)
    acknowledged_at = fields.Instant(required=True, allow_none=True)
    acknowledged_by = fields.Id(required=True, allow_none=True)
    version = ma.Integer(required=True)
