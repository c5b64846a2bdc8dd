"""The interface of the API, read from the application: its operations, and a valid body for each of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, validate
from marshmallow import fields as ma

from campshub.core.db.models import new_id
from campshub.core.http.endpoint import Endpoint
from tests.dates import today
from tests.declared import merged

# Values that a field's name or a schema's own rule requires, beyond the field's type.
BY_NAME: dict[str, str] = {"on": today().isoformat(), "local_date": today().isoformat(), **merged("values")}
BY_SCHEMA: dict[str, dict[str, Any]] = merged("schemas")
# One of the two is required.
INSTEAD: dict[str, str] = merged("instead")
ENDS_SESSIONS, WANTS_STEP_UP = merged("ends_sessions"), merged("wants_step_up")


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
    def described(self) -> str:
        """Its name in the document, which has braces around all parameters of the path."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.name)

    @property
    def module(self) -> str:
        """The module whose routes define it."""
        return self.endpoint.function.__module__.split(".")[1]

    @property
    def ends_sessions(self) -> bool:
        """Whether it acts on the caller's own session: it needs a separate client that has signed in."""
        return self.method != "GET" and self.rule.startswith((*ENDS_SESSIONS, *WANTS_STEP_UP))

    @property
    def is_across(self) -> bool:
        """Whether it is for the platform's operators and acts on any organization."""
        return self.endpoint.options.is_system and "organization_id" in self.parameters

    @property
    def wants_step_up(self) -> bool:
        """Whether it needs a session in which the password was entered recently."""
        return self.rule.startswith(WANTS_STEP_UP)

    def address(self, ids: dict[str, str], query: Mapping[str, str] | None = None, **instead: str) -> str:
        """Return the URL, with path parameters and required query parameters filled in, the latter from ``query``."""
        path = self.rule
        for name in self.parameters:
            path = path.replace(f"<uuid:{name}>", {**ids, **instead}[name])
        path = re.sub(r"<(\w+)>", lambda found: text_for(found[1]), path)
        schema, values = self.endpoint.options.query, {**BY_NAME, **(query or {})}
        needed = [f"{n}={values[n]}" for n, f in schema().load_fields.items() if f.required] if schema else []
        return f"{path}?{'&'.join(needed)}" if needed else path


def text_for(parameter: str) -> str:
    """Return a value for a parameter of the path that is no id, but a text of the client."""
    return BY_NAME.get(parameter, f"{parameter}-1")


def operations(app: Any) -> list[Operation]:
    """Return every operation of the API."""
    found = []
    for rule in app.url_map.iter_rules():
        resource = getattr(app.view_functions[rule.endpoint], "view_class", None)
        for method, endpoint in getattr(resource, "endpoints", {}).items():
            ids = tuple(sorted(re.findall(r"<uuid:(\w+)>", rule.rule)))
            found.append(Operation(method, rule.rule, ids, endpoint))
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
    if isinstance(field, ma.UUID):  # an ``id`` that is required refers to a row: ``references`` says to which
        return ids(f"{type(field.parent).__name__}.{name}") or ids(name) or str(new_id())
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
