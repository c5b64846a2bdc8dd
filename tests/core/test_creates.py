"""Repeated creates, at the same moment or later: one row, and the same response."""

import time

import pytest

from campshub.core.db import unit_of_work
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.core.conftest import new_body
from tests.seeds import seed

TODAY = time.strftime("%Y-%m-%d")


@pytest.fixture(scope="module")
def seeds(app):
    return seed(app, "Okapi")


def test_two_identical_creates_at_the_same_moment_create_one_row_and_respond_alike(creates, seeds, simultaneously):
    admin, wrong = seeds.tenant.the(Role.ADMIN), []
    for operation in creates:
        url, body = operation.address(seeds.ids), new_body(operation, seeds)

        first, second = simultaneously(lambda a=url, b=body: admin.post(a, b), lambda a=url, b=body: admin.post(a, b))

        if (first.status, second.status) != (201, 200) or first.json != second.json:
            wrong.append((operation.name, first.status, second.status, second.raw.get_data(as_text=True)))
    assert wrong == []


def test_two_different_creates_under_one_id_at_the_same_moment_are_a_conflict(tenant, simultaneously):
    api, body = tenant.the(Role.ADMIN), {"id": str(new_id()), "code": "A", "name": "Blue"}

    first, second = simultaneously(
        lambda: api.post("/api/groups/", body), lambda: api.post("/api/groups/", {**body, "name": "Red"})
    )

    assert (first.status, second.status, second.problem["code"]) == (201, 409, "id_taken")
    assert second.problem["present"] == {"id": body["id"], "version": 1}


def test_the_waiting_create_succeeds_if_the_first_is_rolled_back(tenant, simultaneously, monkeypatch):
    api, body, complete = (
        tenant.the(Role.ADMIN),
        {"id": str(new_id()), "code": "A", "name": "Blue"},
        unit_of_work.commit_with_effects,
    )
    calls = []

    def failing(*given):
        calls.append(given)
        if len(calls) == 1:
            raise RuntimeError("the first one's commit fails")
        return complete(*given)

    monkeypatch.setattr(unit_of_work, "commit_with_effects", failing)
    first, second = simultaneously(lambda: api.post("/api/groups/", body), lambda: api.post("/api/groups/", body))

    assert (first.status, second.status) == (500, 201)


def rows_of(count, *, with_ids):
    rows = [{"code": f"S-{n}", "given_name": "A", "family_name": f"B{n}"} for n in range(count)]
    return [{**row, "id": str(new_id())} for row in rows] if with_ids else rows


def test_two_identical_bulk_creates_at_the_same_moment_create_each_student_once(tenant, simultaneously, sql):
    api, rows = tenant.the(Role.ADMIN), rows_of(20, with_ids=True)

    first, second = simultaneously(
        lambda: api.post("/api/students/bulk/", {"students": rows}),
        lambda: api.post("/api/students/bulk/", {"students": rows[::-1]}),
    )

    assert first.json["summary"] == {"created": 20, "updated": 0, "unchanged": 0, "error": 0}
    assert second.json["summary"] == {"created": 0, "updated": 0, "unchanged": 20, "error": 0}
    assert [row["id"] for row in second.json["results"]] == [row["id"] for row in rows[::-1]]
    assert [row["index"] for row in second.json["results"]] == list(range(20))
    assert sql("SELECT count(*) FROM students WHERE organization_id = %s", tenant.id) == [(20,)]


@pytest.mark.parametrize("with_ids", [True, False])
def test_bulk_creates_of_the_same_students_in_different_orders_do_not_deadlock(tenant, simultaneously, sql, with_ids):
    api, rows = tenant.the(Role.ADMIN), rows_of(5, with_ids=with_ids)
    middle = {"code": "S-2", "given_name": "A", "family_name": "B"}

    one, *bulks = simultaneously(
        lambda: api.post("/api/students/", middle),
        lambda: api.post("/api/students/bulk/", {"students": rows}),
        lambda: api.post("/api/students/bulk/", {"students": rows[::-1]}),
    )

    assert [response.status for response in (one, *bulks)] == [201, 200, 200]
    counted = [response.json["summary"] for response in bulks]
    assert sum(summary["created"] for summary in counted) == 4
    assert sum(summary["error"] for summary in counted) == (2 if with_ids else 6)
    there = {str(row[0]) for row in sql("SELECT id FROM students WHERE organization_id = %s", tenant.id)}
    assert {row["id"] for response in bulks for row in response.json["results"]} == there


def test_a_refused_row_of_a_bulk_create_names_the_student_who_has_the_code(tenant, student):
    api, there, gone = tenant.the(Role.ADMIN), student(code="S-0"), student(code="S-9")
    api.delete(f"/api/students/{gone['id']}/")
    new, person = str(new_id()), {"given_name": "A", "family_name": "B"}

    response = api.post(
        "/api/students/bulk/",
        {
            "students": [
                {"id": str(new_id()), "code": "S-0", **person},
                {"id": new, "code": "S-1", **person},
                {"code": "S-1", **person},
                {"code": "S-2", "external_id": "x", **person},
                {"id": str(new_id()), "code": "S-3", "external_id": "x", **person},
                {"code": "S-9", **person},
                {"id": gone["id"], "code": "S-10", **person},
                {"code": 7},
            ]
        },
    )

    results = response.json["results"]
    assert [row["outcome"] for row in results] == ["error", "created", "error", "created", *["error"] * 4]
    assert [row["id"] for row in results] == [there["id"], new, new, results[3]["id"], None, gone["id"], None, None]
    codes = [[error["code"] for error in row["errors"]] for row in results]
    assert codes[:7] == [["code_taken"], [], ["code_taken"], [], ["external_id_taken"], ["code_taken"], ["deleted"]]
    assert "deleted" in results[5]["errors"][0]["detail"]


def test_a_row_of_a_bulk_create_with_a_taken_login_has_the_code_of_a_single_create(tenant):
    api, login = tenant.the(Role.ADMIN), str(tenant.someone(Role.CLIENT).user_id)
    person = {"given_name": "Asha", "user_id": login}
    api.made("/api/students/", {"code": "S-0", **person})

    single = api.post("/api/students/", {"code": "S-1", **person})
    bulk = api.post("/api/students/bulk/", {"students": [{"code": "S-1", **person}]})

    errors = bulk.json["results"][0]["errors"]
    assert [error["code"] for error in errors] == [single.problem["code"]] == ["login_taken"]


def test_a_student_may_have_the_id_of_a_user(api, tenant):
    trainer = tenant.the(Role.TRAINER)
    assert trainer.patch("/api/me/", {"name": "Asha Rao"}).status == 200
    body = {"id": str(trainer.user_id), "code": "S-1", "given_name": "Asha", "family_name": "Rao"}
    row = {"id": str(api.user_id), "code": "S-2", "given_name": "Amit", "family_name": "Rao"}
    new = {"id": str(new_id()), "code": "S-3", "given_name": "New", "family_name": "Rao"}

    first = api.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    bulk = api.post("/api/students/bulk/", {"students": [row, new]})
    changed = api.patch(f"/api/students/{trainer.user_id}/", {"phone": "1"})
    trainer.patch("/api/me/", {"name": "Asha R"})

    assert (first.status, changed.status) == (201, 200)
    assert bulk.json["summary"] == {"created": 2, "updated": 0, "unchanged": 0, "error": 0}
    again = api.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    entries = api.get(f"/api/audit/?person_id={trainer.user_id}").json["items"]
    logged = [(entry["entity"], entry["action"]) for entry in entries]
    assert {("students", "created"), ("students", "changed"), ("users", "changed")} <= set(logged)
    assert {entry["after"].get("given_name") for entry in entries if entry["entity"] == "students"} == {"Asha", None}
    for student_id, name in ((row["id"], "Amit"), (new["id"], "New")):
        entries = api.get(f"/api/audit/?entity_id={student_id}&entity=students").json["items"]
        assert [entry["after"]["given_name"] for entry in entries] == [name]


@pytest.mark.parametrize("url", ["/api/students/", "/api/attendance/sessions/", "/api/groups/"])
def test_a_repeated_create_is_compared_after_defaults(api, url):
    body = {
        "/api/students/": {"code": "S-1", "given_name": "A", "family_name": "B", "address": {"locality": "Pune"}},
        "/api/attendance/sessions/": {"local_date": TODAY, "slot": "9:00"},
        "/api/groups/": {"code": "G-1", "name": "Blue"},
    }[url] | {"id": str(new_id())}
    spelled_out = {
        "/api/students/": {"phone": None, "status": "active", "tags": [], "medical_note": None},
        "/api/attendance/sessions/": {"group_id": None, "slot": "09:00", "notes": None, "status": "scheduled"},
        "/api/groups/": {"kind": "class", "capacity": None, "trainer_ids": []},
    }[url]
    first = api.post(url, body)

    again, other = api.post(url, {**body, **spelled_out}), api.post(url, {**body, "status": "open"})

    assert (first.status, again.status) == (201, 200), again.raw.get_data(as_text=True)
    assert again.json == first.json
    assert other.status in (409, 422)
