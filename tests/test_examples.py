"""Send the examples of the OpenAPI document unchanged, one after the other, in the order of a working day.

The tests add what an example cannot contain: passwords and tokens, and ids that the server chooses. A new operation is
sent in the order of its method; one with a body needs an example.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from campshub.core.http.schemas.fields import example_id
from campshub.core.security.permissions import Role
from tests.conftest import Client, new_tenant
from tests.declared import merged
from tests.documented import documented
from tests.seeds import Seeds

METHODS = ("post", "put", "patch", "get", "delete")
FIRST, CREATED, CALLERS = merged("examples.first"), merged("examples.created"), merged("examples.callers")
VALUES, BEFORE, AFTER = merged("examples.values"), merged("examples.before"), merged("examples.after")


@dataclass
class Day:
    """The state of the day so far."""

    app: Any
    seeds: Seeds
    ids: dict[str, str] = field(default_factory=dict)

    def real(self, text: str) -> str:
        """Replace the ids of the examples by the created ids."""
        for name, made in self.ids.items():
            text = text.replace(example_id(name), made)
        return text

    def caller(self, operation: dict[str, Any]) -> Client:
        if operation["security"] == []:
            return Client(self.app)
        other = CALLERS.get(operation["operationId"])
        return other(self) if other else self.seeds.tenant.the(Role.ADMIN)


def _order(found: tuple[str, str, dict[str, Any]]) -> tuple[int, ...]:
    """Return the sort key of an operation: create, change, read, end, restore."""
    _, method, operation = found
    name = operation["operationId"]
    if name in FIRST:
        return 0, FIRST.index(name)
    if name.startswith("undelete"):
        return 5, _depth(found)
    if name in ("changePassword", "closeOrganization", "signOutEverywhere"):
        return 6, 0
    if name.startswith("delete"):
        return 4, -_depth(found)
    return {"patch": 1, "put": 1, "get": 2, "post": 3}[method], 0


def _depth(found: tuple[str, str, dict[str, Any]]) -> int:
    """Return how many ids a path has: inner resources end before outer ones."""
    return found[0].count("{")


@pytest.fixture
def day(app):
    tenant = new_tenant(app)
    seeds = Seeds(tenant, "examples", {}, set())
    return Day(app, seeds, {"organization_id": str(tenant.id)})


def test_every_body_has_an_example(app):
    without = [
        operation["operationId"]
        for item in documented(app).document["paths"].values()
        for method, operation in item.items()
        if method in METHODS and "requestBody" in operation
        if "example" not in operation["requestBody"]["content"]["application/json"]
    ]

    assert without == []


def test_the_examples_succeed_in_the_order_of_a_day(app, day):
    found = [
        (path, method, operation)
        for path, item in documented(app).document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    failed = {}
    for path, method, operation in sorted(found, key=_order):
        response = _send(day, path, method, operation)
        if response.status >= 300:
            failed[operation["operationId"]] = response.raw.get_data(as_text=True)

    assert failed == {}
    assert len(found) > 100


def _send(day, path, method, operation):
    name = operation["operationId"]
    if name in BEFORE:
        BEFORE[name](day)
    who = day.caller(operation)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    known = VALUES[name](day, who) if name in VALUES else {}
    if body is not None:
        body = {**json.loads(day.real(json.dumps(body))), **known}
    response = who.call(method.upper(), _address(day, path, method, operation), body)
    if response.status < 300 and name in CREATED:
        parameter, read = CREATED[name]
        day.ids[parameter] = read(response.json)
    if response.status < 300 and name in AFTER:
        AFTER[name](day, response.json)
    return response


def _address(day, path, method, operation):
    """Return the URL of an operation, with the examples of its parameters."""
    required = [p for p in operation["parameters"] if p["in"] == "query" and p["required"]]
    query = {parameter["name"]: parameter["example"] for parameter in required}
    rule = re.sub(r"{(\w+)}", r"<uuid:\1>", path)
    query |= day.seeds.real_query(f"{method.upper()} {rule}")
    in_path = {p["name"]: p["example"] for p in documented(day.app).document["paths"][path].get("parameters", ())}
    url = path.format(**in_path)
    return day.real(url) + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
