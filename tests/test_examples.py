"""Send the examples of the OpenAPI document unchanged, one after the other, in the order of a working day.

The tests add what an example cannot contain: passwords and tokens, and ids that the server chooses. A new operation is
sent in the order of its method; one with a body needs an example.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from campshub.core.http.schemas.fields import example_id
from campshub.core.jobs.runner import run_one
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client, new_tenant
from tests.documented import documented
from tests.issuer import the_issuer
from tests.seeds import Seeds

METHODS = ("post", "put", "patch", "get", "delete")
# First of all and in this order: other examples need these rows.
FIRST = (
    *("createUser", "createRole", "createStudent", "createGroup", "createEnrolment", "createAttendanceSession"),
    *("markAttendance", "createExercise", "createWorkoutLog", "createWorkoutSet", "createReport", "createInvitation"),
    *("linkIdentity", "createApiKey", "createAttendanceCode", "createReportSchedule", "createOrganization"),
)
# Each in a new session: of a new user, since the operation ends sessions or changes sign-in, or of the admin.
OF_A_NEW_USER = {
    *("signOut", "signOutEverywhere", "changePassword", "stepUp"),
    *("startTotp", "confirmTotp", "replaceRecoveryCodes", "deleteMfa"),
}
AFTER_STEP_UP = {"linkIdentity", "deleteIdentity", "createApiKey", "deleteApiKey", "deleteSession"}
# Operations whose ids the server chooses: the parameter that takes the id later, and where the response has it.
CREATED = {
    "createUser": ("user_id", lambda answer: answer["id"]),
    "createInvitation": ("invitation_id", lambda answer: answer["id"]),
    "createApiKey": ("api_key_id", lambda answer: answer["id"]),
    "linkIdentity": ("identity_id", lambda answer: answer["id"]),
    "createOrganization": ("organization_id", lambda answer: answer["id"]),
    "markAttendance": ("record_id", lambda answer: answer["results"][0]["id"]),
    "createReport": ("report_id", lambda answer: answer["id"]),
}


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
        tenant = self.seeds.tenant
        if operation["security"] == []:
            return Client(self.app)
        if operation["operationId"] in ("createOrganization", "updateOrganization"):
            return tenant.the(Role.SUPERADMIN)
        if operation["operationId"] == "closeOrganization":
            return self.seeds.signed_in(new_tenant(self.app).someone(Role.ADMIN))
        if operation["operationId"] in OF_A_NEW_USER:
            return self.seeds.signed_in(tenant.someone(Role.ADMIN))
        if operation["operationId"] in AFTER_STEP_UP:
            return self.seeds.signed_in(tenant.the(Role.ADMIN))
        return tenant.the(Role.ADMIN)

    def order_report(self) -> str:
        """Request a report; return the id of its job."""
        body = {"kind": "attendance_records", "format": "csv"}
        found: str = self.seeds.tenant.the(Role.ADMIN).post("/api/reports/", body).json["job_id"]
        return found

    def put_in(self, operation_id: str, who: Client) -> dict[str, Any]:
        """Return the values that the example of an operation cannot contain."""
        known = {
            "signIn": lambda: {"email": self.seeds.email, "password": PASSWORD},
            "signInWithIdToken": lambda: {
                "id_token": the_issuer().token(email=self.seeds.new_email(), email_verified=True)
            },
            "linkIdentity": lambda: {"id_token": the_issuer().token()},
            "refreshToken": lambda: {"refresh_token": self.seeds.tokens()["refresh_token"]},
            "switchOrganization": lambda: {"organization_id": str(self.seeds.tenant.id)},
            "confirmTotp": lambda: {"otp": self.seeds.first_code(who)},
            "replaceRecoveryCodes": lambda: self.seeds.enrolled(who) or {},
            "deleteMfa": dict,
            "resetPassword": lambda: {"token": self.seeds.reset_token()},
            "acceptInvitation": lambda: {"token": self.seeds.invitation_token()},
        }
        return known.get(operation_id, dict)()


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
    who = day.caller(operation)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    known = day.put_in(name, who)
    if body is not None:
        body = {**json.loads(day.real(json.dumps(body))), **known}
    if name == "deleteSession":
        day.ids["sign_in_id"] = day.seeds.new_sign_in(Role.ADMIN)
    if name == "deleteJob":  # a job that has not started
        day.ids["job_id"] = day.order_report()
    if name == "downloadReport":
        day.seeds.ids["report_id"] = day.ids["report_id"]
    response = who.call(method.upper(), _address(day, path, operation), body)
    if response.status < 300 and name in CREATED:
        parameter, read = CREATED[name]
        day.ids[parameter] = read(response.json)
    if name == "createReport" and response.status < 300:
        day.ids["job_id"] = response.json["job_id"]
        with day.app.app_context():
            run_one(day.app.extensions["campshub"], day.seeds.tenant.id, UUID(response.json["job_id"]))
    return response


def _address(day, path, operation):
    """Return the URL of an operation, with the examples of its parameters."""
    required = [p for p in operation["parameters"] if p["in"] == "query" and p["required"]]
    query = {parameter["name"]: parameter["example"] for parameter in required}
    if "token" in query:
        query["token"] = day.seeds.report_token(day.ids["report_id"])
    url = re.sub(r"{(\w+)}", lambda found: example_id(found[1]), path)
    return day.real(url) + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
