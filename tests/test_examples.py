"""The examples of the document, sent as they stand there, one after the other in the order of a working day.

What an example cannot know is put in: passwords and tokens, and the ids of what cannot be created with an id of one's
own. An operation that is new is sent by the rule of its method; one that takes a body needs an example.
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
from tests.conftest import PASSWORD, Client, new_place
from tests.documented import documented
from tests.issuer import the_issuer
from tests.seeds import Seeds

METHODS = ("post", "put", "patch", "get", "delete")
# Before all others, in this order: what the rest needs.
FIRST = (
    *("createUser", "createRole", "createStudent", "createGroup", "createEnrolment", "createAttendanceSession"),
    *("markAttendance", "createExercise", "createWorkoutLog", "createWorkoutSet", "createReport", "createInvitation"),
    *("linkIdentity", "createApiKey", "createAttendanceCode", "createReportSchedule", "createOrganization"),
)
# Each with a new session: of somebody new, since it ends sessions or changes how one signs in, or of the admin.
OF_SOMEBODY_NEW = {
    *("signOut", "signOutEverywhere", "changePassword", "stepUp"),
    *("startTotp", "confirmTotp", "replaceRecoveryCodes", "deleteMfa"),
}
AFTER_STEP_UP = {"linkIdentity", "deleteIdentity", "createApiKey", "deleteApiKey", "deleteSession"}
# What is made without an id of the client's own: the parameter that names it afterwards, and where its id is.
MADE = {
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
    """What has happened so far."""

    app: Any
    seeds: Seeds
    ids: dict[str, str] = field(default_factory=dict)

    def real(self, text: str) -> str:
        """Put the ids of what was made in the place of those of the examples."""
        for name, made in self.ids.items():
            text = text.replace(example_id(name), made)
        return text

    def caller(self, operation: dict[str, Any]) -> Client:
        place = self.seeds.place
        if operation["security"] == []:
            return Client(self.app)
        if operation["operationId"] in ("createOrganization", "updateOrganization"):
            return place.the(Role.SUPERADMIN)
        if operation["operationId"] == "closeOrganization":
            return self.seeds.signed_in(new_place(self.app).someone(Role.ADMIN))
        if operation["operationId"] in OF_SOMEBODY_NEW:
            return self.seeds.signed_in(place.someone(Role.ADMIN))
        if operation["operationId"] in AFTER_STEP_UP:
            return self.seeds.signed_in(place.the(Role.ADMIN))
        return place.the(Role.ADMIN)

    def order_report(self) -> str:
        """Order a report; return the id of its job."""
        body = {"kind": "attendance_records", "format": "csv"}
        found: str = self.seeds.place.the(Role.ADMIN).post("/api/reports/", body).json["job_id"]
        return found

    def put_in(self, operation_id: str, who: Client) -> dict[str, Any]:
        """Return what the example of an operation cannot know."""
        known = {
            "signIn": lambda: {"email": self.seeds.email, "password": PASSWORD},
            "signInWithIdToken": lambda: {
                "id_token": the_issuer().token(email=self.seeds.new_email(), email_verified=True)
            },
            "linkIdentity": lambda: {"id_token": the_issuer().token()},
            "refreshToken": lambda: {"refresh_token": self.seeds.tokens()["refresh_token"]},
            "switchOrganization": lambda: {"organization_id": str(self.seeds.place.id)},
            "confirmTotp": lambda: {"otp": self.seeds.first_code(who)},
            "replaceRecoveryCodes": lambda: self.seeds.enrolled(who) or {},
            "deleteMfa": dict,
            "resetPassword": lambda: {"token": self.seeds.reset_token()},
            "acceptInvitation": lambda: {"token": self.seeds.invitation_token()},
        }
        return known.get(operation_id, dict)()


def _order(found: tuple[str, str, dict[str, Any]]) -> tuple[int, ...]:
    """Return when an operation is sent: creating, changing, reading, ending, bringing back."""
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
    """Return how many ids an address has: what is inside ends before what holds it."""
    return found[0].count("{")


@pytest.fixture
def day(app):
    place = new_place(app)
    seeds = Seeds(place, "examples", {}, set())
    return Day(app, seeds, {"organization_id": str(place.id)})


def test_every_body_has_an_example(app):
    without = [
        operation["operationId"]
        for item in documented(app).document["paths"].values()
        for method, operation in item.items()
        if method in METHODS and "requestBody" in operation
        if "example" not in operation["requestBody"]["content"]["application/json"]
    ]

    assert without == []


def test_the_examples_work_in_the_order_of_a_day(app, day):
    found = [
        (path, method, operation)
        for path, item in documented(app).document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    failed = {}
    for path, method, operation in sorted(found, key=_order):
        answer = _send(day, path, method, operation)
        if answer.status >= 300:
            failed[operation["operationId"]] = answer.response.get_data(as_text=True)

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
    if name == "deleteJob":  # one that has not begun
        day.ids["job_id"] = day.order_report()
    if name == "downloadReport":
        day.seeds.ids["report_id"] = day.ids["report_id"]
    answer = who.call(method.upper(), _address(day, path, operation), body)
    if answer.status < 300 and name in MADE:
        parameter, read = MADE[name]
        day.ids[parameter] = read(answer.json)
    if name == "createReport" and answer.status < 300:
        day.ids["job_id"] = answer.json["job_id"]
        with day.app.app_context():
            run_one(day.app.extensions["campshub"], day.seeds.place.id, UUID(answer.json["job_id"]))
    return answer


def _address(day, path, operation):
    """Return the address of an operation, with the examples of its parameters."""
    required = [p for p in operation["parameters"] if p["in"] == "query" and p["required"]]
    query = {parameter["name"]: parameter["example"] for parameter in required}
    if "token" in query:
        query["token"] = day.seeds.report_token(day.ids["report_id"])
    address = re.sub(r"{(\w+)}", lambda found: example_id(found[1]), path)
    return day.real(address) + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
