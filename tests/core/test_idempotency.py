"""The same request sent twice has one effect and one response."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

BODY = {"code": "S-1", "given_name": "A", "family_name": "B"}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def stored_keys(sql, tenant) -> int:
    return sql("SELECT count(*) FROM idempotency_keys WHERE organization_id = %s", tenant.id)[0][0]


def test_the_second_request_gets_the_response_of_the_first(api, tenant, sql):
    first = api.post("/api/students/", BODY, headers=keyed("one"))
    api.patch(f"/api/students/{first.json['id']}/", {"given_name": "Changed"})

    again = api.post("/api/students/", BODY, headers=keyed("one"))

    assert (first.status, again.status) == (201, 201)
    assert again.raw.data == first.raw.data
    assert {name: again.headers[name] for name in ("ETag", "Location", "Content-Type")} == {
        name: first.headers[name] for name in ("ETag", "Location", "Content-Type")
    }
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert len(api.get("/api/students/").json["items"]) == 1
    assert stored_keys(sql, tenant) == 1


def test_a_different_body_with_the_same_key_is_refused(api):
    api.post("/api/students/", BODY, headers=keyed("one"))

    other = api.post("/api/students/", {**BODY, "code": "S-2"}, headers=keyed("one"))

    assert (other.status, other.problem["code"]) == (422, "idempotency_key_reused")
    assert len(api.get("/api/students/").json["items"]) == 1


def test_a_deeply_nested_body_that_is_not_read_is_accepted(api, student):
    """An undelete takes no body; with a key, a body still belongs to the request."""
    address = f"/api/students/{student()['id']}/undelete/"
    headers = {**keyed("one"), "Content-Type": "application/json"}
    deep = "[" * 300 + "]" * 300

    first = api.post(address, data=deep, headers=headers)
    again = api.post(address, data=deep, headers=headers)
    other = api.post(address, data=f"[{deep}]", headers=headers)

    assert (first.status, again.status, again.headers["Idempotent-Replayed"]) == (200, 200, "true")
    assert (other.status, other.problem["code"]) == (422, "idempotency_key_reused")


def test_an_equivalent_body_is_the_same_request(api, tenant, sql):
    """Another order of names, also of nested ones, other blanks, and another escape of a character."""
    first = {"code": "S-1", "given_name": "Zoë", "family_name": "B", "address": {"locality": "Pune", "region": "MH"}}
    address = '"address": {"region": "MH",  "locality": "Pune"}'
    otherwise = f'{{{address}, "family_name": "B", "given_name": "Zo\\u00eb", "code": "S-1"}}'
    headers = {**keyed("one"), "Content-Type": "application/json"}

    made = api.post("/api/students/", first, headers=keyed("one"))
    again = api.post("/api/students/", data=otherwise, headers=headers)
    other = api.post("/api/students/", data=otherwise.replace("Pune", "Poona"), headers=headers)

    assert (made.status, again.status, again.headers["Idempotent-Replayed"]) == (201, 201, "true")
    assert again.raw.data == made.raw.data
    assert (other.status, other.problem["code"]) == (422, "idempotency_key_reused")


def test_a_request_without_a_body_can_have_a_key(api, student):
    undelete = f"/api/students/{student()['id']}/undelete/"

    responses = [api.post(undelete, headers=keyed("one")) for _ in range(2)]

    assert [response.status for response in responses] == [200, 200]
    assert responses[1].headers["Idempotent-Replayed"] == "true"


def test_a_refused_request_does_not_use_its_key(api, student, tenant, sql):
    taken = student(code="S-1")

    refused = api.post("/api/students/", BODY, headers=keyed("one"))
    assert (refused.status, stored_keys(sql, tenant)) == (409, 0)
    api.patch(f"/api/students/{taken['id']}/", {"code": "S-0"})

    assert api.post("/api/students/", BODY, headers=keyed("one")).status == 201


def test_a_rollback_removes_the_key(api, tenant, sql, monkeypatch):
    def broken(*_given):
        raise RuntimeError("the commit fails")

    with monkeypatch.context() as patch:
        patch.setattr("campshub.core.db.unit_of_work.commit", broken)
        assert api.post("/api/students/", BODY, headers=keyed("one")).status == 500

    assert stored_keys(sql, tenant) == 0
    assert sql("SELECT count(*) FROM students WHERE organization_id = %s", tenant.id) == [(0,)]
    assert api.post("/api/students/", BODY, headers=keyed("one")).status == 201


def test_a_key_belongs_to_its_user_and_url(tenant, student):
    first, second = tenant.the(Role.ADMIN), tenant.someone(Role.ADMIN)
    made = student()
    undelete = f"/api/students/{made['id']}/undelete/"

    responses = [
        first.post("/api/students/", BODY, headers=keyed("one")),
        second.post("/api/students/", {**BODY, "code": "S-2"}, headers=keyed("one")),
        first.post(undelete, headers=keyed("one")),
    ]

    assert [response.status for response in responses] == [201, 201, 200]


def test_a_key_belongs_to_its_organization(tenant, other):
    responses = [p.the(Role.ADMIN).post("/api/students/", BODY, headers=keyed("one")) for p in (tenant, other)]

    assert [response.status for response in responses] == [201, 201]


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü", "a\tb"])
def test_a_key_is_1_to_255_visible_ascii_characters(api, key):
    assert api.post("/api/students/", BODY, headers=keyed(key)).status == 422
    assert api.post("/api/students/", BODY, headers=keyed("x" * 255)).status == 201


def test_a_key_on_a_request_that_changes_nothing_is_ignored(api, tenant, student, sql):
    address = f"/api/students/{student()['id']}/"

    assert api.get(address, headers=keyed("one")).status == 200
    assert api.patch(address, {"phone": "1"}, headers=keyed("one")).status == 200
    assert stored_keys(sql, tenant) == 0


def test_a_secret_response_is_not_stored(tenant, sql):
    body = {
        "name": "New",
        "time_zone": "UTC",
        "currency": "EUR",
        "admin_email": f"{new_id()}@example.org",
        "admin_name": "A",
        "admin_password": "correct horse battery",
    }

    made = tenant.the(Role.SUPERADMIN).post("/api/organizations/", body, headers=keyed("one"))

    assert made.status == 201
    assert stored_keys(sql, tenant) == 0
    assert sql("SELECT 1 FROM idempotency_keys WHERE organization_id = %s", made.json["id"]) == []


def test_while_the_first_request_runs_the_second_is_refused_with_a_retry_time(api, tenant, stack, database):
    with stack.primary.connect(database) as connection, connection.transaction():
        connection.execute("LOCK TABLE students IN ACCESS EXCLUSIVE MODE")  # blocks the first request in the middle
        responses: list = []
        first = threading.Thread(
            target=lambda: responses.append(api.post("/api/students/", BODY, headers=keyed("one")))
        )
        first.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'students'::regclass"
        deadline = time.monotonic() + 60
        while not connection.execute(waiting).fetchone()[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        second = api.post("/api/students/", BODY, headers=keyed("one"))
    first.join()

    assert (second.status, second.problem["code"]) == (409, "idempotency_key_in_flight")
    assert second.headers["Retry-After"] == "1"
    assert responses[0].status == 201
    assert api.post("/api/students/", BODY, headers=keyed("one")).headers["Idempotent-Replayed"] == "true"


def test_fifty_simultaneous_requests_have_one_effect(api, tenant, sql):
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(lambda _: api.post("/api/students/", BODY, headers=keyed("one")), range(50)))

    created = [response for response in responses if response.status == 201]
    waiting = [response.problem["code"] for response in responses if response.status != 201]
    assert created
    assert len({response.raw.data for response in created}) == 1
    assert set(waiting) <= {"idempotency_key_in_flight", "unavailable"}
    assert sum(response.headers.get("Idempotent-Replayed") is None for response in created) == 1
    assert sql("SELECT count(*) FROM students WHERE organization_id = %s", tenant.id) == [(1,)]
    assert sql("SELECT count(*) FROM audit_log WHERE organization_id = %s AND entity = 'students'", tenant.id) == [(1,)]
