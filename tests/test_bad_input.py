"""Whatever is sent, every operation answers with a 4xx problem document, and nothing is half-written.

The operations are read from the application, so that a new one is tried from its first day.
"""

import copy
import json

import orjson
import pytest
from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.db.models import new_id
from campshub.core.http.decorators import MIB
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import Rows
from campshub.core.security.permissions import Role
from tests.seeds import seed
from tests.surface import body_for, fields_of, operations, put

JSON = {"Content-Type": "application/json"}
TABLES = """
SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
   AND attname = 'organization_id'
"""


@pytest.fixture(scope="module")
def seeds(app):
    return seed(app, "Sendbad")


@pytest.fixture
def admin(seeds):
    return seeds.place.the(Role.SUPERADMIN)


@pytest.fixture(scope="module")
def takers(app):
    """All operations that take a body."""
    found = [o for o in operations(app) if o.handler.options.body is not None]
    assert len(found) > 8
    return found


@pytest.fixture
def unchanged(seeds, sql):
    """Look whether any row of the organization came or went."""

    def counts():
        parts = [f"(SELECT count(*) FROM {table} WHERE organization_id = %(id)s)" for (table,) in sql(TABLES)]
        return sql(f"SELECT {', '.join(parts)}".replace("%(id)s", f"'{seeds.place.id}'"))

    before = counts()
    yield
    assert counts() == before


def refused(answer, *statuses) -> bool:
    document = answer.problem
    return answer.status in statuses and document["status"] == answer.status and bool(document["trace_id"])


def sent(admin, operation, seeds, body: bytes, headers=JSON):
    return admin.call(operation.method, operation.address(seeds.ids), data=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b, 400) for b in (b"", b"{", b'{"a":}', b"nul", b"{'a': 1}", b"\xff\xfe", b'{"a": "\\ud800"}', b"NaN",
                             b'{"a": 1} x', b"[" * 5000, b'{"a":' * 3000)),
        *((b, 422) for b in (b"null", b"[]", b"1", b'"x"', b"true", b'{"no_such_field": 1}', b'{"": {}}')),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_of_the_schema_is_refused(takers, admin, seeds, unchanged, body, status):
    wrong = []
    for operation in takers:
        answer = sent(admin, operation, seeds, body)
        if not refused(answer, status):
            wrong.append((operation.name, answer.status))

    assert wrong == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(takers, admin, seeds, unchanged, kind):
    for operation in takers:
        body = orjson.dumps(body_for(operation.handler.options.body, seeds.id_for))
        assert refused(sent(admin, operation, seeds, body, {"Content-Type": kind}), 415), operation.name


def test_a_body_is_as_large_as_its_address_takes_and_not_a_byte_larger(takers, admin, seeds, unchanged):
    sizes = set()
    for operation in takers:
        most = operation.handler.options.most_bytes
        sizes.add(most)
        assert refused(sent(admin, operation, seeds, b" " * (most + 1)), 413), operation.name
        assert refused(sent(admin, operation, seeds, b" " * most), 400), operation.name
    assert sizes == {MIB, 8 * MIB}


def test_a_body_where_none_is_taken_is_not_read_into_memory(app, admin, seeds):
    for operation in operations(app):
        if operation.method == "POST" and operation.handler.options.body is None:
            huge = {"Content-Type": "application/json", "Idempotency-Key": "x"}
            # A secret response accepts no key, so the body is not read; the request may be refused earlier.
            wanted = (403, 413) if operation.handler.options.is_secret else (413,)
            assert refused(sent(admin, operation, seeds, b" " * (MIB + 1), huge), *wanted)


def poisoned(operation, seeds, value, kind=ma.String):
    """Yield the operation's body with each of its strings replaced in turn."""
    schema = operation.handler.options.body
    for path, _ in fields_of(schema, kind):
        body = copy.deepcopy(body_for(schema, seeds.id_for, whole=True))
        put(body, path, value)
        yield path, body


def answered_well(answer) -> bool:
    if answer.status == 200 and "results" in answer.json:
        return all(row["outcome"] == "error" for row in answer.json["results"])
    return refused(answer, 400, 403, 409, 422)


def test_no_string_takes_what_the_database_cannot_keep(takers, admin, seeds):
    wrong = []
    for operation in takers:
        for value in ("a\x00b", "\x00"):
            for path, body in poisoned(operation, seeds, value):
                answer = admin.call(operation.method, operation.address(seeds.ids), body)
                if not answered_well(answer):
                    wrong.append((operation.name, path, answer.status))

    assert wrong == []


UNSEEN = ["\u200b", "\u200c\u200d", "\u3164", "\u2800", "\u00ad", "\ufe0f", "\u0301"]
NOT_ONE_LINE = ["a\x07b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "\u202eb", "a\u202ab", "a\u2066b\u2069"]


@pytest.mark.parametrize("value", [*UNSEEN, *NOT_ONE_LINE], ids=ascii)
def test_no_name_takes_what_cannot_be_seen_or_is_not_one_line(takers, admin, seeds, value):
    wrong, tried = [], 0
    for operation in takers:
        for path, body in poisoned(operation, seeds, value, fields.Name):
            tried += 1
            answer = admin.call(operation.method, operation.address(seeds.ids), body)
            if not answered_well(answer):
                wrong.append((operation.name, path, answer.status))

    assert wrong == []
    assert tried > 60


# Texts of several lines, secrets, and what another rule reads whole.
NO_NAMES = {
    "note", "notes", "reason", "medical_note", "password", "present_password", "new_password", "admin_password", "otp",
    "token", "refresh_token", "id_token", "nonce", "issuer", "local_time", "load", "body_weight", "mfa_roles", "email",
    "admin_email", "currency", "time_zone", "country", "code", "key", "rest",
}  # fmt: skip


def test_each_text_of_a_body_is_a_name_or_says_here_that_it_is_none(takers):
    texts = {
        (operation.name, path[-1] if path[-1] != "[]" else path[-2])
        for operation in takers
        for path, field in fields_of(operation.handler.options.body, ma.String)
        if not isinstance(field, fields.Name)
        and not any(isinstance(check, validate.OneOf) for check in field.validators)
    }

    assert {(name, field) for name, field in texts if field not in NO_NAMES} == set()
    assert {field for _, field in texts} == NO_NAMES


NIL, MAX = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


def points_at(pointers, path) -> bool:
    """Return whether one of the pointers is that of a place."""
    steps = ["0" if step == "[]" else step for step in path]
    return any(pointer.split("/")[1:] == steps for pointer in pointers)


@pytest.mark.parametrize("value", [NIL, MAX, NIL.replace("-", ""), MAX.upper()])
def test_no_id_in_a_body_is_the_nil_or_the_max_uuid(takers, admin, seeds, value):
    wrong, tried = [], 0
    for operation in takers:
        for path, body in poisoned(operation, seeds, value, ma.UUID):
            body.pop("rest", None)  # a register's code, which would be refused first
            answer = admin.call(operation.method, operation.address(seeds.ids), body)
            tried += 1
            place, found = path, set()
            if answer.status == 200:  # each row has its own result
                row = answer.json["results"][0]
                place = path[2:]
                found = {error["pointer"] for error in row["errors"]} if row["outcome"] == "error" else set()
            elif answer.status == 422:
                found = answer.pointers
            if not points_at(found, place):
                wrong.append((operation.name, path, answer.response.get_data(as_text=True)))

    assert wrong == []
    assert tried > 20


@pytest.mark.parametrize("value", [NIL, MAX])
def test_no_id_in_a_query_is_the_nil_or_the_max_uuid(app, admin, seeds, value):
    wrong, tried = [], 0
    for operation in operations(app):
        schema = operation.handler.query_schema
        for name in (n for n, field in schema.fields.items() if isinstance(field, ma.UUID)) if schema else ():
            address = operation.address(seeds.ids)
            answer = admin.call(operation.method, f"{address}{'&' if '?' in address else '?'}{name}={value}")
            tried += 1
            if answer.status != 422 or answer.pointers != {f"/{name}"}:
                wrong.append((operation.name, name, answer.status))

    assert wrong == []
    assert tried > 8


@pytest.mark.parametrize("value", [5, True, {}, [], "x" * 100_000])
def test_no_string_takes_what_is_none_or_too_long(takers, admin, seeds, value):
    wrong = []
    for operation in takers:
        for path, body in poisoned(operation, seeds, value):
            answer = sent(admin, operation, seeds, orjson.dumps(body))
            number = path[-1] in {"load", "body_weight"} and isinstance(value, int)  # weights are written either way
            if not (number and answer.status < 500) and not answered_well(answer):
                wrong.append((operation.name, path, value, answer.status))

    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ma.UUID, ["", "x", 5, [], "01234567-89ab-cdef-0123-456789abcdeg", "{}", True]),
        (ma.Date, ["", "2026-02-30", "26-01-01", "0001-01-01", "9999-12-31", 5, "2026-1-1", "2026-01-01T00:00:00Z"]),
        (ma.AwareDateTime, ["", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", 5, "now"]),
        (ma.Integer, ["5", 1.5, True, 2**31, -(2**31) - 1, 10**30, "x", [], -1]),
        (ma.Float, ["5", True, 1e300, -1, {}]),
        (ma.Boolean, ["yes", 1, 0, "on", [], "TRUE"]),
        (ma.List, [5, {}, "x", [None], [[[]]]]),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_no_field_takes_what_is_not_of_its_kind(takers, admin, seeds, kind, values):
    wrong = []
    for operation in takers:
        for value in values:
            for path, body in _replaced(operation, seeds, kind, value):
                answer = sent(admin, operation, seeds, json.dumps(body).encode())
                if not answered_well(answer):
                    wrong.append((operation.name, path, value, answer.status, answer.response.text[:200]))

    assert wrong == []


def _replaced(operation, seeds, kind, value):
    schema = operation.handler.options.body
    if kind is not ma.List:
        yield from poisoned(operation, seeds, value, kind)
        return
    for name, field in schema().load_fields.items():
        if isinstance(field, ma.List) and not (isinstance(field, Rows) and value == [None]):
            yield (name,), {**body_for(schema, seeds.id_for, whole=True), name: value}


def test_text_of_every_plane_comes_back_as_it_was_sent(api):
    text = "Zo\u00eb \U0001d504 \U0001f600 \u4e2d\u6587 \u05e2\u05d1 \u200fx \U0010fffd e\u0301 \u200d"
    made = api.made(
        "/api/students/", {"code": "S", "given_name": text, "family_name": text, "tags": [text], "gender": text}
    )

    read = api.get(f"/api/students/{made['id']}/").json

    assert (read["given_name"], read["family_name"], read["tags"], read["gender"]) == (text, text, [text], text)
    assert api.get("/api/students/", query_string={"q": text}).status == 200


def test_parameters_that_are_unknown_repeated_or_wrong_are_refused_by_name(app, admin, seeds):
    for operation in operations(app):
        if operation.method != "GET":
            continue
        address = operation.address(seeds.ids)
        joint = "&" if "?" in address else "?"
        unknown = admin.get(f"{address}{joint}no_such=1")
        assert refused(unknown, 422), operation.name
        assert unknown.pointers == {"/no_such"}
        for name, field in (operation.handler.page_schema.fields if operation.handler.page_schema else {}).items():
            twice = admin.get(f"{address}{joint}{name}=1&{name}=1")
            assert refused(twice, 422), operation.name
            assert f"/{field.data_key or name}" in twice.pointers


@pytest.mark.parametrize("query", [
    "limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=1_0", "limit=%EF%BC%91", "limit=1e1",
    "limit=" + "9" * 5000,
    "cursor=", "cursor=x", "cursor=%00", "cursor=" + "x" * 5000, "sort=", "sort=nothing", "sort=name,code", "fields=",
    "fields=nothing", "fields=id,,code", "%00=1", "fields=%00", "=1", "limit=%ff", "&" * 3000 + "x=1", "limit[]=1",
])  # fmt: skip
def test_lists_refuse_bad_pages(app, admin, seeds, query):
    for operation in operations(app):
        if operation.handler.options.is_page:
            address = operation.address(seeds.ids)
            answer = admin.get(f"{address}{'&' if '?' in address else '?'}{query}")
            assert refused(answer, 400, 422), (operation.name, query, answer.status)


def test_filters_refuse_nul_and_what_is_not_of_their_kind(app, admin, seeds):
    wrong = []
    for operation in operations(app):
        schema = operation.handler.options.query
        for name, field in (schema().load_fields if schema else {}).items():
            for value in ("%00", "x%00x", *(() if isinstance(field, ma.String) else ("", "x", "%ff", "9" * 400))):
                path = operation.address(seeds.ids).partition("?")[0]
                answer = admin.call(operation.method, f"{path}?{field.data_key or name}={value}", {})
                if not refused(answer, 422):
                    wrong.append((operation.name, name, value, answer.status))

    assert wrong == []


@pytest.mark.parametrize("host", [
    "evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "", "[::1]", "localhost, evil", "local host",
    "*",
])  # fmt: skip
def test_a_host_that_is_not_listed_is_refused(admin, host):
    for address in ("/api/me/", "/api/auth/token/", "/docs/", "/nowhere/"):
        answer = admin.get(address, headers={"Host": host})
        assert refused(answer, 400), (address, host, answer.status)
        assert answer.problem["code"] == "unlisted_host"
    assert admin.get("/live/", headers={"Host": host}).status == 200


def test_listed_hosts_are_served_on_any_port(admin):
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1"):
        assert admin.get("/api/me/", headers={"Host": host}).status == 200


def test_methods_that_an_address_does_not_know_are_named_in_the_refusal(app, admin, seeds):
    for operation in operations(app):
        address = operation.address(seeds.ids)
        rules = {o.method for o in operations(app) if o.rule == operation.rule}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "FROB"} - rules:
            answer = admin.call(method, address)
            assert refused(answer, 405), (method, address, answer.status)
            assert rules <= {m.strip() for m in answer.headers["Allow"].split(",")}
        options = admin.call("OPTIONS", address)
        assert options.status == 200
        assert rules <= {m.strip() for m in options.headers["Allow"].split(",")}


def test_head_answers_as_get_without_a_body(app, admin, seeds):
    for operation in operations(app):
        if operation.method == "GET":
            address = operation.address(seeds.ids)
            head, get = admin.call("HEAD", address), admin.get(address)
            assert (head.status, head.response.data) == (get.status, b""), operation.name
            assert head.headers["Content-Type"] == get.headers["Content-Type"]
            assert head.headers.get("ETag") == get.headers.get("ETag")


@pytest.mark.parametrize("path", [
    "/", "/api/", "/api/nothing/", "/api/students/1/", "/api/students/%00/", "/api/students/%ff/", "/api/../etc/passwd",
    "/api/students/00000000-0000-0000-0000-00000000000g/", "/api/" + "x" * 5000, "/docs/nothing",
])  # fmt: skip
def test_what_is_not_there_is_not_found(admin, path):
    assert refused(admin.get(path), 404)


def test_a_tag_that_is_none_is_refused_and_any_tag_may_be_asked_for(admin, seeds):
    address = f"/api/students/{seeds.ids['student_id']}/"

    for tag in ("x", '"x"', "1", '"1', '""', '"99999999999"', '"1" "2"', "\xff"):
        assert refused(admin.patch(address, {"phone": "1"}, headers={"If-Match": tag}), 422), tag
    for tag in ("x", '"x"', ",,", "\xff", 'W/"a", "b"'):
        assert admin.get(address, headers={"If-None-Match": tag}).status == 200
    assert admin.get(address, headers={"If-None-Match": "*"}).status == 304
    assert admin.patch(address, {"phone": "1"}, headers={"If-Match": "*"}).status == 200


def test_ids_of_requests_are_taken_over_only_where_they_are_well_formed(admin):
    good = admin.get("/api/me/", headers={"X-Request-ID": "abc-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    bad = admin.get("/api/nothing/", headers={"X-Request-ID": "a b", "traceparent": "00-x-y-01"})

    assert good.headers["X-Request-ID"] == "abc-1"
    assert bad.headers["X-Request-ID"] == bad.problem["trace_id"]
    assert len(bad.problem["trace_id"]) == 32


def test_blanks_around_a_name_count_in_its_length(admin):
    given = {"code": new_id().hex, "family_name": "Rao"}
    assert admin.post("/api/students/", {**given, "given_name": f"{'a' * 198}  "}).status == 201
    assert admin.post("/api/students/", {**given, "given_name": f"{'a' * 199}  "}).pointers == {"/given_name"}
