"""Events are not in the future: clients' clocks may be five minutes ahead, and dates of birth are at most today."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue
from tests.conftest import new_tenant

LOGS = "/api/workout-logs/"
SQUAT = str(catalogue.exercise_id("back_squat"))
KOLKATA = ZoneInfo("Asia/Kolkata")


def ahead(**time):
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


def one_error(response):
    assert response.status == 422, response.raw.text
    ((error,),) = [response.problem["errors"]]
    return error["pointer"], error["code"]


@pytest.fixture
def logged(api, student):
    """A workout log of an hour ago with one set."""
    sets = [{"reps": 5}]
    body = {"started_at": ahead(hours=-1), "student_id": student()["id"]}
    return api.made(LOGS, {**body, "exercises": [{"exercise_id": SQUAT, "sets": sets}]})


@pytest.fixture
def register(api, student):
    """The records URL of a session of today, and two students."""
    local_date = str(datetime.now(KOLKATA).date())
    session = api.made("/api/attendance/sessions/", {"local_date": local_date, "status": "open"})
    return f"/api/attendance/sessions/{session['id']}/records/", [student()["id"] for _ in range(2)]


def test_a_set_cannot_be_in_the_future(api, logged, student):
    url = f"{LOGS}{logged['id']}/sets/"
    given = {"exercise_id": SQUAT, "reps": 5}
    one = f"{url}{logged['exercises'][0]['sets'][0]['id']}/"

    assert api.post(url, {**given, "done_at": ahead(minutes=4)}).status == 201
    assert one_error(api.post(url, {**given, "done_at": ahead(minutes=6)})) == ("/done_at", "in_future")
    assert one_error(api.patch(one, {"done_at": ahead(days=300)})) == ("/done_at", "in_future")
    sets = [{"reps": 5, "done_at": ahead(minutes=4)}, {"reps": 5, "done_at": ahead(minutes=6)}]
    body = {"started_at": ahead(hours=-1), "student_id": student()["id"]}
    refused = api.post(LOGS, {**body, "exercises": [{"exercise_id": SQUAT, "sets": sets}]})
    assert one_error(refused) == ("/exercises/0/sets/1/done_at", "in_future")


def test_a_workout_cannot_begin_or_end_in_the_future(api, logged, student):
    body = {"student_id": student()["id"]}

    assert api.post(LOGS, {**body, "started_at": ahead(minutes=4)}).status == 201
    assert one_error(api.post(LOGS, {**body, "started_at": ahead(minutes=6)})) == ("/started_at", "in_future")
    until = {"started_at": ahead(hours=-1), "ended_at": ahead(hours=2)}
    assert one_error(api.post(LOGS, {**body, **until})) == ("/ended_at", "in_future")
    assert one_error(api.patch(f"{LOGS}{logged['id']}/", {"ended_at": ahead(hours=2)})) == ("/ended_at", "in_future")


def test_students_cannot_arrive_or_leave_in_the_future(api, register):
    url, (one, two) = register
    rows = [
        {"student_id": one, "code": "late", "check_in_at": ahead(minutes=4)},
        {"student_id": two, "code": "late", "check_in_at": ahead(minutes=6)},
    ]

    results = api.put(url, {"records": rows}).json["results"]

    assert [row["outcome"] for row in results] == ["created", "error"]
    assert [(e["pointer"], e["code"]) for e in results[1]["errors"]] == [("/check_in_at", "in_future")]
    day = datetime.now(KOLKATA).date()
    where = f"/api/attendance/records/{results[0]['id']}/?on={day}"
    assert one_error(api.patch(where, {"check_out_at": ahead(minutes=6)})) == ("/check_out_at", "in_future")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # their local times differ by 25 hours
def test_a_date_of_birth_is_at_most_today_in_the_organizations_time_zone(app, zone):
    api = new_tenant(app, time_zone=zone).the(Role.ADMIN)
    today = datetime.now(ZoneInfo(zone)).date()
    born, unborn = ({"date_of_birth": str(today + timedelta(days=days))} for days in (0, 1))

    def student(**given):
        return {"code": new_id().hex, "given_name": "Asha", "family_name": "Rao", **given}

    made = api.made("/api/students/", student(**born))
    assert one_error(api.post("/api/students/", student(**unborn))) == ("/date_of_birth", "in_future")
    assert one_error(api.patch(f"/api/students/{made['id']}/", unborn)) == ("/date_of_birth", "in_future")
    rows = [student(**born), student(**unborn), student(date_of_birth="2100-01-01")]
    results = api.post("/api/students/bulk/", {"students": rows}).json["results"]
    assert [row["outcome"] for row in results] == ["created", "error", "error"]
    assert [[(e["pointer"], e["code"]) for e in row["errors"]] for row in results[1:]] == [
        [("/date_of_birth", "in_future")]
    ] * 2
    assert len(api.get("/api/students/").json["items"]) == 2


def test_a_workouts_local_date_may_be_two_days_ahead(app):
    api = new_tenant(app, time_zone="Pacific/Pago_Pago").the(Role.ADMIN)
    student = api.made("/api/students/", {"code": "S", "given_name": "Asha", "family_name": "Rao"})["id"]
    now = datetime.now(UTC)

    made = api.made(LOGS, {"student_id": student, "started_at": now.isoformat(), "time_zone": "Pacific/Kiritimati"})

    assert made["local_date"] == str(now.astimezone(ZoneInfo("Pacific/Kiritimati")).date())
