"""Change feeds: what a copy contains after each kind of change."""

from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.security.permissions import Role

STUDENTS, GROUPS, ENROLMENTS = "/api/students/changes/", "/api/groups/changes/", "/api/enrolments/changes/"
SESSIONS, RECORDS = "/api/attendance/sessions/changes/", "/api/attendance/records/changes/"
CODES, LOGS = "/api/attendance/codes/changes/", "/api/workout-logs/changes/"


def test_the_first_call_returns_everything_and_the_next_one_nothing(copy, student):
    ids = {student()["id"] for _ in range(5)}
    students = copy(STUDENTS, limit=2)

    assert students.items.keys() == ids
    assert students.pages == 3
    assert students.follow().changed == []


def test_changes_during_the_first_call_are_in_the_next_one(api, copy, student):
    ids = [student()["id"] for _ in range(4)]
    students = copy(STUDENTS, limit=4)
    students.token, students.limit = None, 2
    first = students.page().json
    api.patch(f"/api/students/{first['items'][0]['id']}/", {"given_name": "Ravi"})
    api.delete(f"/api/students/{ids[-1]}/")
    late = student()["id"]
    students.token = first["next"]
    students.follow().follow()

    assert students.items.keys() == {*ids[:-1], late}
    assert students.items[first["items"][0]["id"]]["given_name"] == "Ravi"


def test_created_changed_deleted_and_undeleted_students_are_reported(api, copy, student):
    kept, gone = student()["id"], student()["id"]
    students = copy(STUDENTS)
    new = student()["id"]
    api.patch(f"/api/students/{kept}/", {"given_name": "Ravi"})
    api.delete(f"/api/students/{gone}/")
    students.follow()

    assert (students.changed, students.deleted) == ([new, kept], [gone])
    assert students.items[kept]["given_name"] == "Ravi"
    api.post(f"/api/students/{gone}/undelete/")
    assert students.follow().changed == [gone]
    assert students.items.keys() == {kept, gone, new}


def test_bulk_creates_are_reported_in_pages(api, copy):
    students = copy(STUDENTS, limit=7)
    rows = [{"code": f"B{n}", "given_name": f"N{n}", "family_name": "Rao"} for n in range(20)]
    made = [row["id"] for row in api.post("/api/students/bulk/", {"students": rows}).json["results"]]
    students.follow()

    assert students.pages == 3
    assert students.items.keys() == set(made)


def test_a_change_of_a_groups_trainers_changes_the_group(api, copy, group, trainer):
    made = group(trainers=())
    groups = copy(GROUPS)
    api.patch(f"/api/groups/{made['id']}/", {"trainer_ids": [str(trainer.user_id)]})
    groups.follow()

    assert groups.items[made["id"]]["trainer_ids"] == [str(trainer.user_id)]
    api.patch(f"/api/groups/{made['id']}/", {"trainer_ids": []})
    assert groups.follow().items[made["id"]]["trainer_ids"] == []


def test_enrolments_and_sessions_are_reported(api, copy, group, student, enrol, meeting):
    blue, person = group()["id"], student()["id"]
    enrolments, sessions = copy(ENROLMENTS), copy(SESSIONS)
    enrolled, met = enrol(blue, person), meeting(blue)
    assert (enrolments.follow().changed, sessions.follow().changed) == ([enrolled["id"]], [met["id"]])

    api.patch(f"/api/groups/{blue}/enrolments/{enrolled['id']}/", {"status": "withdrawn"})
    api.post(f"/api/attendance/sessions/{met['id']}/submit/")

    assert enrolments.follow().items[enrolled["id"]]["status"] == "withdrawn"
    assert sessions.follow().items[met["id"]]["status"] == "submitted"


def test_marks_are_reported_when_made_changed_and_removed(api, copy, group, student, enrol, meeting, mark, today):
    blue, people = group()["id"], [student()["id"] for _ in range(3)]
    for person in people:
        enrol(blue, person)
    met = meeting(blue)["id"]
    records = copy(RECORDS)
    made = mark(met, *people)
    assert sorted(records.follow().changed) == sorted(made)

    mark(met, people[0], code="late")
    assert api.delete(f"/api/attendance/records/{made[1]}/?on={today}").status == 204
    records.follow()

    assert (records.changed, records.deleted) == ([made[0]], [made[1]])
    assert {one["code"] for one in records.items.values()} == {"late", "present"}


def test_a_copy_of_records_can_begin_at_a_date(copy, student, meeting, mark, today, api):
    person = student()["id"]
    met = meeting()["id"]
    made = mark(met, person)

    assert copy(f"{RECORDS}?from={today}").changed == made
    later = copy(f"{RECORDS}?from=2199-01-01")
    mark(met, person, code="absent")
    assert (later.items, later.follow().items) == ({}, {})
    assert api.get(f"{RECORDS}?from={today}&since={later.token}").problem["code"] == "bad_cursor"


def test_an_own_code_replaces_a_default_one(api, copy):
    codes = copy(CODES)
    default = next(one for one in codes.items.values() if one["key"] == "late")
    own = api.made("/api/attendance/codes/", {"key": "late", "label": "Tardy", "counts_as": "late"})
    codes.follow()

    assert (codes.changed, codes.deleted) == ([own["id"]], [default["id"]])
    api.patch(f"/api/attendance/codes/{own['id']}/", {"is_archived": True})
    assert codes.follow().items[own["id"]]["is_archived"]


@pytest.fixture
def logged(api, student):
    """Return a maker of workout logs of a student."""

    def made(student_id):
        started_at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
        exercise = api.get("/api/exercises/?limit=1").json["items"][0]["id"]
        sets = [{"reps": 5, "load": "60", "load_unit": "kg"}]
        body = {"student_id": student_id, "started_at": started_at, "time_zone": "UTC"}
        return api.made("/api/workout-logs/", {**body, "exercises": [{"exercise_id": exercise, "sets": sets}]})

    return made


def test_a_log_is_reported_with_its_sets_sums(api, copy, student, logged):
    logs = copy(LOGS)
    log = logged(student()["id"])
    assert logs.follow().changed == [log["id"]]
    assert logs.items[log["id"]]["set_count"] == 1

    of_exercise = f"/api/workout-logs/{log['id']}/sets/"
    added = {"exercise_id": log["exercises"][0]["exercise_id"], "reps": 5, "load": "62.5", "load_unit": "kg"}
    response = api.post(of_exercise, added)
    assert response.status == 201, response.raw.get_data(as_text=True)
    assert logs.follow().items[log["id"]]["set_count"] == 2

    api.delete(f"/api/workout-logs/{log['id']}/")
    assert (logs.follow().deleted, logs.items) == ([log["id"]], {})


def test_tokens_are_bound_to_the_feed_and_the_organization(api, copy, other, student):
    student()
    token = copy(STUDENTS).token

    assert api.get(f"{GROUPS}?since={token}").problem["code"] == "bad_cursor"
    assert other.the(Role.ADMIN).get(f"{STUDENTS}?since={token}").problem["code"] == "bad_cursor"
    assert api.get(f"{STUDENTS}?since={token[:-2]}AA").problem["code"] == "bad_cursor"
