"""Every operation refuses an invalid body with a 4xx problem document, and writes nothing.

The operations are read from the application, so a new one is tested immediately.
"""

import copy
import json
from datetime import UTC, datetime

import orjson
import pytest
from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.db.models import new_id
from campshub.core.http.decorators import MIB
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import Rows
from tests.bad_requests.conftest import refused, send
from tests.declared import each
from tests.surface import body_for, fields_of, operations, put

TABLES = """
SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
   AND attname = 'organization_id'
"""


@pytest.fixture
def unchanged(seeds, sql):
    """Check that no row of the organization was added or removed."""

    def counts():
        parts = [f"(SELECT count(*) FROM {table} WHERE organization_id = %(id)s)" for (table,) in sql(TABLES)]
        return sql(f"SELECT {', '.join(parts)}".replace("%(id)s", f"'{seeds.tenant.id}'"))

    before = counts()
    yield
    assert counts() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b, 400) for b in (b"", b"{", b'{"a":}', b"nul", b"{'a': 1}", b"\xff\xfe", b'{"a": "\\ud800"}', b"NaN",
                             b'{"a": 1} x', b"[" * 5000, b'{"a":' * 3000)),
        *((b, 422) for b in (b"null", b"[]", b"1", b'"x"', b"true", b'{"no_such_field": 1}', b'{"": {}}')),
    ],
)  # fmt: skip
def test_a_body_that_is_not_an_object_of_the_schema_is_refused(body_operations, admin, seeds, unchanged, body, status):
    wrong = []
    for operation in body_operations:
        response = send(admin, operation, seeds, body)
        if not refused(response, status):
            wrong.append((operation.name, response.status))

    assert wrong == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
def test_a_body_without_the_json_media_type_is_refused(body_operations, admin, seeds, unchanged, kind):
    for operation in body_operations:
        body = orjson.dumps(body_for(operation.endpoint.options.body, seeds.id_for))
        assert refused(send(admin, operation, seeds, body, **{"Content-Type": kind}), 415), operation.name


def test_a_body_larger_than_the_operations_limit_is_refused(body_operations, admin, seeds, unchanged):
    sizes = set()
    for operation in body_operations:
        most = operation.endpoint.options.most_bytes
        sizes.add(most)
        assert refused(send(admin, operation, seeds, b" " * (most + 1)), 413), operation.name
        assert refused(send(admin, operation, seeds, b" " * most), 400), operation.name
    assert sizes == {MIB, 8 * MIB}


def test_a_body_that_the_operation_does_not_take_is_not_read_into_memory(app, admin, seeds):
    for operation in operations(app):
        if operation.method == "POST" and operation.endpoint.options.body is None:
            # A secret response accepts no key, so the body is not read; the request may be refused earlier.
            wanted = (403, 413) if operation.endpoint.options.is_secret else (413,)
            response = send(admin, operation, seeds, b" " * (MIB + 1), **{"Idempotency-Key": "x"})
            assert refused(response, *wanted)


def bodies_with(operation, seeds, value, kind=ma.String):
    """Yield the operation's body with a value in place of each field of a type, one after the other."""
    schema = operation.endpoint.options.body
    for path, _ in fields_of(schema, kind):
        body = copy.deepcopy(body_for(schema, seeds.id_for, whole=True))
        put(body, path, value)
        yield path, body


def is_client_error(response) -> bool:
    if response.status == 200 and "results" in response.json:
        return all(map(has_failed, response.json["results"]))
    return refused(response, 400, 403, 409, 422)


def has_failed(row) -> bool:
    """Return whether a row, or each row in it, is an error."""
    return all(map(has_failed, row["results"])) if row.get("results") else row["outcome"] == "error"


def test_no_string_field_accepts_nul(body_operations, admin, seeds):
    wrong = []
    for operation in body_operations:
        for value in ("a\x00b", "\x00"):
            for path, body in bodies_with(operation, seeds, value):
                response = admin.call(operation.method, operation.address(seeds.ids), body)
                if not is_client_error(response):
                    wrong.append((operation.name, path, response.status))

    assert wrong == []


INVISIBLE = ["\u200b", "\u200c\u200d", "\u3164", "\u2800", "\u00ad", "\ufe0f", "\u0301"]
NOT_ONE_LINE = ["a\x07b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "\u202eb", "a\u202ab", "a\u2066b\u2069"]


@pytest.mark.parametrize("value", [*INVISIBLE, *NOT_ONE_LINE], ids=ascii)
def test_no_name_accepts_invisible_text_or_several_lines(body_operations, admin, seeds, value):
    wrong, tried = [], 0
    for operation in body_operations:
        for path, body in bodies_with(operation, seeds, value, fields.Name):
            tried += 1
            response = admin.call(operation.method, operation.address(seeds.ids), body)
            if not is_client_error(response):
                wrong.append((operation.name, path, response.status))

    assert wrong == []
    assert tried > 60


# Texts of several lines, secrets, and texts with their own format.
OTHER_TEXTS = {name for texts in each("texts") for name in texts}


def test_each_text_field_is_a_name_or_is_listed_as_another_text(body_operations):
    texts = {
        (operation.name, path[-1] if path[-1] != "[]" else path[-2])
        for operation in body_operations
        for path, field in fields_of(operation.endpoint.options.body, ma.String)
        if not isinstance(field, fields.Name)
        and not any(isinstance(check, validate.OneOf) for check in field.validators)
    }

    undeclared = {(name, field) for name, field in texts if field not in OTHER_TEXTS}
    assert undeclared == set(), "use fields.Name, or add them to the texts of tests/<module>/declared.py"
    assert {field for _, field in texts} == OTHER_TEXTS


NIL, MAX = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


def points_at(pointers, path) -> bool:
    """Return whether one of the pointers has this path."""
    steps = ["0" if step == "[]" else step for step in path]
    return any(pointer.split("/")[1:] == steps for pointer in pointers)


def errors_of_first_row(document, path):
    """Return the place of a field within its row, and the pointers of the row's errors; rows may contain rows."""
    row, position = document["results"][0], path[2:]
    if row.get("results"):
        return errors_of_first_row(row, position)
    errors = (row.get("problem") or row)["errors"] if row["outcome"] == "error" else []
    return position, {error["pointer"] for error in errors}


@pytest.mark.parametrize("value", [NIL, MAX, NIL.replace("-", ""), MAX.upper()])
def test_no_id_in_a_body_is_the_nil_or_the_max_uuid(body_operations, admin, seeds, value):
    wrong, tried = [], 0
    for operation in body_operations:
        for path, body in bodies_with(operation, seeds, value, ma.UUID):
            body.pop("rest", None)  # a register's code, which is validated first
            response = admin.call(operation.method, operation.address(seeds.ids), body)
            tried += 1
            position, found = path, set()
            if response.status == 200:  # each row has its own result
                position, found = errors_of_first_row(response.json, path)
            elif response.status == 422:
                found = response.pointers
            if not points_at(found, position):
                wrong.append((operation.name, path, response.raw.get_data(as_text=True)))

    assert wrong == []
    assert tried > 20


@pytest.mark.parametrize("value", [NIL, MAX])
def test_no_id_in_a_query_is_the_nil_or_the_max_uuid(app, admin, seeds, value):
    wrong, tried = [], 0
    for operation in operations(app):
        schema = operation.endpoint.query_schema
        for name in (n for n, field in schema.fields.items() if isinstance(field, ma.UUID)) if schema else ():
            url = operation.address(seeds.ids)
            response = admin.call(operation.method, f"{url}{'&' if '?' in url else '?'}{name}={value}")
            tried += 1
            if response.status != 422 or response.pointers != {f"/{name}"}:
                wrong.append((operation.name, name, response.status))

    assert wrong == []
    assert tried > 8


@pytest.mark.parametrize("value", [5, True, {}, [], "x" * 100_000])
def test_no_string_field_accepts_other_types_or_long_texts(body_operations, admin, seeds, value):
    wrong = []
    for operation in body_operations:
        for path, body in bodies_with(operation, seeds, value):
            response = send(admin, operation, seeds, orjson.dumps(body))
            number = path[-1] in {"load", "body_weight"} and isinstance(value, int)  # weights may be numbers or strings
            if not (number and response.status < 500) and not is_client_error(response):
                wrong.append((operation.name, path, value, response.status))

    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ma.UUID, ["", "x", 5, [], "01234567-89ab-cdef-0123-456789abcdeg", "{}", True]),
        (ma.Date, ["", "2026-02-30", "26-01-01", "0001-01-01", "9999-12-31", 5, "2026-1-1", "2026-01-01T00:00:00Z"]),
        (ma.AwareDateTime, ["", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", 5, "now"]),
        (
            ma.AwareDateTime,  # ISO 8601, but not RFC 3339
            ["2026-01-01", "20260101T000000Z", "2026-01-01T00:00Z", "2026-W01-1T00:00:00Z", "2026-01-01T00:00:00,5Z"],
        ),
        (ma.Integer, ["5", 1.5, True, 2**31, -(2**31) - 1, 10**30, "x", [], -1]),
        (ma.Float, ["5", True, 1e300, -1, {}]),
        (ma.Boolean, ["yes", 1, 0, "on", [], "TRUE"]),
        (ma.List, [5, {}, "x", [None], [[[]]]]),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_no_field_accepts_values_of_other_types(body_operations, admin, seeds, kind, values):
    wrong = []
    for operation in body_operations:
        for value in values:
            for path, body in _replaced(operation, seeds, kind, value):
                response = send(admin, operation, seeds, json.dumps(body).encode())
                if not is_client_error(response):
                    wrong.append((operation.name, path, value, response.status, response.raw.text[:200]))

    assert wrong == []


def _replaced(operation, seeds, kind, value):
    schema = operation.endpoint.options.body
    if kind is not ma.List:
        yield from bodies_with(operation, seeds, value, kind)
        return
    for name, field in schema().load_fields.items():
        if isinstance(field, ma.List) and not (isinstance(field, Rows) and value == [None]):
            yield (name,), {**body_for(schema, seeds.id_for, whole=True), name: value}


def test_text_of_every_unicode_plane_is_returned_unchanged(api):
    text = "Zo\u00eb \U0001d504 \U0001f600 \u4e2d\u6587 \u05e2\u05d1 \u200fx \U0010fffd e\u0301 \u200d"
    made = api.made(
        "/api/students/", {"code": "S", "given_name": text, "family_name": text, "tags": [text], "gender": text}
    )

    read = api.get(f"/api/students/{made['id']}/").json

    assert (read["given_name"], read["family_name"], read["tags"], read["gender"]) == (text, text, [text], text)
    assert api.get("/api/students/", query_string={"q": text}).status == 200


def test_blanks_around_a_name_count_towards_its_length(admin):
    given = {"code": new_id().hex, "family_name": "Rao"}
    assert admin.post("/api/students/", {**given, "given_name": f"{'a' * 198}  "}).status == 201
    assert admin.post("/api/students/", {**given, "given_name": f"{'a' * 199}  "}).pointers == {"/given_name"}


def test_blanks_around_a_token_count_towards_its_length(admin):
    accept = {"name": "Asha Rao", "password": "wrong donkey charger"}
    for length, expected in ((500, 410), (501, 422)):
        response = admin.post("/api/invitations/accept/", {**accept, "token": f"x{' ' * (length - 1)}"})
        assert response.status == expected, length


@pytest.mark.parametrize("text", [" ", "\u200b", "\u00a0\u2003", "\u2800"])
@pytest.mark.parametrize("path", ["/api/students/", "/api/groups/", "/api/exercises/"])
def test_a_search_for_nothing_that_can_be_seen_is_refused(admin, path, text):
    response = admin.get(path, query_string={"q": text})

    assert (response.status, response.pointers) == (422, {"/q"})


@pytest.mark.parametrize("text", ["2026-01-01T06:30:00.5Z", "2026-01-01t12:00:00.50+05:30", "2026-01-01 06:30:00.500z"])
def test_every_form_of_an_instant_in_rfc_3339_is_accepted(text):
    assert fields.Instant().deserialize(text) == datetime(2026, 1, 1, 6, 30, 0, 500_000, tzinfo=UTC)


def test_the_detail_of_an_unknown_parameter_and_of_an_unknown_url_says_so(admin):
    unknown = admin.get("/api/students/?colour=red")

    assert [error["detail"] for error in unknown.json["errors"]] == ["Unknown parameter."]
    assert admin.get("/api/pupils/").json["detail"] == "This URL does not exist."


@pytest.mark.parametrize("email", ["asha@exa\u200bmple.org", "as\u2060ha@example.org", "asha@example\u00ad.org"])
def test_an_email_address_with_an_invisible_character_is_refused(admin, email):
    response = admin.post("/api/invitations/", {"email": email, "role": "trainer"})

    assert (response.status, response.pointers) == (422, {"/email"})


@pytest.mark.parametrize("note", ["", "  ", "\u200b"])
def test_a_note_without_a_visible_character_is_none(admin, note):
    code = new_id().hex
    made = admin.made("/api/students/", {"code": code, "given_name": "Asha", "medical_note": note})

    assert admin.get(f"/api/students/{made['id']}/medical-note/").json["medical_note"] is None
