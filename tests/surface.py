"""The interface of the API, read from the application: its operations, and a valid body for each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, validate
from marshmallow import fields as ma

from campshub.core.db.models import new_id
from campshub.core.http.endpoint import Endpoint
from tests.dates import today

# Values that a field's name or a schema's own rule requires, beyond the field's type.
BY_NAME = {
    "equipment": "barbell",
    "on": today().isoformat(),
    "local_date": today().isoformat(),
    "time_zone": "Asia/Kolkata",
    "currency": "INR",
    "load": "10",
    "body_weight": "10",
    "admin_password": "correct horse battery",
    "password": "correct horse battery",
    "new_password": "correct horse battery",
    "mfa_roles": "trainer",
    "local_time": "07:30",
    "token": "not-a-known-token",
}
BY_SCHEMA: dict[str, dict[str, Any]] = {
    "UserIn": {"role": "client"},  # only superadmins create superadmins
    "InvitationIn": {"role": "client"},
    "MePatch": {"name": None},
    "ApiKeyIn": {"kind": "key", "permissions": ["students:read"], "scope": "all"},
    "ReportIn": {"kind": "attendance_records"},  # it accepts a group as well as a student
    "ReportScheduleIn": {"kind": "attendance_records"},
    # None: the value from the field, although the field is optional.
    "StudentIn": {"given_name": None},
    "WorkoutLogIn": {"student_id": None},
    "EnrolmentIn": {"begins_on": "2020-01-01", "ends_on": "2020-01-31"},  # the seeded students are enrolled today
    "MarksIn": {"records": None},
    "MarkIn": {"code": "present"},
    "AttendanceRecordPatch": {"code": "present"},
    "SetIn": {"reps": 5},
    "AppendedSetIn": {"reps": 5, "exercise_id": None},
    "SetPatch": {"reps": 5},
    "AttendanceSessionIn": {"slot": lambda: new_id().hex[-8:]},
}
# One of the two is required.
INSTEAD = {"log_exercise_id": "exercise_id", "role_id": "role"}


@dataclass(frozen=True)
class Operation:
    """One method of one URL rule."""

    method: str
    rule: str
    parameters: tuple[str, ...]
    endpoint: Endpoint

    @property
    def name(self) -> str:
        return f"{self.method} {self.rule}"

    @property
    def ends_sessions(self) -> bool:
        """Whether it acts on the caller's own session: it needs a separate client that has signed in."""
        of_sign_in = tuple(f"/api/auth/{name}/" for name in ("logout", "mfa", "password", "step-up"))
        return self.method != "GET" and (self.rule.startswith(of_sign_in) or self.wants_step_up)

    @property
    def is_across(self) -> bool:
        """Whether it is for the platform's operators and acts on any organization."""
        return self.endpoint.options.is_system and "organization_id" in self.parameters

    @property
    def wants_step_up(self) -> bool:
        """Whether it needs a session in which the password was entered recently."""
        return self.rule.startswith(("/api/api-keys/", "/api/auth/oidc/identities/", "/api/organization/close/"))

    def address(self, ids: dict[str, str], **instead: str) -> str:
        """Return the URL, with path parameters and required query parameters filled in."""
        path = self.rule
        for name in self.parameters:
            path = path.replace(f"<uuid:{name}>", {**ids, **instead}[name])
        query = self.endpoint.options.query
        needed = [f"{n}={BY_NAME[n]}" for n, f in query().load_fields.items() if f.required] if query else []
        return f"{path}?{'&'.join(needed)}" if needed else path


def operations(app: Any) -> list[Operation]:
    """Return every operation of the API."""
    found = []
    for rule in app.url_map.iter_rules():
        resource = getattr(app.view_functions[rule.endpoint], "view_class", None)
        for method, endpoint in getattr(resource, "endpoints", {}).items():
            found.append(Operation(method, rule.rule, tuple(sorted(rule.arguments)), endpoint))
    return sorted(found, key=lambda operation: operation.name)


def body_for(schema: type[Schema] | Schema, ids: Any, *, whole: bool = False) -> dict[str, Any]:
    """Return the smallest valid body of a schema, or with ``whole`` one with all fields.

    ``ids`` returns the id for a field's name, or None.
    """
    made = schema() if isinstance(schema, type) else schema
    given = BY_SCHEMA.get(type(made).__name__, {})
    body = {
        field.data_key or name: _value(field.data_key or name, field, ids, whole=whole)
        for name, field in made.load_fields.items()
        if field.required or name in given or whole
    }
    return {**body, **{name: v() if callable(v) else v for name, v in given.items() if v is not None}}


def _value(name: str, field: Any, ids: Any, *, whole: bool) -> Any:  # noqa: PLR0911 - one line a kind
    if isinstance(field, ma.UUID):
        return ids(name) or str(new_id())
    if isinstance(field, ma.Nested):
        return body_for(field.schema, ids, whole=whole)
    if isinstance(field, ma.List):
        return [_value(name, field.inner, ids, whole=whole)]
    if isinstance(field, ma.Boolean):
        return False
    if isinstance(field, ma.Integer | ma.Float):
        return max(1, next((v.min for v in field.validators if isinstance(v, validate.Range)), 1))
    if isinstance(field, ma.AwareDateTime):
        return datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(field, ma.Date):
        return BY_NAME["local_date"]
    if isinstance(field, ma.Email):
        return f"{new_id().hex}@example.org"
    if isinstance(field, ma.Dict):
        return {}
    return _text(name, field)


def _text(name: str, field: Any) -> str:
    choice = next((v for v in field.validators if isinstance(v, validate.OneOf)), None)
    if choice is not None:
        return str(next(iter(choice.choices)))
    if name in BY_NAME:
        return BY_NAME[name]
    most = next((v.max for v in field.validators if isinstance(v, validate.Length) and v.max), 32)
    return f"x{new_id().hex[-12:]}"[: min(most, 32)]


def fields_of(schema: Any, kind: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the paths of all fields of a type in a schema, nested ones too."""
    made = schema() if isinstance(schema, type) else schema
    for name, field in made.load_fields.items():
        yield from _places(field, kind, (*path, field.data_key or name))


def _places(field: Any, kind: type, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(field, ma.List):
        yield from _places(field.inner, kind, (*path, "[]"))
    elif isinstance(field, ma.Nested):
        yield from fields_of(field.schema, kind, path)
    elif isinstance(field, kind):
        yield path, field


def put(body: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a value at a path in a body."""
    step, *rest = path
    key: Any = 0 if step == "[]" else step
    if not rest:
        body[key] = value
        if step in INSTEAD:
            body.pop(INSTEAD[step], None)
        return
    if isinstance(body, dict) and key not in body:
        body[key] = [{}] if rest[0] == "[]" else {}
    put(body[key], tuple(rest), value)
