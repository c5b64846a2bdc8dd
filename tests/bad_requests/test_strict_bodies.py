"""Bodies with duplicate keys, compressed bodies and empty patches get the same response from every operation."""

import gzip
import json
import time
import timeit

import orjson
import pytest

from campshub.core.db.models import new_id
from campshub.core.http.endpoint import read_json
from campshub.core.security.permissions import Role
from tests.bad_requests.conftest import JSON, send
from tests.surface import body_for, operations


@pytest.mark.parametrize("raw", [
    b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "b": 2}}', b'{"a": [1, {"b": 1, "b": 2}]}', b'{"a": 1, "\\u0061": 2}',
    b'{"a\\u003a": ":", "a:": 2}', b'{"x": "\\u003a", "a": 1, "a": 2}', b'{"": 1, "": 2}',
    b'{"a":' * 300 + b'{"b": 1, "b": 2}' + b"}" * 300,
])  # fmt: skip
def test_a_duplicate_key_is_refused_by_every_operation(admin, body_operations, seeds, raw):
    wrong = []
    for operation in body_operations:
        response = send(admin, operation, seeds, raw)
        problem = response.problem
        if (response.status, problem["code"]) != (400, "malformed_body") or "twice" not in problem["detail"]:
            wrong.append((operation.name, response.status, problem))

    assert wrong == []


def test_the_same_key_in_several_objects_and_colons_in_texts_are_not_duplicates(api):
    contact = {"name": "a: b :: \u003a", "relation": '":"', "phone": "1:2"}
    given = {"code": new_id().hex, "given_name": "A:", "family_name": "::", "guardians": [contact, contact]}
    for dumped in (orjson.dumps(given), json.dumps(given).replace(":", "\\u003a").replace("\\u003a ", ": ").encode()):
        body = {**json.loads(dumped), "code": new_id().hex}
        response = api.call("POST", "/api/students/", data=json.dumps(body).replace("A:", "A\\u003a"), headers=JSON)
        assert (response.status, response.json["given_name"]) == (201, "A:")


def test_the_cost_of_the_check_for_duplicate_keys_is_printed(record_property):
    rows = [{"student_id": str(new_id()), "code": "present", "note": "came by bus: late"} for _ in range(1_000)]
    raw = orjson.dumps({"records": rows})

    assert read_json(raw) == {"records": rows}
    ways = {"parsed": orjson.loads, "with the check": read_json, "by json.loads with a hook": _with_a_hook}
    took = {
        name: min(timeit.repeat(lambda way=way: way(raw), number=5, repeat=20, timer=time.thread_time)) / 5
        for name, way in ways.items()
    }
    costs = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in took.items())
    record_property("figure", f"a body of 1,000 marks ({len(raw) // 1024} KiB): {costs}")


def _with_a_hook(raw: bytes):
    def once(pairs):
        found = dict(pairs)
        assert len(found) == len(pairs)
        return found

    return json.loads(raw, object_pairs_hook=once)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_a_compressed_body_is_refused(admin, body_operations, seeds, encoding):
    for operation in body_operations:
        raw = orjson.dumps(body_for(operation.endpoint.options.body, seeds.id_for))
        response = send(admin, operation, seeds, gzip.compress(raw), **{"Content-Encoding": encoding})
        assert (response.status, response.problem["code"]) == (415, "unsupported_media_type"), operation.name
        assert response.headers["Accept-Encoding"] == "identity"


def test_a_body_with_content_encoding_identity_is_accepted(api):
    assert api.patch("/api/me/", {"name": "Asha"}, headers={"Content-Encoding": "identity"}).status == 200


def test_an_empty_patch_changes_nothing(app, seeds, sql):
    admin = seeds.tenant.the(Role.SUPERADMIN)

    def entries():
        return sql("SELECT count(*) FROM audit_log WHERE organization_id = %s", seeds.tenant.id)[0][0]

    patches = [o for o in operations(app) if o.method == "PATCH"]
    assert len(patches) > 12
    wrong = []
    for operation in patches:
        ids = {**seeds.ids, "user_id": str(seeds.tenant.the(Role.CLIENT).user_id)}
        if operation.rule.endswith("<uuid:code_id>/"):
            code = {"key": "k1", "label": "K", "counts_as": "present"}
            ids["code_id"] = admin.made("/api/attendance/codes/", code)["id"]
        url = operation.address(ids)
        first = admin.patch(url, {})
        before = entries()
        again = admin.patch(url, {}, headers={"If-Match": first.headers.get("ETag", "*")})
        if (first.status, again.status) != (200, 200) or again.json != first.json or entries() != before:
            wrong.append((operation.name, first.status, again.status, first.raw.text[:200]))

    assert wrong == []
