"""The document describes what the API does: it is valid, complete, and correct under fuzzing with generated data."""

import json
import os
import re
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

from campshub.core.http.openapi.document import FIRST_TAGS, LAST_TAGS
from campshub.core.http.openapi.schemas import schema_name
from campshub.core.http.schemas.pages import LONGEST_CURSOR
from campshub.core.http.schemas.rows import Rows
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant
from tests.declared import merged
from tests.document import openapi_document
from tests.seeds import seed
from tests.surface import BY_NAME, body_for, operations, text_for

PROBLEM_JSON = "application/problem+json"
JSON_VALUE = "#/components/schemas/JsonValue"
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "50"))  # `make test-fuzz` takes more
MOST_ROUNDS = 10
SOURCES = ("as generated", "real ids", "real body")

load_all_checks()
ALWAYS = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
REJECTED = CHECKS.get_by_names(["negative_data_rejection"])


DOCUMENT = openapi_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]
PUBLIC = {re.sub(r"<uuid:(\w+)>", r"{\1}", name) for name in merged("public")}
OWN, ONLY_ONCE = merged("own"), merged("only_once")
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
    assert {name for name, _ in DESCRIBED} == {operation.described for operation in operations(app)}


def test_operations_have_a_name_a_tag_a_permission_and_their_problems():
    ids = Counter(operation["operationId"] for _, operation in DESCRIBED)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    wrong = []
    for name, operation in DESCRIBED:
        refusals = {status: _at(response) for status, response in operation["responses"].items() if status[0] in "45d"}
        problems = [response for response in refusals.values() if list(response.get("content", {})) == [PROBLEM_JSON]]
        secured = operation["security"] or name in PUBLIC
        parameters = {p["name"] for p in operation.get("parameters", ()) if "name" in p}
        if (
            ids[operation["operationId"]] != 1
            or not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", operation["operationId"])
            or not operation.get("summary")
            or "**Permission:**" not in operation["description"]
            or not tags.issuperset(operation["tags"])
            or not secured
            or len(problems) != len(refusals)
            or not {"default", "422", "429", "500", "503"} <= refusals.keys()
            or (operation["security"] and not {"401", "403"} <= refusals.keys())
            or ("requestBody" in operation and not {"400", "413", "415"} <= refusals.keys())
            or not any(status[0] == "2" for status in operation["responses"])
            or len(parameters) != len(operation.get("parameters", ()))
        ):
            wrong.append(name)

    assert wrong == []
    assert {"listStudents", "createStudent", "getStudent", "updateStudent", "deleteStudent"} <= ids.keys()
    listed = [tag["name"] for tag in DOCUMENT["tags"]]
    assert tuple(listed[: len(FIRST_TAGS)]) == FIRST_TAGS
    assert tuple(listed[-len(LAST_TAGS) :]) == LAST_TAGS


def test_each_problem_lists_its_codes():
    unlisted = [
        f"{name} {status}"
        for name, operation in DESCRIBED
        for status, response in operation["responses"].items()
        if status[0] in "45" and not _codes(_at(response))
    ]

    assert unlisted == []
    creating = DOCUMENT["paths"]["/api/students/"]["post"]["responses"]["409"]
    assert {"code_taken", "id_taken", "idempotency_key_in_flight"} <= set(_codes(_at(creating)))


def test_requests_are_closed_and_fields_with_a_default_are_optional():
    wrong = []
    for name in _reachable(op["requestBody"]["content"]["application/json"]["schema"] for op in _with_body()):
        schema = SCHEMAS[name]
        if schema.get("additionalProperties") is not False:
            wrong.append(name)
        wrong += [f"{name}.{key}" for key, value in schema["properties"].items() if "default" in value]

    assert wrong == []
    assert "status" not in SCHEMAS["StudentIn"]["required"]
    assert SCHEMAS["StudentIn"]["properties"]["status"]["description"] == "Default: `active`."


def test_responses_are_open_typed_and_complete(app):
    wrong = []
    options = [operation.endpoint.options for operation in operations(app)]
    # By schema: the properties that a response has only if the request names them in `include`.
    included = {schema_name(one.answer): one.included.keys() for one in options if one.included}
    for name in _reachable(_answers()):
        schema = SCHEMAS[name]
        if schema.get("additionalProperties") is False:
            wrong.append(f"{name} is closed")
        for key, value in schema.get("properties", {}).items():
            inner = value.get("items", value)
            if "object" in _types(inner) and inner.get("additionalProperties") != {"$ref": JSON_VALUE}:
                wrong.append(f"{name}.{key} is an untyped object")
        if name.endswith("Page"):
            item = schema["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
            if SCHEMAS[item]["properties"].keys() - set(SCHEMAS[item]["required"]) != included.get(item, set()):
                wrong.append(f"{item} leaves properties open")

    assert wrong == []
    assert included == {"StudentBrief": {"has_medical_note", "last_seen_on"}}
    for name, optional in included.items():
        for key in optional:
            assert f"Only with `include={key}`" in SCHEMAS[name]["properties"][key]["description"]
    assert SCHEMAS["StudentBrief"]["properties"]["status"] == {
        "type": "string",
        "enum": ["lead", "active", "inactive", "alumni", "suspended"],
    }


def test_a_choice_is_the_same_in_a_request_and_in_its_response():
    differing = []
    for name, schema in SCHEMAS.items():
        shown = SCHEMAS.get(name.removesuffix("In"), {}) if name.endswith("In") else {}
        for key, value in schema.get("properties", {}).items():
            accepted, returned = _choices(value), _choices(shown.get("properties", {}).get(key, {}))
            if key in shown.get("properties", {}) and not accepted <= returned:
                differing.append(f"{name}.{key}")

    assert differing == []


def test_no_schema_has_an_ambiguous_or_empty_name():
    assert {"Set", "Map", "Date", "Object", "Function", "PaginationMetadataSchema"}.isdisjoint(SCHEMAS)
    assert [name for name in SCHEMAS if name.startswith("Listed") or name.endswith("Out")] == []


def test_responses_document_their_headers():
    students = DOCUMENT["paths"]["/api/students/"]
    page, unchanged = students["get"]["responses"]["200"], students["get"]["responses"]["304"]
    created, limited = students["post"]["responses"]["201"], _at(students["post"]["responses"]["429"])
    file = DOCUMENT["paths"]["/api/reports/{report_id}/file/"]["get"]["responses"]["200"]

    assert {"ETag", "Link", "RateLimit", "RateLimit-Policy"} <= page["headers"].keys()
    assert "ETag" in unchanged["headers"]
    assert {"ETag", "Location", "Idempotent-Replayed"} <= created["headers"].keys()
    assert {"Retry-After", "RateLimit"} <= limited["headers"].keys()
    assert "Content-Disposition" in file["headers"]
    assert list(file["content"])[:2] == ["application/octet-stream", "application/pdf"]
    assert "If-None-Match" in {parameter["name"] for parameter in students["get"]["parameters"]}


def test_limits_steps_and_defaults_are_documented():
    exercises = {p["name"]: p["schema"] for p in DOCUMENT["paths"]["/api/exercises/"]["get"]["parameters"]}
    students = {p["name"]: p["schema"] for p in DOCUMENT["paths"]["/api/students/"]["get"]["parameters"]}

    assert SCHEMAS["WorkoutSetIn"]["properties"]["rir"]["multipleOf"] == 0.5
    assert SCHEMAS["GroupDay"]["properties"]["rate"]["maximum"] == 1
    assert (exercises["sort"]["default"], exercises["limit"]["maximum"]) == ("name", 200)
    assert "default" not in students["sort"]  # a search changes it
    assert students["cursor"]["maxLength"] == LONGEST_CURSOR


def test_the_document_names_its_license_contact_and_server():
    info = DOCUMENT["info"]

    assert info["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert info["contact"]["name"]
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
    assert info["description"].startswith("# Start here")
    assert "## Signing in" in info["description"]


def _at(described):
    while "$ref" in described:
        kind, name = described["$ref"].split("/")[-2:]
        described = DOCUMENT["components"][kind][name]
    return described


def _codes(response):
    schema = _at(response["content"][PROBLEM_JSON]["schema"])
    return schema["allOf"][1]["properties"]["code"]["enum"] if "allOf" in schema else []


def _with_body():
    return [operation for _, operation in DESCRIBED if "requestBody" in operation]


def _answers():
    for _, operation in DESCRIBED:
        for status, response in operation["responses"].items():
            if status[0] == "2" and "application/json" in response.get("content", {}):
                yield response["content"]["application/json"]["schema"]


def _reachable(schemas):
    """Return the names of all schemas that some schemas refer to."""
    found, left = set(), [json.dumps(schema) for schema in schemas]
    while left:
        for name in set(re.findall(r"#/components/schemas/(\w+)", left.pop())) - found - {"JsonValue"}:
            found.add(name)
            left.append(json.dumps(SCHEMAS[name]))
    return sorted(found)


def _choices(schema):
    parts = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    return {choice for part in parts for choice in part.get("enum", ())}


def _types(schema):
    kind = schema.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind)


def test_the_document_and_its_page_load_nothing_from_other_servers(app):
    client = app.test_client()
    page = client.get("/docs/")

    assert client.get("/api/openapi.json").get_json() == DOCUMENT
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for line in page.text.splitlines():
        if "src=" in line or "href=" in line:
            url = line.split('"')[-2]
            assert url.startswith("/docs/")
            served = client.get(url)
            assert served.status_code == 200
            served.close()
    assert client.get("/docs/../wsgi.py").status_code == 404
    assert client.get("/docs/index.html").status_code == 404


@pytest.fixture(scope="module")
def read_seeds(app):
    """Rows for all operations that only read."""
    return seed(app, "Read")


@pytest.fixture
def seeds(app, request, described):
    """Rows for an operation: of its own if it may change them."""
    return request.getfixturevalue("read_seeds") if described.method == "get" else seed(app, "Fuzzed")


def _caller(operation, seeds):
    superadmin = Role.SUPERADMIN
    if operation.name in ONLY_ONCE:
        return seeds.signed_in(new_tenant(seeds.tenant.app).someone(superadmin))
    if operation.wants_step_up:
        return seeds.signed_in(seeds.tenant.the(superadmin))
    if operation.ends_sessions:
        return seeds.signed_in(seeds.tenant.someone(superadmin))
    return seeds.tenant.the(superadmin)


def _fill(case, source, operation, seeds, who):
    """Insert real ids, or a real body, into a generated request; half of the requests should find something."""
    if source == "as generated":
        return
    for name in case.path_parameters or ():
        if name not in operation.parameters:
            case.path_parameters[name] = text_for(name)
        elif name in {**OWN, **seeds.ids}:
            case.path_parameters[name] = OWN[name](seeds, Role.SUPERADMIN) if name in OWN else seeds.ids[name]
    query, real = case.query or {}, seeds.real_query(operation.name)
    for name in query:
        query[name] = BY_NAME["on"] if name == "on" else real.get(name) or seeds.ids.get(name, query[name])
    if source == "real body" and operation.endpoint.options.body is not None:
        case.body = body_for(operation.endpoint.options.body, seeds.id_for)
        (case.headers or {}).pop("If-Match", None)
        case.body |= seeds.real_body(operation, who) or {}
    elif source == "real body":
        seeds.real_body(operation, who)


def _fuzz(case, app, who, checks):
    token = who.headers
    response = case.call(base_url="http://localhost", app=app, headers=token)
    case.validate_response(response, checks=checks, headers=token)
    return response.status_code


@pytest.mark.parametrize("described", OPERATIONS, ids=lambda o: f"{o.method.upper()} {o.path}")
def test_responses_match_the_document(described, app, seeds, record_property):
    by_class = Counter()
    operation = next(o for o in operations(app) if o.described == f"{described.method.upper()} {described.path}")
    # A bulk operation reports an invalid row within a 200.
    rows = any(isinstance(field, Rows) for field in (operation.endpoint.options.body or Schema)().fields.values())
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
        by_class[_fuzz(case, app, who, ALWAYS) // 100] += 1

    @hypothesis_settings(quick, max_examples=max(EXAMPLES // 2, 1))
    @given(case=described.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def unfit(case):
        # A parameter that is a list without values is not sent, so what remains may be valid.
        is_sent = [] not in (case.query or {}).values()
        _fuzz(case, app, _caller(operation, seeds), ALWAYS + REJECTED if is_sent and not rows else ALWAYS)

    for _ in range(MOST_ROUNDS):  # a round may happen to add an invalid cursor to each request
        fitting()
        if by_class[2]:
            break
    if described.body or described.query or described.path_parameters:
        unfit()

    record_property("2xx", f"{by_class[2]:4} of {by_class.total():4} answered 2xx: {operation.name}")
    assert by_class[2] > 0
