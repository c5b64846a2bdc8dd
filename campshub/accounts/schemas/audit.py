"""Schemas of the audit log and of security events."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.security.audit import ACTIONS
from campshub.core.security.events import SecurityEventKind

_KEY = 64
_KEY_OF = "The key that acted for the user, if it was one."


class AuditFilter(fields.Filter):
    """Filters of the audit log; the latest 31 days by default, at most 400."""

    first_date = fields.LocalDate(data_key="from", load_default=None, metadata={"description": "A date of UTC."})
    last_date = fields.LocalDate(data_key="to", load_default=None, metadata={"description": "A date of UTC."})
    entity = fields.Text(load_default=None, most=_KEY, metadata={"description": "What was changed: `students`."})
    entity_id = fields.Id(load_default=None)
    person_id = fields.Id(load_default=None, metadata={"description": "The person whose data was changed."})
    user_id = fields.Id(load_default=None, metadata={"description": "The user who made the change."})
    action = fields.Text(load_default=None, one_of=ACTIONS)


class AuditEntryOut(fields.Out):
    """One change: who, when, from where, before and after."""

    id = fields.Id(required=True)
    recorded_on = ma.Date(required=True)
    at = ma.AwareDateTime(required=True)
    user_id = fields.Id(required=True, allow_none=True)
    api_key_id = fields.Id(required=True, allow_none=True, metadata={"description": _KEY_OF})
    address = fields.Text(required=True, allow_none=True)
    trace_id = fields.Text(required=True)
    action = fields.Text(required=True, one_of=ACTIONS)
    entity = fields.Text(required=True)
    entity_id = fields.Id(required=True)
    person_id = fields.Id(required=True, allow_none=True)
    reason = fields.Text(required=True, allow_none=True)
    before = ma.Dict(
        required=True,
        allow_none=True,
        metadata={"description": 'By column; `{"erased": true}` if the person has been erased since.'},
    )
    after = ma.Dict(required=True, allow_none=True)


class SecurityEventFilter(fields.Filter):
    """Filters of security events."""

    kind = fields.Text(load_default=None, one_of=SecurityEventKind)
    user_id = fields.Id(load_default=None)


class SecurityEventOut(fields.Out):
    """One event."""

    id = fields.Id(required=True)
    at = ma.AwareDateTime(required=True)
    kind = fields.Text(required=True, one_of=SecurityEventKind)
    user_id = fields.Id(required=True, allow_none=True)
    api_key_id = fields.Id(required=True, allow_none=True, metadata={"description": _KEY_OF})
    address = fields.Text(required=True, allow_none=True)
    trace_id = fields.Text(required=True)
