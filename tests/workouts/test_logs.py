"""Create, read and change whole workout logs."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.audit import unseal, unwrap_person_key
from campshub.workouts import catalogue
from campshub.workouts.weights import grams

SQUAT = str(catalogue.exercise_id("back_squat"))
BENCH = str(catalogue.exercise_id("bench_press"))
PLANK = str(catalogue.exercise_id("plank"))
LOGS = "/api/workout-logs/"


def _sets(count):
    return [{"reps": 5, "load": "100", "load_unit": "kg"} for _ in range(count)]


def _body(student_id, ago, **fields):
    return {"student_id": student_id, "started_at": ago(hours=1), "exercises": []} | fields


def test_a_workout_is_logged_with_one_request_and_read_back(api, whole):
    made = api.post(LOGS, whole)

    assert made.status == 201
    assert made.headers["Location"] == f"{LOGS}{whole['id']}/"
    log = made.json
    assert [(e["position"], e["name"], e["superset"], len(e["sets"])) for e in log["exercises"]] == [
        (1, "Back Squat", 1, 2),
        (2, "Bench Press", 1, 1),
        (3, "Plank", None, 1),
    ]
    assert log["exercises"][0]["id"] == whole["exercises"][0]["id"]
    squat = log["exercises"][0]["sets"][1]
    assert (squat["id"], squat["position"], squat["rir"]) == (whole["exercises"][0]["sets"][1]["id"], 2, 1.5)
    assert (squat["load"], squat["load_unit"], squat["load_grams"]) == ("225.50", "lb", 102_285)
    assert (log["body_weight"], log["body_weight_grams"]) == ("180", 81_647)
    assert (log["set_count"], log["exercise_count"], log["volume_grams"]) == (4, 3, 5 * 102_285 + 8 * 60_500)
    read = api.get(f"{LOGS}{whole['id']}/")
    assert read.json == log
    assert read.headers["ETag"] == made.headers["ETag"]
    assert len(read.queries) <= 3


@pytest.mark.parametrize("count", [0, 1, 60])
def test_logging_takes_six_statements_whatever_the_number_of_sets(api, whole, count):
    whole["exercises"] = [{"exercise_id": SQUAT, "note": "x", "sets": _sets(count)} for _ in range(min(count, 3))]

    response = api.post(LOGS, whole, headers={"Idempotency-Key": "one"})

    assert response.status == 201
    assert response.json["set_count"] == count * len(whole["exercises"])
    assert len(response.queries) <= 3, response.queries
    assert len(response.statements) <= 8, response.statements


@pytest.mark.parametrize(
    ("load", "unit", "grams"),
    [
        ("1", "lb", 454),
        ("0.5", "lb", 227),
        ("225", "lb", 102_058),
        ("100", "lb", 45_359),
        ("9999.999", "lb", 4_535_923),
        ("82.5", "kg", 82_500),
        ("0.001", "kg", 1),
        (0, "kg", 0),
        (2.5, "kg", 2_500),
        (20, "lb", 9_072),
    ],
)
def test_a_load_is_stored_as_entered_and_in_whole_grams(log, load, unit, grams):
    made = log(sets=[{"reps": 1, "load": load, "load_unit": unit}])

    one = made["exercises"][0]["sets"][0]
    assert (one["load"], one["load_unit"], one["load_grams"]) == (str(load), unit, grams)


def test_half_a_gram_is_rounded_to_even():
    assert [grams(weight, "kg") for weight in ("0.0005", "0.0015", "0.0025")] == [0, 2, 2]


def test_the_date_is_the_local_date_of_the_workout(api, student):
    person = student()["id"]
    evening = (datetime.now(UTC) - timedelta(days=2)).replace(hour=22, minute=30, second=0, microsecond=0)

    def logged(**zone):
        return api.made(LOGS, {"student_id": person, "started_at": evening.isoformat(), **zone})

    assert logged(time_zone="America/New_York")["local_date"] == evening.date().isoformat()
    tomorrow = (evening + timedelta(days=1)).date().isoformat()
    assert logged(time_zone="Asia/Tokyo")["local_date"] == tomorrow
    of_organization = logged()
    assert (of_organization["time_zone"], of_organization["local_date"]) == ("Asia/Kolkata", tomorrow)


def test_a_retry_returns_the_existing_log_and_another_body_is_refused(api, whole):
    first = api.post(LOGS, whole)
    api.patch(f"{LOGS}{whole['id']}/", {"title": "Legs"})

    again = api.post(LOGS, whole)
    another = api.post(LOGS, {**whole, "note": "other"})
    whole["exercises"][0]["sets"][0]["reps"] = 11
    deeper = api.post(LOGS, whole)

    assert (first.status, again.status) == (201, 200)
    assert again.json["title"] == "Legs"
    assert [(a.status, a.problem["code"], a.pointers) for a in (another, deeper)] == [(409, "id_taken", {"/id"})] * 2
    assert len(api.get(LOGS).json["items"]) == 1


def test_a_sync_can_be_retried_by_its_external_id_whatever_the_date(api, whole, student, ago):
    del whole["id"]
    first = api.post(LOGS, whole)

    again = api.post(LOGS, whole)
    moved = api.post(LOGS, {**whole, "started_at": ago(days=40), "ended_at": None})
    elsewhere = api.post(LOGS, {**whole, "source": "strong", "exercises": []})
    someone = api.post(LOGS, {**whole, "student_id": student()["id"], "exercises": []})
    without = [api.post(LOGS, {**whole, "external_id": None, "exercises": []}) for _ in range(2)]

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert (moved.status, moved.problem["code"], moved.pointers) == (409, "external_id_taken", {"/external_id"})
    assert [a.status for a in (elsewhere, someone, *without)] == [201] * 4


def test_many_identical_concurrent_requests_create_one_log(api, whole):
    with ThreadPoolExecutor(6) as threads:
        responses = list(threads.map(lambda _: api.post(LOGS, whole), range(6)))

    assert sorted(a.status for a in responses) == [200] * 5 + [201]
    assert len(api.get(LOGS).json["items"]) == 1
    assert len({a.json["exercises"][0]["id"] for a in responses}) == 1


def test_a_sets_id_belongs_to_one_set(api, whole):
    api.made(LOGS, whole)
    taken = whole["exercises"][0]["sets"][1]["id"]

    clash = api.post(LOGS, {**whole, "id": str(new_id()), "external_id": "h-2"})
    del whole["exercises"][0]["id"]
    response = api.post(LOGS, {**whole, "id": str(new_id()), "external_id": "h-2"})

    assert (clash.status, clash.pointers) == (409, {"/exercises/0/id"})
    assert (response.status, response.problem["code"]) == (409, "id_taken")
    assert response.pointers == {"/exercises/0/sets/1/id"}
    assert len(api.get(LOGS).json["items"]) == 1, "nothing of a refused log stays"
    twice = {"exercise_id": SQUAT, "sets": [{"id": taken, "reps": 1}, {"id": taken, "reps": 1}]}
    repeated = api.post(LOGS, {**whole, "id": str(new_id()), "external_id": "h-3", "exercises": [twice]})
    assert (repeated.status, repeated.pointers) == (422, {"/exercises/0/sets/1/id"})


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"student_id": str(new_id())}, "/student_id"),
        ({"student_id": None}, "/student_id"),
        ({"title": "a\x00b"}, "/title"),
        ({"note": "a\x00b"}, "/note"),
        ({"source": "\x00"}, "/source"),
        ({"external_id": "a\x00"}, "/external_id"),
        ({"unknown": 1}, "/unknown"),
        ({"local_date": "2026-01-01"}, "/local_date"),
        ({"time_zone": "Mars/Olympus"}, "/time_zone"),
        ({"time_zone": "../etc/passwd"}, "/time_zone"),
        ({"started_at": "2026-11-18T10:00:00"}, "/started_at"),
        ({"started_at": "9999-12-31T23:59:59Z"}, "/started_at"),
        ({"started_at": 5}, "/started_at"),
        ({"ended_at": "2020-01-01T00:00:00Z"}, "/ended_at"),
        ({"ended_at": "2100-01-01T00:00:00Z"}, "/ended_at"),
        ({"body_weight": "80"}, "/body_weight_unit"),
        ({"body_weight_unit": "kg"}, "/body_weight"),
        ({"exercises": [{"exercise_id": SQUAT}, {"exercise_id": str(new_id())}]}, "/exercises/1/exercise_id"),
        ({"exercises": [{"exercise_id": SQUAT, "superset": 0}]}, "/exercises/0/superset"),
        ({"exercises": [{"exercise_id": SQUAT, "sets": [{}]}]}, "/exercises/0/sets/0"),
        ({"exercises": [{"exercise_id": SQUAT, "sets": [{"rir": 1}]}]}, "/exercises/0/sets/0"),
        *[
            ({"exercises": [{"exercise_id": SQUAT, "sets": [{"reps": 1, **one}]}]}, f"/exercises/0/sets/0/{name}")
            for one, name in (
                ({"reps": -1}, "reps"),
                ({"reps": 2**31}, "reps"),
                ({"reps": 1.5}, "reps"),
                ({"reps": True}, "reps"),
                ({"load": "100"}, "load_unit"),
                ({"load_unit": "kg"}, "load"),
                ({"load": "100", "load_unit": "stone"}, "load_unit"),
                ({"load": -1, "load_unit": "kg"}, "load"),
                ({"load": "1e3", "load_unit": "kg"}, "load"),
                ({"load": 1e300, "load_unit": "kg"}, "load"),
                ({"load": "10000", "load_unit": "kg"}, "load"),
                ({"load": "1.2345", "load_unit": "kg"}, "load"),
                ({"load": "100\n", "load_unit": "kg"}, "load"),
                ({"load": "1\x00", "load_unit": "kg"}, "load"),
                ({"load": True, "load_unit": "kg"}, "load"),
                ({"load": "NaN", "load_unit": "kg"}, "load"),
                ({"load_grams": 5}, "load_grams"),
                ({"seconds": 10**9}, "seconds"),
                ({"metres": -5}, "metres"),
                ({"rir": 0.3}, "rir"),
                ({"rir": 11}, "rir"),
                ({"type": "magic"}, "type"),
                ({"position": 4}, "position"),
                ({"done_at": "yesterday"}, "done_at"),
                ({"id": "no id"}, "id"),
            )
        ],
    ],
)
def test_invalid_values_are_refused_with_their_pointer(api, student, ago, wrong, pointer):
    response = api.post(LOGS, _body(student()["id"], ago) | wrong)

    assert (response.status, response.pointers) == (422, {pointer})
    assert api.get(LOGS).json["items"] == []


def test_dates_up_to_ten_years_ago_are_accepted(api, student, ago):
    person = student()["id"]

    def logged(**time):
        return api.post(LOGS, _body(person, ago, started_at=ago(**time), time_zone="Asia/Kolkata"))

    assert [logged(days=days).status for days in (400, 0)] == [201] * 2
    response = logged(days=4_000)
    assert (response.status, response.problem["code"], response.pointers) == (422, "date_out_of_range", {"/started_at"})


def test_a_change_of_a_log_requires_the_version_that_its_author_read(api, log):
    made = log()
    url = f"{LOGS}{made['id']}/"
    tag = api.get(url).headers["ETag"]
    exercise = made["exercises"][0]["id"]

    api.made(f"{url}sets/", {"log_exercise_id": exercise, "reps": 3})
    behind = api.patch(url, {"title": "x"}, headers={"If-Match": tag})
    fresh = api.get(url, headers={"If-None-Match": tag})
    changed = api.patch(
        url,
        {"title": "Heavy", "ended_at": made["started_at"], "body_weight": "80.5", "body_weight_unit": "kg"},
        headers={"If-Match": fresh.headers["ETag"]},
    )

    assert (behind.status, fresh.status, changed.status) == (412, 200, 200)
    assert (changed.json["title"], changed.json["body_weight_grams"]) == ("Heavy", 80_500)
    assert changed.json["version"] == fresh.json["version"] + 1
    assert api.get(url).json == changed.json
    assert api.patch(url, {"body_weight_unit": "lb"}).json["body_weight_grams"] == 36_514
    assert api.patch(url, {"body_weight": None}).json["body_weight_unit"] is None
    for wrong, pointer in (
        ({"body_weight": "80"}, "/body_weight_unit"),
        ({"body_weight_unit": "kg"}, "/body_weight"),
        ({"ended_at": "2020-01-01T00:00:00Z"}, "/ended_at"),
        ({"started_at": made["started_at"]}, "/started_at"),
    ):
        refused = api.patch(url, wrong)
        assert (refused.status, refused.pointers) == (422, {pointer})


def test_a_deleted_log_disappears_from_lists_and_can_be_restored(api, log):
    made = log()
    url = f"{LOGS}{made['id']}/"
    one = made["exercises"][0]["sets"][0]["id"]

    assert api.delete(url).status == 204

    assert api.get(LOGS).json["items"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", f"sets/{one}/"), ("DELETE", f"sets/{one}/")):
        assert api.call(method, url + path).status == 404
    assert api.patch(url, {"title": "x"}).status == 404
    assert api.post(f"{url}sets/", {"exercise_id": SQUAT, "reps": 1}).status == 404
    back = api.post(f"{url}undelete/")
    assert (back.status, back.json["exercises"]) == (200, made["exercises"])


def test_free_text_is_encrypted_in_the_audit_log(api, tenant, whole, sql, app):
    api.made(LOGS, whole)

    entries = dict(
        sql("SELECT entity, after FROM audit_log WHERE organization_id = %s AND entity LIKE 'workout%%'", tenant.id)
    )
    assert set(entries) == {"workout_logs", "workout_log_exercises", "workout_sets"}
    text = str(entries)
    assert all(words not in text for words in ("knee", "Legs", "belt"))
    person = uuid.UUID(whole["student_id"])
    [(sealed_key,)] = sql(
        "SELECT sealed_key FROM person_keys WHERE organization_id = %s AND id = %s", tenant.id, person
    )
    key = unwrap_person_key(app.extensions["campshub"].ring, tenant.id, person, sealed_key)
    encrypted = entries["workout_logs"]["note"]["sealed"]
    assert unseal("workout_logs", uuid.UUID(whole["id"]), "note", encrypted, key) == "left knee hurts"
