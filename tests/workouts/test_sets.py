"""Sets of an existing log: appended while training, changed, deleted."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue

SQUAT = str(catalogue.exercise_id("back_squat"))
BENCH = str(catalogue.exercise_id("bench_press"))
PLANK = str(catalogue.exercise_id("plank"))


@pytest.fixture
def sets(log):
    """The log with one set, the URL of its sets, and the id of its exercise entry."""
    made = log()
    return made, f"/api/workout-logs/{made['id']}/sets/", made["exercises"][0]["id"]


def _read(api, made):
    return api.get(f"/api/workout-logs/{made['id']}/").json


def test_appending_a_set_takes_three_statements(api, sets):
    made, url, exercise = sets

    by_place = api.post(url, {"log_exercise_id": exercise, "reps": 5, "load": "60", "load_unit": "kg"})
    by_exercise = api.post(url, {"exercise_id": SQUAT, "reps": 4}, headers={"Idempotency-Key": "one"})

    for response, position in ((by_place, 2), (by_exercise, 3)):
        assert (response.status, response.json["position"], response.json["log_exercise_id"]) == (
            201,
            position,
            exercise,
        )
        assert len(response.queries) <= 3, response.queries
    read = _read(api, made)
    assert read["exercises"][0]["sets"][1:] == [by_place.json, by_exercise.json]
    assert api.get(by_place.headers["Location"]).json == by_place.json
    assert (read["set_count"], read["volume_grams"]) == (3, 800_000)


def test_a_set_of_an_exercise_new_to_the_log_appends_an_entry(api, sets):
    made, url, _ = sets

    first = api.post(url, {"exercise_id": PLANK, "seconds": 60})
    second = api.post(url, {"exercise_id": PLANK, "seconds": 50})
    third = api.post(url, {"exercise_id": BENCH, "reps": 5})

    assert len(first.queries) <= 3
    assert [response.json["position"] for response in (first, second, third)] == [1, 2, 1]
    assert [(e["name"], e["position"], len(e["sets"])) for e in _read(api, made)["exercises"]] == [
        ("Back Squat", 1, 1),
        ("Plank", 2, 2),
        ("Bench Press", 3, 1),
    ]


def test_a_retry_returns_the_existing_set_and_another_body_is_refused(api, sets, log):
    made, url, _ = sets
    body = {"id": str(new_id()), "exercise_id": SQUAT, "reps": 5}
    first = api.post(url, body)
    api.patch(f"{url}{body['id']}/", {"rir": 2})

    again = api.post(url, body)
    another = api.post(url, {**body, "reps": 6})
    other_log = api.post(f"/api/workout-logs/{log()['id']}/sets/", body)

    assert (first.status, again.status, again.json["rir"]) == (201, 200, 2)
    assert [(a.status, a.problem["code"]) for a in (another, other_log)] == [(409, "id_taken")] * 2
    assert len(_read(api, made)["exercises"][0]["sets"]) == 2
    api.delete(f"{url}{body['id']}/")
    late = api.post(url, body)
    assert (late.status, late.problem["code"]) == (409, "deleted"), "a late retry brings nothing back"
    assert len(_read(api, made)["exercises"][0]["sets"]) == 1


def test_concurrent_appends_are_all_stored_at_different_positions(api, sets, tenant):
    made, url, spot = sets
    clients = [tenant.someone(Role.ADMIN) for _ in range(4)]

    def append(number):
        where = {"log_exercise_id": spot} if number % 2 else {"exercise_id": PLANK}
        return clients[number % 4].post(url, {**where, "id": str(new_id()), "seconds": number})

    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(append, range(24)))

    assert [a.status for a in responses] == [201] * 24
    exercises = _read(api, made)["exercises"]
    assert [(e["name"], [s["position"] for s in e["sets"]]) for e in exercises] == [
        ("Back Squat", list(range(1, 14))),
        ("Plank", list(range(1, 13))),
    ]


def test_many_identical_concurrent_appends_create_one_set(api, sets):
    made, url, _ = sets
    body = {"id": str(new_id()), "exercise_id": BENCH, "reps": 5}

    with ThreadPoolExecutor(6) as threads:
        responses = list(threads.map(lambda _: api.post(url, body), range(6)))

    assert sorted(a.status for a in responses) == [200] * 5 + [201]
    assert [len(e["sets"]) for e in _read(api, made)["exercises"]] == [1, 1]


def test_a_change_of_a_set_recomputes_its_weight(api, sets):
    made, url, _ = sets
    one = made["exercises"][0]["sets"][0]
    at = f"{url}{one['id']}/"
    tag = api.get(at).headers["ETag"]

    first = api.patch(at, {"load": "225", "load_unit": "lb", "reps": 3}, headers={"If-Match": tag})
    second = api.patch(at, {"reps": 9}, headers={"If-Match": tag})

    assert (first.status, second.status) == (200, 412)
    assert len(first.queries) <= 3
    assert (first.json["load"], first.json["load_grams"], first.json["reps"]) == ("225", 102_058, 3)
    assert api.patch(at, {"load_unit": "kg"}).json["load_grams"] == 225_000
    assert api.patch(at, {"load": 100.5}).json["load_grams"] == 100_500
    gone = api.patch(at, {"load": None})
    assert (gone.json["load"], gone.json["load_unit"], gone.json["load_grams"]) == (None, None, None)
    for wrong, pointer in (
        ({"reps": None}, "/reps"),
        ({"load": "5"}, "/load_unit"),
        ({"load_unit": "kg"}, "/load"),
        ({"position": 1}, "/position"),
        ({"exercise_id": BENCH}, "/exercise_id"),
        ({"type": None}, "/type"),
    ):
        refused = api.patch(at, wrong)
        assert (refused.status, refused.pointers) == (422, {pointer}), refused.json
    assert api.get(at).json["reps"] == 3


def test_a_deleted_set_leaves_its_log_and_can_be_restored_to_its_position(api, sets):
    made, url, exercise = sets
    one = made["exercises"][0]["sets"][0]
    at = f"{url}{one['id']}/"
    before = _read(api, made)

    assert api.delete(at).status == 204

    after = _read(api, made)
    assert (after["set_count"], after["volume_grams"], after["exercises"][0]["sets"]) == (0, 0, [])
    assert after["version"] > before["version"]
    assert [api.get(at).status, api.patch(at, {"reps": 1}).status, api.delete(at).status] == [404] * 3
    assert api.post(url, {"log_exercise_id": exercise, "reps": 1}).json["position"] == 2
    back = api.post(f"{at}undelete/")
    assert (back.status, back.json["position"]) == (200, 1)
    assert [s["position"] for s in _read(api, made)["exercises"][0]["sets"]] == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({}, "/exercise_id"),
        ({"log_exercise_id": "own", "exercise_id": SQUAT}, "/exercise_id"),
        ({"log_exercise_id": str(new_id())}, "/log_exercise_id"),
        ({"exercise_id": str(new_id())}, "/exercise_id"),
        ({"exercise_id": SQUAT, "reps": None}, ""),
        ({"exercise_id": SQUAT, "reps": -1}, "/reps"),
        ({"exercise_id": SQUAT, "load": "5"}, "/load_unit"),
        ({"exercise_id": SQUAT, "note": "x"}, "/note"),
        ({"exercise_id": SQUAT, "load": "1\x00", "load_unit": "kg"}, "/load"),
    ],
)
def test_invalid_values_are_refused_with_their_pointer(api, sets, wrong, pointer):
    made, url, exercise = sets
    fields = {"reps": 5, **wrong}
    if fields.get("log_exercise_id") == "own":
        fields["log_exercise_id"] = exercise

    response = api.post(url, fields)

    assert (response.status, response.pointers) == (422, {pointer})
    assert _read(api, made)["set_count"] == 1


def test_a_set_is_reachable_only_through_its_own_log(api, sets, log):
    made, _, _ = sets
    one = made["exercises"][0]["sets"][0]["id"]
    at = f"/api/workout-logs/{log()['id']}/sets/{one}/"

    assert [api.call(method, at).status for method in ("GET", "DELETE")] == [404, 404]
    assert api.patch(at, {"reps": 1}).status == 404


def test_a_log_of_an_earlier_month_is_found_without_its_date(api, log, ago):
    made = log(started_at=ago(days=100))
    url = f"/api/workout-logs/{made['id']}/sets/"

    one = api.made(url, {"exercise_id": SQUAT, "reps": 3})

    assert api.patch(f"{url}{one['id']}/", {"reps": 4}).json["reps"] == 4
    assert _read(api, made)["set_count"] == 2


def test_every_change_of_a_set_is_in_the_audit_log(api, tenant, sets, sql):
    made, url, spot = sets
    one = api.made(url, {"log_exercise_id": spot, "reps": 5})
    api.patch(f"{url}{one['id']}/", {"reps": 6})
    api.delete(f"{url}{one['id']}/")

    entries = sql(
        "SELECT action, person_id, before, after FROM audit_log"
        " WHERE organization_id = %s AND entity_id = %s ORDER BY id",
        *(tenant.id, uuid.UUID(one["id"])),
    )
    assert [entry[0] for entry in entries] == ["created", "changed", "changed"]
    assert {entry[1] for entry in entries} == {uuid.UUID(made["student_id"])}
    assert (entries[1][2], entries[1][3]) == ({"reps": 5}, {"reps": 6})
    assert entries[2][3]["deleted_at"]
