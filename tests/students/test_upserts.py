"""Creating or changing students as another system knows them, and marking those who have left."""

from datetime import timedelta

import pytest

BULK = "/api/students/bulk/"
LEAVERS = f"{BULK}leavers/"
NAMES = {"given_name": "Asha", "family_name": "Rao"}


def put_url(external_id):
    return f"/api/students/by-external-id/{external_id}/"


@pytest.fixture
def upsert(api):
    """Return a function that sends rows and returns the response."""
    return lambda *rows, **options: api.post(BULK, {"students": list(rows), "on_existing": "update", **options})


def outcomes(response):
    assert response.status == 200, response.raw.text
    return [row["outcome"] for row in response.json["results"]]


def test_a_put_creates_then_changes_then_changes_nothing(api):
    made = api.put(put_url("E 1"), {"code": "S-1", **NAMES, "tags": ["bus"]})
    changed = api.put(put_url("E 1"), {"code": "S-1", "phone": "2"})
    again = api.put(put_url("E 1"), {"code": "S-1", "phone": "2"})

    assert [made.status, changed.status, again.status] == [201, 200, 200]
    assert (made.json["external_id"], made.json["status"]) == ("E 1", "active")
    assert "Location" not in made.headers  # it is the URL of the request
    assert changed.json == api.get(f"/api/students/{made.json['id']}/").json
    assert (changed.json["id"], changed.json["tags"], changed.json["given_name"]) == (made.json["id"], ["bus"], "Asha")
    assert [one.json["version"] for one in (made, changed, again)] == [1, 2, 2]


def test_a_put_refuses_what_another_student_has(api, student):
    student(code="taken")
    gone = student(external_id="E-2")
    api.delete(f"/api/students/{gone['id']}/")

    code = api.put(put_url("E-1"), {"code": "taken", **NAMES})
    nameless = api.put(put_url("E-1"), {"code": "S-1"})
    deleted = api.put(put_url("E-2"), {"code": "S-2", **NAMES})
    stale = api.put(put_url("E-1"), {"code": "S-1", **NAMES}, headers={"If-Match": '"1-x"'})

    assert (code.status, code.problem["code"]) == (409, "code_taken")
    assert (nameless.status, nameless.pointers) == (422, {"/given_name"})
    assert (deleted.status, deleted.problem["code"], deleted.problem["present"]["id"]) == (409, "deleted", gone["id"])
    assert stale.status == 412
    assert api.put(put_url("a%00b"), {"code": "S-1", **NAMES}).status == 422
    assert api.get("/api/students/").json["items"][0]["code"] == "taken"


def test_a_bulk_upsert_creates_updates_and_leaves_students(api, student, upsert):
    present, same = student(code="S-1", tags=["bus"], phone="1"), student(code="S-2", phone="1")
    gone = student(code="S-3")
    api.delete(f"/api/students/{gone['id']}/")
    rows = [
        {"code": "S-1", "phone": "2"},
        {"code": "S-2", "phone": "1"},
        {"code": "S-4", **NAMES},
        {"code": "S-4", **NAMES},
        {"code": "S-3", "phone": "2"},
        {"code": "S-5", "given_name": "A", "external_id": "E", "date_of_birth": "2190-01-01"},
        {"code": "S-6", "given_name": 5},
    ]
    rows = [{**NAMES, **row} for row in rows]

    dry, response = upsert(*rows, dry_run=True), upsert(*rows)

    expected = ["updated", "unchanged", "created", "error", "error", "error", "error"]
    assert outcomes(dry) == outcomes(response) == expected
    assert response.json["summary"] == {"created": 1, "updated": 1, "unchanged": 1, "error": 4}
    ids = [row["id"] for row in response.json["results"]]
    assert ids[:2] == [present["id"], same["id"]]
    assert ids[4] == gone["id"]
    assert dry.json["results"][2]["id"] is None
    assert [row["errors"][0]["code"] for row in response.json["results"][3:]] == [
        "repeated",
        "deleted",
        "in_future",
        "invalid",
    ]
    after = api.get(f"/api/students/{present['id']}/").json
    assert (after["phone"], after["tags"], after["version"]) == ("2", ["bus"], 2)
    assert api.get(f"/api/students/{ids[2]}/").json["code"] == "S-4"
    assert outcomes(upsert(*rows[:3])) == ["unchanged"] * 3


def test_an_external_id_finds_a_student_whose_code_changes(api, student, upsert):
    present, holder = student(code="old", external_id="E-1"), student(code="taken")

    response = upsert(
        {"code": "new", "external_id": "E-1", **NAMES},
        {"code": "taken", "external_id": "E-2", **NAMES},
        {"code": "S-3", **NAMES},
        key="external_id",
    )

    results = response.json["results"]
    assert outcomes(response) == ["updated", "error", "error"]
    assert (results[0]["id"], api.get(f"/api/students/{present['id']}/").json["code"]) == (present["id"], "new")
    assert (results[1]["id"], results[1]["errors"][0]["code"]) == (holder["id"], "code_taken")
    assert results[2]["errors"][0]["pointer"] == "/external_id"


def test_a_bulk_upsert_takes_a_fixed_number_of_statements(upsert):
    def rows(first, last):
        return [{"code": f"S-{n}", "given_name": "A", "phone": str(last)} for n in range(first, last)]

    created, mixed = upsert(*rows(0, 5)), upsert(*rows(3, 40))

    assert outcomes(mixed).count("updated") == 2
    assert outcomes(mixed).count("created") == 35
    assert len(created.queries) <= 5
    assert len(mixed.queries) <= 7


def test_a_student_created_at_the_same_moment_is_changed(api, simultaneously):
    rows = [{"code": "S-1", **NAMES, "phone": str(n)} for n in range(2)]

    first, second = simultaneously(
        *(lambda row=row: api.post(BULK, {"students": [row], "on_existing": "update"}) for row in rows)
    )

    assert (outcomes(first), outcomes(second)) == (["created"], ["updated"])
    assert [row["phone"] for row in api.get("/api/students/").json["items"]] == ["1"]


def test_a_dry_run_of_a_bulk_create_creates_no_one(api):
    response = api.post(BULK, {"students": [{"code": "S-1", **NAMES}], "dry_run": True})

    assert (outcomes(response), response.json["results"][0]["id"]) == (["created"], None)
    assert api.get("/api/students/").json["items"] == []


def test_students_missing_from_a_full_list_leave(api, student, today):
    here, missing = student(external_id="E-1"), student(external_id="E-2")
    later = student(external_id="E-3", joined_on=str(today + timedelta(days=9)))
    unknown, alumni = student(), student(external_id="E-4", status="alumni")
    body = {"key": "external_id", "values": ["E-1", "E-9"], "max_removed": 2}

    refused, dry = api.post(LEAVERS, {**body, "max_removed": 1}), api.post(LEAVERS, {**body, "dry_run": True})
    states = [api.get(f"/api/students/{row['id']}/").json["status"] for row in (here, missing, later)]
    response, again = api.post(LEAVERS, body), api.post(LEAVERS, body)

    assert (refused.status, refused.problem["code"]) == (409, "too_many_leavers")
    assert states == ["active"] * 3
    assert {row["id"] for row in dry.json["students"]} == {missing["id"], later["id"]}
    assert (response.json["removed"], again.json["removed"]) == (2, 0)
    assert len(response.queries) <= 4
    after = [api.get(f"/api/students/{row['id']}/").json for row in (here, missing, later, unknown, alumni)]
    assert [row["status"] for row in after] == ["active", "inactive", "inactive", "active", "alumni"]
    assert [row["left_on"] for row in after] == [None, str(today), str(today + timedelta(days=9)), None, None]


def test_an_empty_list_removes_everyone_only_if_that_many_may_leave(api, student):
    for _ in range(3):
        student()
    body = {"key": "code", "values": []}

    assert api.post(LEAVERS, {**body, "max_removed": 2}).problem["code"] == "too_many_leavers"
    assert api.post(LEAVERS, {**body, "max_removed": 3, "left_on": "2026-01-01"}).json["removed"] == 3
