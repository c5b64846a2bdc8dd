"""What approved leave does to marks: absences of its days are excused, and cancelling takes back only its own marks."""

import threading
from datetime import timedelta

import pytest
from psycopg.errors import LockNotAvailable

from campshub.attendance.service import excuses
from campshub.core.security.permissions import Role
from tests.leave.conftest import URL

CODES = "/api/attendance/codes/"


def test_missing_marks_and_absences_of_the_days_are_excused_and_others_stay(api, a_class, approved, mark_of, today):
    roster = a_class(4)
    roster.mark("absent", "late", "excused")
    before = mark_of(roster, roster.students[2])

    results = [approved(student).json for student in roster.students]

    assert [row["excused"] for row in results] == [1, 0, 0, 1]
    assert [row["left"] for row in results] == [
        [],
        [{"session_id": roster.session, "local_date": str(today), "why": "marked"}],
        [],
        [],
    ]
    marks = [mark_of(roster, student) for student in roster.students]
    assert [(mark["code"], mark["source"]) for mark in marks] == [
        ("excused", "leave"),
        ("late", "manual"),
        ("excused", "manual"),
        ("excused", "leave"),
    ]
    assert marks[2] == before


def test_only_sessions_of_the_days_and_of_the_named_group_are_excused(api, a_class, approved, enrol, mark_of, today):
    first, second = a_class(1), a_class(0)
    student = first.students[0]
    enrol(second.group, [student])
    dates = {name: str(today + timedelta(days=n)) for n, name in enumerate(("today", "tomorrow", "later"))}
    later = api.made("/api/attendance/sessions/", {"group_id": first.group, "local_date": dates["later"]})["id"]
    tomorrow = api.made("/api/attendance/sessions/", {"group_id": first.group, "local_date": dates["tomorrow"]})["id"]
    gym = api.made("/api/attendance/sessions/", {"local_date": dates["today"]})["id"]

    assert approved(student, days=2, group_id=first.group).json["excused"] == 2
    assert mark_of(second, student) is None
    assert mark_of(first, student, later) is None
    assert mark_of(first, student, tomorrow)["code"] == "excused"
    assert api.get(f"/api/attendance/sessions/{gym}/records/").json["items"] == []
    assert approved(student, session_id=second.session).json["excused"] == 1
    assert mark_of(second, student)["code"] == "excused"


def test_the_day_after_an_enrolment_ended_is_not_excused(api, a_class, approved, student, enrol, today):
    roster, gone = a_class(0), student()["id"]
    enrol(roster.group, [gone], status="withdrawn", ends_on=today - timedelta(days=1))
    assert approved(gone).json["excused"] == 0


def test_cancelling_removes_what_was_made_and_restores_what_was_changed(api, a_class, approved, mark_of, tenant, sql):
    roster = a_class(2)
    trainer = tenant.someone(Role.ADMIN)
    roster.mark("absent", api=trainer)
    restored, removed = (approved(student).json for student in roster.students)

    for leave in (restored, removed):
        assert api.post(f"{URL}{leave['id']}/cancel/").json["left"] == []

    mark = mark_of(roster, roster.students[0])
    assert (mark["code"], mark["counts_as"], mark["source"]) == ("absent", "absent", "manual")
    assert mark_of(roster, roster.students[1]) is None
    stored = sql("SELECT marked_by FROM attendance_records WHERE organization_id = %s", tenant.id)
    assert stored == [(trainer.user_id,)]
    assert sql("SELECT count(*) FROM leave_marks WHERE organization_id = %s", tenant.id) == [(0,)]


@pytest.mark.parametrize("code", ["present", "absent"])
def test_cancelling_does_not_touch_a_mark_that_someone_has_changed_since(api, a_class, approved, mark_of, code, today):
    roster = a_class(1)
    leave = approved(roster.students[0]).json
    roster.mark(code, overwrite=True)

    cancelled = api.post(f"{URL}{leave['id']}/cancel/").json

    assert cancelled["left"] == [{"session_id": roster.session, "local_date": str(today), "why": "changed"}]
    assert (mark_of(roster, roster.students[0])["code"], mark_of(roster, roster.students[0])["source"]) == (
        code,
        "manual",
    )


def test_a_mark_that_was_removed_and_made_again_stays(api, a_class, approved, mark_of, today):
    roster = a_class(1)
    leave = approved(roster.students[0]).json
    mark = mark_of(roster, roster.students[0])
    api.delete(f"/api/attendance/records/{mark['id']}/?on={today}")
    roster.mark("excused")

    api.post(f"{URL}{leave['id']}/cancel/")

    assert mark_of(roster, roster.students[0])["source"] == "manual"


def test_what_another_approved_request_excuses_stays_excused(api, a_class, approved, mark_of):
    roster = a_class(1)
    first, second = (approved(roster.students[0]).json for _ in range(2))

    api.post(f"{URL}{first['id']}/cancel/")
    assert mark_of(roster, roster.students[0])["code"] == "excused"
    api.post(f"{URL}{second['id']}/cancel/")
    assert mark_of(roster, roster.students[0]) is None


def test_a_submitted_register_is_excused_with_the_request_as_reason(api, a_class, approved, mark_of):
    roster = a_class(1)
    roster.mark("absent")
    api.post(f"{roster.url}submit/")

    leave = approved(roster.students[0]).json

    assert leave["excused"] == 1
    entry = api.get("/api/audit/?entity=attendance_records&action=changed").json["items"][0]
    assert (entry["reason"], entry["user_id"]) == (f"Leave request {leave['id']}.", str(api.user_id))
    assert (entry["before"]["code"], entry["after"]["code"]) == ("absent", "excused")


def test_a_locked_register_is_left_and_reported_and_can_be_tried_again(api, a_class, approved, mark_of, today):
    roster, open_ = a_class(1), a_class(1)
    api.post(f"{roster.url}lock/")
    left = [{"session_id": roster.session, "local_date": str(today), "why": "locked"}]
    assert approved(roster.students[0]).json["left"] == left
    assert mark_of(roster, roster.students[0]) is None

    leave = approved(open_.students[0]).json["id"]
    api.post(f"{open_.url}lock/")
    assert api.post(f"{URL}{leave}/cancel/").json["left"] == [{**left[0], "session_id": open_.session}]
    assert mark_of(open_, open_.students[0])["code"] == "excused"
    api.post(f"{open_.url}reopen/")
    assert api.post(f"{URL}{leave}/cancel/").json["left"] == []
    assert mark_of(open_, open_.students[0]) is None


def test_sessions_created_later_are_excused(api, a_class, approved, mark_of, today):
    roster = a_class(2)
    approved(roster.students[0], days=3)
    tomorrow = {"group_id": roster.group, "local_date": str(today + timedelta(days=1)), "slot": "07:00"}

    made = api.post("/api/attendance/sessions/", tomorrow)
    synced = api.post("/api/attendance/sync/", {"registers": [{**tomorrow, "slot": "08:00", "rest": "present"}]}).json
    after = api.made("/api/attendance/sessions/", {**tomorrow, "local_date": str(today + timedelta(days=3))})["id"]

    assert mark_of(roster, roster.students[0], made.json["id"])["source"] == "leave"
    assert mark_of(roster, roster.students[1], made.json["id"]) is None
    assert synced["results"][0]["summary"] == {"created": 1, "updated": 0, "unchanged": 1, "conflict": 0, "error": 0}
    assert mark_of(roster, roster.students[0], after) is None
    entries = api.get("/api/audit/?entity=attendance_sessions&action=created").json["items"]
    assert {entry["reason"] for entry in entries} == {None}


def test_a_session_with_nothing_but_marks_of_leave_can_be_moved_and_cancelled(api, a_class, approved, mark_of, today):
    roster = a_class(1)
    student = roster.students[0]
    leave = approved(student, days=2).json["id"]
    move = {"local_date": str(today + timedelta(days=5))}

    assert api.patch(roster.url, move).status == 200
    assert mark_of(roster, student) is None
    assert api.patch(roster.url, {"local_date": str(today + timedelta(days=1))}).status == 200
    assert mark_of(roster, student)["source"] == "leave"
    assert api.patch(roster.url, {"status": "cancelled"}).status == 200
    assert api.patch(roster.url, {"status": "scheduled"}).status == 200
    assert mark_of(roster, student)["source"] == "leave"
    roster.mark("late", overwrite=True)
    assert api.patch(roster.url, {"status": "cancelled"}).problem["code"] == "session_has_marks"
    assert api.post(f"{URL}{leave}/cancel/").json["left"][0]["why"] == "changed"


def test_the_organizations_own_code_for_excused_absences_is_used(api, a_class, approved, mark_of, request_leave):
    roster = a_class(2)
    api.made(CODES, {"key": "excused", "label": "Leave", "counts_as": "excused", "in_rate": False})
    approved(roster.students[0])
    mark = mark_of(roster, roster.students[0])
    assert (mark["code"], mark["in_rate"]) == ("excused", False)

    own = next(row for row in api.get(CODES).json["items"] if row["key"] == "excused")
    api.patch(f"{CODES}{own['id']}/", {"is_archived": True})
    pending = request_leave(roster.students[1]).json["id"]
    refused = api.post(f"{URL}{pending}/approve/", {})
    assert (refused.status, refused.problem["code"]) == (409, "no_excused_code")
    assert api.get(f"{URL}{pending}/").json["status"] == "pending"


def test_approving_while_the_roster_is_marked_loses_no_mark(tenant, api, a_class, request_leave, mark_of, sql):
    roster = a_class(24)
    leaves = [request_leave(student).json["id"] for student in roster.students[:8]]
    teachers = [tenant.someone(Role.ADMIN) for _ in range(3)]
    gate, responses = threading.Barrier(4), {}

    def approve():
        gate.wait()
        for leave in leaves:
            responses[leave] = api.post(f"{URL}{leave}/approve/", {})

    def mark(number):
        gate.wait()
        for student in roster.students[number::3]:
            body = {"records": [{"student_id": student, "code": "present"}]}
            responses[student] = teachers[number].put(roster.records, body)

    threads = [threading.Thread(target=approve), *(threading.Thread(target=mark, args=(n,)) for n in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {response.status for response in responses.values()} == {200}
    outcome = {student: responses[student].json["results"][0]["outcome"] for student in roster.students}
    for student, leave in zip(roster.students, leaves, strict=False):
        code = mark_of(roster, student)["code"]
        assert (outcome[student], responses[leave].json["excused"], code) in {
            ("created", 0, "present"),
            ("conflict", 1, "excused"),
        }
    assert all(outcome[student] == "created" for student in roster.students[8:])


def test_a_session_created_while_leave_is_approved_is_excused(tenant, api, a_class, request_leave, mark_of, today):
    roster = a_class(1)
    student = roster.students[0]
    leaves = [request_leave(student, days=2).json["id"] for _ in range(6)]
    other = tenant.someone(Role.ADMIN)
    for number, leave in enumerate(leaves):
        body = {"group_id": roster.group, "local_date": str(today), "slot": f"slot {number}"}
        gate, made = threading.Barrier(2), []

        def create(body=body, gate=gate, made=made):
            gate.wait()
            made.append(other.made("/api/attendance/sessions/", body)["id"])

        thread = threading.Thread(target=create)
        thread.start()
        gate.wait()
        assert api.post(f"{URL}{leave}/approve/", {}).status == 200
        thread.join()
        assert mark_of(roster, student, made[0])["source"] == "leave"
        assert api.post(f"{URL}{leave}/cancel/").status == 200


def test_no_one_can_mark_between_the_reading_and_the_writing_of_an_approval(
    api, a_class, request_leave, monkeypatch, stack, database
):
    roster = a_class(1)
    leave = request_leave(roster.students[0]).json["id"]
    merge, refusals = excuses.writes.merge, []

    def checking(*arguments, **options):
        with stack.primary.connect(database) as connection, pytest.raises(LockNotAvailable) as refused:
            connection.execute(
                "SELECT FROM attendance_sessions WHERE id = %s FOR NO KEY UPDATE NOWAIT", (roster.session,)
            )
        refusals.append(refused)
        return merge(*arguments, **options)

    monkeypatch.setattr(excuses.writes, "merge", checking)

    assert api.post(f"{URL}{leave}/approve/", {}).json["excused"] == 1
    assert len(refusals) == 1


def test_sessions_that_a_timetable_creates_or_moves_are_excused(api, a_class, approved, mark_of, today):
    roster = a_class(2)
    absent, present = roster.students
    approved(absent, days=3)
    tomorrow = today + timedelta(days=1)
    body = {"weekday": tomorrow.weekday(), "start_time": "23:58", "end_time": "01:00", "first_date": str(today)}
    url = f"/api/groups/{roster.group}/meetings/"

    meeting = api.made(url, body)

    found = api.get(f"/api/attendance/sessions/?group_id={roster.group}&from={tomorrow}").json["items"]
    assert [one["local_date"] for one in found[:1]] == [str(tomorrow)]
    assert mark_of(roster, absent, found[0]["id"])["source"] == "leave"
    assert mark_of(roster, present, found[0]["id"]) is None
    assert mark_of(roster, absent, found[1]["id"]) is None
    shift = 1 if tomorrow.weekday() < 6 else -1  # to another day of the same week
    moved_to = tomorrow + timedelta(days=7 + shift)
    approved(absent, begins=8 + shift)
    change = {"from_date": str(tomorrow), "weekday": moved_to.weekday()}

    effects = api.post(f"{url}{meeting['id']}/change/", change).json["effects"]

    assert found[0]["id"] in {one["id"] for one in effects["left"]}
    assert found[1]["id"] in {one["id"] for one in effects["moved"]}
    assert mark_of(roster, absent, found[1]["id"])["source"] == "leave"
