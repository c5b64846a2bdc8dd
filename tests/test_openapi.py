"""The document is what the API does: valid, whole, and true under fuzzing with data of its own making."""

import base64
import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from marshmallow import Schema
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.http.rows import Rows
from campshub.core.security.permissions import Role
from tests.conftest import new_place
from tests.seeds import seed
from tests.surface import BY_NAME, body_for, operations

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "50"))
SOURCES = ("as generated", "real ids", "real body")

load_all_checks()
ALWAYS = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
REJECTED = CHECKS.get_by_names(["negative_data_rejection"])


def _document():
    """Write the document without a stack: it is needed to name the tests."""
    key = "a:" + base64.urlsafe_b64encode(bytes(32)).decode()
    nowhere = load_settings(
        postgres_port=1,
        postgres_password="x",
        postgres_system_password="x",
        postgres_replica_host="",
        secret_key="not the real one",
        jwt_private_keys=key,
        field_encryption_keys=key,
        debug=True,  # so that it may be asked for without TLS
    )
    return create_app(nowhere).test_client().get("/api/openapi.json").get_json()


DOCUMENT = _document()
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]
PUBLIC = {"/api/invitations/accept/", "/api/reports/{report_id}/file/"} | {
    f"/api/auth/{name}/" for name in ("token", "oidc", "refresh", "password/forgot", "password/reset")
}
DESCRIBED = [
    (f"{method.upper()} {path}", operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]


def test_the_document_is_valid_openapi_3_1():
    OpenAPIV31SpecValidator(DOCUMENT).validate()

    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_operation_of_the_application_is_described(app):
    def documented(rule):
        return rule.replace("<uuid:", "{").replace(">", "}")

    assert {name for name, _ in DESCRIBED} == {f"{o.method} {documented(o.rule)}" for o in operations(app)}


def test_operations_are_told_apart_and_say_what_they_do_and_how_they_refuse():
    ids = Counter(operation["operationId"] for _, operation in DESCRIBED)
    wrong = []
    for name, operation in DESCRIBED:
        refusals = {status: answer for status, answer in operation["responses"].items() if status[0] in "45d"}
        problems = [
            answer for answer in refusals.values() if list(answer.get("content", {})) == ["application/problem+json"]
        ]
        secured = operation["security"] or name.partition(" ")[2] in PUBLIC
        parameters = {p["name"] for p in operation.get("parameters", ()) if "name" in p}
        if (
            ids[operation["operationId"]] != 1
            or not operation.get("summary")
            or not operation.get("tags")
            or not secured
            or len(problems) != len(refusals)
            or not {"default", "422"} <= refusals.keys()
            or (operation["security"] and not {"401", "403"} <= refusals.keys())
            or ("requestBody" in operation and not {"400", "413", "415"} <= refusals.keys())
            or not any(status[0] == "2" for status in operation["responses"])
            or len(parameters) != len(operation.get("parameters", ()))
        ):
            wrong.append(name)

    assert wrong == []


def test_the_document_and_its_page_are_served_from_here_alone(app):
    client = app.test_client()
    page = client.get("/docs/")

    assert client.get("/api/openapi.json").get_json() == DOCUMENT
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for line in page.text.splitlines():
        if "src=" in line or "href=" in line:
            address = line.split('"')[-2]
            assert address.startswith("/docs/")
            served = client.get(address)
            assert served.status_code == 200
            served.close()
    assert client.get("/docs/../wsgi.py").status_code == 404
    assert client.get("/docs/index.html").status_code == 404


@pytest.fixture
def seeds(app):
    return seed(app, "Fuzzed")


def _caller(operation, seeds):
    superadmin = Role.SUPERADMIN
    if operation.rule == "/api/organization/close/":  # once each
        return seeds.signed_in(new_place(seeds.place.app).someone(superadmin))
    if operation.wants_step_up:
        return seeds.signed_in(seeds.place.the(superadmin))
    if operation.ends_sessions:
        return seeds.signed_in(seeds.place.someone(superadmin))
    return seeds.place.the(superadmin)


def _fill(case, source, operation, seeds, who):
    """Put real ids, or a real body, in the place of what was made up; half of what is asked should find something."""
    if source == "as generated":
        return
    # One's own sessions and identities alone can be ended.
    own = {"sign_in_id": seeds.new_sign_in, "identity_id": seeds.new_identity}
    for name in case.path_parameters or ():
        case.path_parameters[name] = own[name](Role.SUPERADMIN) if name in own else seeds.ids[name]
    query = case.query or {}
    for name in query:
        query[name] = BY_NAME["on"] if name == "on" else seeds.ids.get(name, query[name])
        if operation.rule.endswith("/file/"):
            query[name] = seeds.report_token(seeds.ids["report_id"])
    if source == "real body" and operation.handler.mark.body is not None:
        case.body = body_for(operation.handler.mark.body, seeds.id_for)
        (case.headers or {}).pop("If-Match", None)
        case.body |= seeds.real_body(operation.rule, who) or {}
    elif source == "real body":
        seeds.real_body(operation.rule, who)


def _fuzz(case, app, who, checks):
    token = who.headers
    response = case.call(base_url="http://localhost", app=app, headers=token)
    case.validate_response(response, checks=checks, headers=token)
    return response.status_code


@pytest.mark.parametrize("described", OPERATIONS, ids=lambda o: f"{o.method.upper()} {o.path}")
def test_answers_are_as_described(described, app, seeds, record_property):
    answered = Counter()
    rule = {o.name.replace("<uuid:", "{").replace(">", "}"): o for o in operations(app)}
    operation = rule[f"{described.method.upper()} {described.path}"]
    # Where each row answers for itself, one that does not fit is told so within a 200.
    rows = any(isinstance(field, Rows) for field in (operation.handler.mark.body or Schema)().fields.values())
    quick = hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @quick
    @given(case=described.as_strategy(generation_mode=GenerationMode.POSITIVE), source=st.sampled_from(SOURCES))
    def fitting(case, source):
        who = _caller(operation, seeds)
        _fill(case, source, operation, seeds, who)
        answered[_fuzz(case, app, who, ALWAYS) // 100] += 1

    @hypothesis_settings(quick, max_examples=max(EXAMPLES // 2, 1))
    @given(case=described.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def unfit(case):
        _fuzz(case, app, _caller(operation, seeds), ALWAYS if rows else ALWAYS + REJECTED)

    fitting()
    if described.body or described.query or described.path_parameters:
        unfit()

    record_property("2xx", f"{answered[2]:4} of {answered.total():4} answered 2xx: {operation.name}")
    assert answered[2] > 0
