"""Statistics of training respect the load mode: moved weight, weight added to the body, assistance, or none."""

import json

import pytest

from campshub.workouts import catalogue

SQUAT, PULL_UP, ASSISTED, BURPEE, CARRY, PLANK = (
    str(catalogue.exercise_id(key))
    for key in ("back_squat", "pull_up", "assisted_pull_up", "burpee", "farmers_walk", "plank")
)
LOGS, WEEKS = "/api/workout-logs/", "/api/progress/weeks/"
RECORDS = ("heaviest_grams", "best_1rm_grams", "best_load_grams", "best_reps")


def sets(*loads, reps=8, unit="kg"):
    return [{"reps": reps, "load": str(load), "load_unit": unit} for load in loads]


@pytest.fixture
def train(api, student, ago):
    """Return a function that logs sets of an exercise for one student; it returns the log and the week's aggregates."""
    person = student()["id"]

    def logged(exercise_id, performed, **fields):
        exercises = [{"exercise_id": exercise_id, "sets": performed}]
        body = {"student_id": person, "started_at": ago(hours=1), "exercises": exercises, **fields}
        log = api.made(LOGS, body)
        return log, week(exercise_id)

    def week(exercise_id):
        response = api.get(f"{WEEKS}?student_id={person}&exercise_id={exercise_id}")
        assert len(response.queries) == 1
        [found] = response.json["items"]
        return found

    logged.week = week
    return logged


def of(row, *names):
    return tuple(row[name] for name in names)


def test_the_least_assistance_is_the_best_and_nothing_is_estimated(train):
    _, first = train(ASSISTED, sets(30, reps=10), body_weight="80", body_weight_unit="kg")
    _, week = train(ASSISTED, [*sets(20, reps=5), *sets(20, reps=6)])

    assert of(first, *RECORDS) == (30_000, None, 30_000, 10)
    assert of(week, *RECORDS) == (20_000, None, 20_000, 6)
    assert (week["load_mode"], week["added_load_grams"], week["best_body_weight_grams"]) == ("assisted", None, None)
    assert (week["volume_grams"], week["reps"], week["most_reps"]) == (0, 21, 10)


def test_no_assistance_is_the_least(train):
    _, week = train(ASSISTED, [*sets(15), *sets(0, reps=3), {"reps": 9}])

    assert of(week, *RECORDS) == (0, None, 0, 3)


def test_a_weighted_pull_up_is_estimated_with_the_body_weight(train):
    _, week = train(PULL_UP, sets(22, unit="lb"), body_weight="180", body_weight_unit="lb")

    assert (round(week["best_1rm_grams"] / 1000, 1), round(week["added_load_grams"] / 1000, 1)) == (116.1, 34.4)
    assert of(week, *RECORDS) == (9_979, 116_059, 9_979, 8)
    assert of(week, "load_mode", "best_body_weight_grams") == ("bodyweight_plus", 81_647)
    assert week["added_load_grams"] == week["best_1rm_grams"] - week["best_body_weight_grams"]


def test_without_a_body_weight_a_pull_up_has_no_estimate(train):
    _, week = train(PULL_UP, sets(22, unit="lb"))

    assert of(week, *RECORDS) == (9_979, None, None, None)
    assert of(week, "added_load_grams", "best_body_weight_grams") == (None, None)


def test_a_pull_up_without_added_load_is_estimated_from_the_body_weight(train):
    _, week = train(PULL_UP, [{"reps": 6}, {"reps": 13}], body_weight="75", body_weight_unit="kg")

    assert of(week, *RECORDS) == (None, 90_000, 0, 6)
    assert (week["added_load_grams"], week["most_reps"]) == (15_000, 13)


def test_a_body_weight_that_is_entered_later_is_used(app, api, train):
    log, before = train(PULL_UP, sets(10, reps=1))
    assert app.test_cli_runner().invoke(args=["rollups", "fold"]).exit_code == 0
    assert api.patch(f"{LOGS}{log['id']}/", {"body_weight": "70", "body_weight_unit": "kg"}).status == 200

    after = train.week(PULL_UP)

    assert before["best_1rm_grams"] is None
    assert of(after, "best_1rm_grams", "added_load_grams") == (80_000, 10_000)


@pytest.mark.parametrize(
    "not_performed",
    [
        {"reps": 0, "load": "200", "load_unit": "kg"},
        {"load": "200", "load_unit": "kg"},
        {"reps": 0, "load": "200", "load_unit": "kg", "seconds": 5},
        {"load": "200", "load_unit": "kg", "seconds": 0, "metres": 0},
    ],
)
@pytest.mark.parametrize("exercise", [SQUAT, PULL_UP, ASSISTED])
def test_a_set_that_was_not_performed_counts_for_no_record(train, exercise, not_performed):
    log, week = train(exercise, [not_performed], body_weight="80", body_weight_unit="kg")

    assert of(week, *RECORDS, "most_reps", "added_load_grams") == (None,) * 6
    assert of(week, "sets", "working_sets", "reps", "volume_grams") == (1, 0, 0, 0)
    assert (log["set_count"], log["volume_grams"]) == (1, 0)


def test_carries_and_holds_count_without_repetitions(train):
    _, carried = train(CARRY, [{"load": "40", "load_unit": "kg", "metres": 30}])
    _, hold = train(PLANK, [{"seconds": 60}])

    assert of(carried, "working_sets", "heaviest_grams", "most_reps") == (1, 40_000, None)
    assert of(hold, "working_sets", "heaviest_grams") == (1, None)


def test_a_load_is_ignored_where_the_mode_is_none(train):
    log, week = train(BURPEE, sets(10))

    assert of(week, *RECORDS) == (None,) * 4
    assert (week["volume_grams"], week["reps"], log["volume_grams"]) == (0, 8, 0)


def test_assistance_does_not_count_in_the_volume_of_a_log(api, train):
    log, _ = train(ASSISTED, sets(30))
    both = [{"exercise_id": ASSISTED, "sets": sets(30)}, {"exercise_id": PULL_UP, "sets": sets(10)}]
    mixed, _ = train(ASSISTED, [], exercises=both)

    assert (log["volume_grams"], mixed["volume_grams"]) == (0, 80_000)
    assert log["exercises"][0]["load_mode"] == "assisted"
    for made in (log, mixed):
        assert api.get(f"{LOGS}{made['id']}/").json == made
    listed = {item["id"]: item["volume_grams"] for item in api.get(LOGS).json["items"]}
    assert listed == {log["id"]: 0, mixed["id"]: 80_000}


def test_a_corrected_load_mode_corrects_earlier_logs(app, api, tenant, train):
    exercise_id = api.made("/api/exercises/", {"name": "Band Pull-Up", "equipment": "band"})["id"]
    log, before = train(exercise_id, sets(30, 20))
    assert app.test_cli_runner().invoke(args=["rollups", "fold"]).exit_code == 0

    assert api.patch(f"/api/exercises/{exercise_id}/", {"load_mode": "assisted"}).status == 200

    assert (before["load_mode"], *of(before, *RECORDS)) == ("external", 30_000, 38_000, 30_000, 8)
    after = train.week(exercise_id)
    assert (after["load_mode"], *of(after, *RECORDS)) == ("assisted", 20_000, None, 20_000, 8)
    assert (before["volume_grams"], after["volume_grams"]) == (400_000, 0)
    assert api.get(f"{LOGS}{log['id']}/").json["volume_grams"] == 0
    assert api.get(LOGS).json["items"][0]["volume_grams"] == 0
    checked = app.test_cli_runner().invoke(args=["rollups", "check", "--organization", str(tenant.id), "--json"])
    assert json.loads(checked.stdout)["differences"] == []
