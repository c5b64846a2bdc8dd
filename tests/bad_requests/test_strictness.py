"""Slightly invalid requests are refused in the same way by every operation, and the message states the rule."""

import copy
import json

import pytest
from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.db.models import new_id
from campshub.core.http.schemas import fields
from tests.bad_requests.conftest import send
from tests.surface import body_for, fields_of, operations, put


def details(response) -> list[str]:
    """Return the messages of a refusal, also of the rows of a bulk body, and of the rows of its rows."""
    return [error["detail"] for error in errors_in(response.raw.get_json(force=True))]


def errors_in(document) -> list:
    rows = [error for row in document.get("results") or () for error in errors_in(row)]
    return [*(document.get("errors") or ()), *((document.get("problem") or {}).get("errors", ())), *rows]


def with_value(operation, seeds, path, value) -> bytes:
    body = copy.deepcopy(body_for(operation.endpoint.options.body, seeds.id_for))
    put(body, path, value)
    return json.dumps(body).encode()


def refusals(admin, body_operations, seeds, kind, values):
    """Yield each field of a type with the messages that it returns for each of the values of ``values(field)``."""
    for operation in body_operations:
        for path, field in fields_of(operation.endpoint.options.body, kind):
            for value in values(field):
                yield (
                    (operation.name, path, value),
                    details(send(admin, operation, seeds, with_value(operation, seeds, path, value))),
                )


def lacking(found, wanted) -> list:
    """Return the fields whose messages do not contain the text that ``wanted`` returns for the value."""
    return [(field, messages) for field, messages in found if not any(wanted(field[2]) in text for text in messages)]


def bounds_of(field):
    return next((v.min, v.max) for v in field.validators if isinstance(v, validate.Range))


# Messages ------------------------------------------------------------------------------------------------------------


def test_a_date_or_instant_out_of_range_is_refused_with_the_range(admin, body_operations, seeds):
    days = list(refusals(admin, body_operations, seeds, ma.Date, lambda _: ("1899-12-31", "2200-01-02")))
    instants = list(
        refusals(
            admin, body_operations, seeds, ma.AwareDateTime, lambda _: ("1899-12-31T23:59:59Z", "2200-01-01T00:00:01Z")
        )
    )

    assert len(days) > 8
    assert lacking(days, lambda _: "from 1900-01-01 to 2200-01-01") == []
    assert len(instants) > 8
    assert lacking(instants, lambda _: "from 1900-01-01T00:00:00Z to 2200-01-01T00:00:00Z") == []


def test_a_date_or_instant_in_another_format_is_refused_with_the_format(admin, body_operations, seeds):
    days = refusals(admin, body_operations, seeds, ma.Date, lambda _: ("31.12.2026", "2026-02-30", "2026-W01-1"))
    assert lacking(days, lambda _: "YYYY-MM-DD") == []
    instants = refusals(admin, body_operations, seeds, ma.AwareDateTime, lambda _: ("2026-01-01T00:00:00", "yesterday"))
    assert lacking(instants, lambda value: "offset" if value.startswith("2026") else "RFC 3339") == []


def test_a_number_out_of_range_is_refused_with_the_range(admin, body_operations, seeds):
    wrong, count = [], 0
    for kind in (fields.Integer, fields.Float):
        for operation in body_operations:
            for path, field in fields_of(operation.endpoint.options.body, kind):
                least, most = bounds_of(field)
                for value in (least - 1, most + 1, 10**30, "5"):
                    messages = details(send(admin, operation, seeds, with_value(operation, seeds, path, value)))
                    count += 1
                    if not any(f"from {least:g} to" in text and f"{most:g}" in text for text in messages) and not any(
                        f"from {least} to {most}" in text for text in messages
                    ):
                        wrong.append((operation.name, path, value, messages))

    assert count > 20
    assert wrong == []


@pytest.mark.parametrize("value", [30.0, 1.5, True, "30"])
def test_an_integer_consists_of_digits_only(admin, body_operations, seeds, value):
    found = list(refusals(admin, body_operations, seeds, fields.Integer, lambda _: (value,)))

    assert len(found) > 8
    assert lacking(found, lambda _: "whole number") == []


def test_a_number_between_two_steps_is_refused_with_the_step(admin, seeds):
    url = f"/api/workout-logs/{seeds.ids['log_id']}/sets/{seeds.ids['set_id']}/"

    (half,) = details(admin.patch(url, {"rir": 1.25}))
    assert "in steps of 0.5" in half
    (weight,) = details(admin.patch(url, {"load": "62.1234", "load_unit": "kg"}))
    assert "9999.999" in weight
    assert "three digits" in weight


def test_a_text_that_is_too_long_or_not_a_choice_is_refused_with_the_limit(admin, body_operations, seeds):
    def bounds(field):
        return [v for v in field.validators if isinstance(v, validate.Length) and v.max]

    wrong = []
    for operation in body_operations:
        for path, field in fields_of(operation.endpoint.options.body, ma.String):
            choices = [v for v in field.validators if isinstance(v, validate.OneOf)]
            value = "\u00fc" * 20_000 if operation.endpoint.options.most_bytes > 50_000 else None
            messages = details(send(admin, operation, seeds, with_value(operation, seeds, path, value)))
            wanted = [str(c) for v in choices for c in v.choices] or [str(v.max) for v in bounds(field)]
            other = isinstance(field, fields.EmailAddress) or path[-1] in {"load", "body_weight"}
            other = other or any(v.max >= len(value or "") > 0 for v in bounds(field))  # files take more than this
            if not other and not any(word in text for word in wanted for text in messages):
                wrong.append((operation.name, path, messages))

    assert wrong == []


# Query parameters ----------------------------------------------------------------------------------------------------


def test_an_empty_parameter_is_refused_by_every_operation(app, admin, seeds):
    wrong, count = [], 0
    for operation in operations(app):
        path = operation.address(seeds.ids).partition("?")[0]
        own = operation.endpoint.query_schema
        page = operation.endpoint.page_schema
        for name, field in {**(own.fields if own else {}), **(page.fields if page else {})}.items():
            for written in (f"{field.data_key or name}=", f"{field.data_key or name}"):
                response = admin.call(operation.method, f"{path}?{written}", {})
                count += 1
                codes = {e["pointer"]: e["code"] for e in response.raw.get_json(force=True).get("errors", ())}
                if response.status != 422 or codes.get(f"/{field.data_key or name}") != "empty":
                    wrong.append((operation.name, written, response.status))

    assert count > 200
    assert wrong == []


@pytest.mark.parametrize("value", ["%ff", "%E0%A4", "caf%E9", "%ed%a0%80"])
def test_a_parameter_that_is_not_utf_8_is_refused_by_name(admin, value):
    response = admin.get(f"/api/students/?q={value}")

    assert response.status == 422
    assert response.problem["errors"] == [
        {"pointer": "/q", "code": "encoding", "detail": "Must be percent-encoded UTF-8."}
    ]


@pytest.mark.parametrize("url", ["/api/students/?", "/api/me/?"])
def test_a_pointer_to_a_parameter_is_escaped(admin, url):
    """A slash in a name does not separate steps of the pointer (RFC 6901)."""
    wrong = {"a/b=1": "unknown", "a/b=": "empty", "a/b=1&a/b=2": "repeated", "a/b=%ff": "encoding"}
    for query, code in wrong.items():
        errors = admin.get(url + query.replace("b", "b~")).problem["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [("/a~1b~0", code)]


def test_a_parameter_with_unencoded_bytes_is_read_as_utf_8(admin):
    admin.made("/api/students/", {"code": new_id().hex, "given_name": "Ümit", "family_name": "Öztürkmen"})

    raw = admin.get("/api/students/", query_string="q=Öztürkmen")

    assert [one["family_name"] for one in raw.json["items"]] == ["Öztürkmen"]


def test_the_default_order_may_be_stated_with_or_without_a_cursor(app, admin, seeds):
    wrong, continued = [], 0
    for operation in operations(app):
        if not operation.endpoint.options.is_page:
            continue
        url = operation.address(seeds.ids)
        joint = "&" if "?" in url else "?"
        usual = operation.endpoint.options.sorts[0]
        plain, stated = (admin.get(f"{url}{joint}limit=1{sort}") for sort in ("", f"&sort={usual}"))
        if plain.status != 200 or plain.json != stated.json:
            wrong.append((operation.name, plain.status, stated.status))
            continue
        cursor = plain.json["next_cursor"]
        if cursor is None:
            continue
        continued += 1
        after, after_stated = (
            admin.get(f"{url}{joint}limit=1{sort}&cursor={cursor}") for sort in ("", f"&sort={usual}")
        )
        if after.status != 200 or after.json != after_stated.json:
            wrong.append((operation.name, "cursor", after.status, after_stated.status))

    assert continued > 15
    assert wrong == []


def test_the_default_order_of_a_search_may_be_stated_with_a_cursor(api, student):
    for number in range(3):
        student(given_name="Asha", family_name=f"Raonath{number}")

    cursor = api.get("/api/students/?q=raonath&limit=1").json["next_cursor"]

    plain = api.get(f"/api/students/?q=raonath&limit=1&cursor={cursor}")
    assert plain.json == api.get(f"/api/students/?q=raonath&limit=1&sort=relevance&cursor={cursor}").json
    assert api.get(f"/api/students/?q=raonath&limit=1&sort=name&cursor={cursor}").problem["code"] == "bad_cursor"


# Ids -----------------------------------------------------------------------------------------------------------------


def other_forms(one: str) -> list[str]:
    return [f"{{{one}}}", f"urn:uuid:{one}", one.replace("-", ""), f" {one}", f"{one}\n", one[:-1], f"{one}0"]


def test_an_id_is_accepted_only_in_canonical_form(app, admin, body_operations, seeds):
    student = seeds.ids["student_id"]
    bodies = list(refusals(admin, body_operations, seeds, ma.UUID, lambda _: other_forms(student)))
    assert len(bodies) > 50
    assert lacking(bodies, lambda _: "canonical form") == []

    wrong = []
    for operation in operations(app):
        if operation.method != "GET":
            continue
        for name in operation.parameters:
            for form in other_forms(seeds.ids[name])[:3]:
                response = admin.get(operation.address(seeds.ids, **{name: form}))
                if response.status != 404:
                    wrong.append((operation.name, form, response.status))
        for name, field in (operation.endpoint.query_schema.fields if operation.endpoint.query_schema else {}).items():
            if isinstance(field, ma.UUID):
                path = operation.address(seeds.ids).partition("?")[0]
                for form in other_forms(student)[:3]:
                    response = admin.get(path, query_string={field.data_key or name: form})
                    if response.status != 422:
                        wrong.append((operation.name, name, form, response.status))
    assert wrong == []


def test_an_id_is_accepted_in_upper_and_lower_case(admin, seeds):
    group, student = seeds.ids["group_id"].upper(), seeds.ids["student_id"].upper()

    assert admin.get(f"/api/students/{student}/").json["id"] == student.lower()
    lists = [admin.get(f"/api/students/?group_id={form}").json["items"] for form in (group, group.lower())]
    assert lists[0] == lists[1] != []
    own = str(new_id()).upper()
    made = admin.post("/api/groups/", {"id": own, "code": own[-8:], "name": "Upper"})
    assert (made.status, made.json["id"]) == (201, own.lower())


def test_roles_are_referred_to_by_ids_in_canonical_form(admin, seeds):
    role = seeds.ids["role_id"]

    assert admin.patch("/api/organization/", {"mfa_roles": [role.replace("-", "")]}).status == 422
    assert admin.patch("/api/organization/", {"mfa_roles": [role.upper()]}).json["mfa_roles"] == [role]
    assert admin.patch("/api/organization/", {"mfa_roles": []}).status == 200


# Preconditions and challenges ----------------------------------------------------------------------------------------


def test_any_of_the_tags_of_if_match_may_be_the_current_one(api, student):
    url = f"/api/students/{student()['id']}/"
    tag = api.get(url).headers["ETag"]

    for header in (f'"999-abc", {tag}', f'{tag},"999"', f'"of-another,with-a-comma",{tag}', f", {tag} ,", f"W/{tag}"):
        assert api.patch(url, {}, headers={"If-Match": header}).status == 200, header
    for header in ('"998", "999"', f'"999-{tag[3:]}'):
        assert api.patch(url, {"phone": "1"}, headers={"If-Match": header}).status == 412, header
    for header in (f"{tag} {tag}", f"*, {tag}", f"{tag};", tag[:-1]):
        assert api.patch(url, {"phone": "1"}, headers={"If-Match": header}).status == 422, header


def test_a_401_distinguishes_a_missing_from_an_invalid_token(api, app, tenant):
    ended = tenant.someone()
    ended.post("/api/auth/logout/everywhere/")
    plain, at_fault = 'Bearer realm="campshub"', 'Bearer realm="campshub", error="invalid_token"'

    for headers, challenge in (
        ({}, plain),
        ({"Authorization": "Basic YTpi"}, plain),
        ({"Authorization": "Bearer made-up"}, at_fault),
        ({"Authorization": f"Bearer chk_{'a' * 12}_{'b' * 43}"}, at_fault),
        (ended.headers, at_fault),
    ):
        response = type(api)(app, headers).get("/api/students/")
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, challenge), headers
    wrong = type(api)(app).post("/api/auth/token/", {"email": "no-one@example.org", "password": "x"})
    assert (wrong.status, wrong.headers["WWW-Authenticate"]) == (401, plain)
