"""Single events: who may send them, what they make, and what refuses them."""

import random
from datetime import datetime, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.check_ins.conftest import BULK, URL, event, moment


def at(text):
    return datetime.fromisoformat(text)


def test_a_kiosk_checks_a_student_in_and_out(meeting, kiosk, record_of):
    made, device = meeting(), kiosk()
    arrived, left = moment(-25), moment(-1)

    first = device.post(URL, event(made.session, made.students[0], at=arrived))
    second = device.post(URL, event(made.session, made.students[0], kind="out", at=left))

    assert (first.status, second.status) == (200, 200)
    assert (first.json["outcome"], first.json["student_name"]) == ("created", "N0000")
    mark = record_of(made, made.students[0])
    assert (at(mark["check_in_at"]), at(mark["check_out_at"]), mark["minutes"]) == (arrived, left, 24)
    assert (mark["source"], mark["id"], second.json["record"]["device_id"]) == (
        "kiosk",
        first.json["record"]["id"],
        str(device.user_id),
    )


def test_the_same_event_again_returns_the_same_record_and_changes_nothing(meeting, kiosk, sql, tenant):
    made, device = meeting(), kiosk()
    body = event(made.session, made.students[0])  # without a time, so the server's

    first, again = device.post(URL, body), device.post(URL, body)

    assert again.json == {**first.json, "outcome": "repeated"}
    assert sql("SELECT count(*) FROM check_in_events WHERE organization_id = %s", tenant.id) == [(1,)]


def test_an_event_id_with_other_content_is_refused(meeting, kiosk):
    made, device = meeting(), kiosk()
    body = event(made.session, made.students[0])
    device.post(URL, body)

    refused = device.post(URL, {**body, "student_id": made.students[1]})

    assert (refused.status, refused.problem["code"]) == (409, "id_taken")


def test_any_order_of_events_gives_the_same_times(meeting, kiosk, record_of):
    made, device = meeting(6), kiosk()
    times = [("in", -20), ("in", -28), ("out", -29), ("out", -9), ("out", -3), ("in", -27)]
    now = moment()
    for student in made.students:
        random.shuffle(times)
        for kind, minutes in times:
            body = event(made.session, student, kind=kind, at=now + timedelta(minutes=minutes))
            assert device.post(URL, body).status == 200

    marks = [record_of(made, student) for student in made.students]

    assert {mark["minutes"] for mark in marks} == {25}


def test_a_check_out_before_the_check_in_counts_once_an_earlier_check_in_arrives(meeting, kiosk, record_of):
    made, device = meeting(1), kiosk()
    now = moment()
    for kind, minutes in (("in", -10), ("out", -20)):
        device.post(URL, event(made.session, made.students[0], kind=kind, at=now + timedelta(minutes=minutes)))
    assert record_of(made, made.students[0])["check_out_at"] is None

    device.post(URL, event(made.session, made.students[0], at=now - timedelta(minutes=25)))

    assert record_of(made, made.students[0])["minutes"] == 5


def test_a_typed_code_names_the_student(meeting, api):
    made = meeting(1)
    code = api.get(f"/api/students/{made.students[0]}/").json["code"]

    response = api.post(URL, event(made.session, code=code))

    assert (response.status, response.json["student_id"]) == (200, made.students[0])
    assert response.json["record"]["source"] == "api"
    assert response.json["record"]["marked_by"] == str(api.user_id)


def test_an_event_names_one_student_and_one_session(meeting, api):
    made = meeting(1)
    group = {"group_id": made.group}

    for wrong in (
        event(made.session),
        event(made.session, made.students[0], code="x"),
        event(made.session, made.students[0], **group),
    ):
        refused = api.post(URL, wrong)
        assert (refused.status, refused.problem["code"]) in ((422, "one_way"), (422, "one_session"))


def test_the_groups_nearest_session_is_chosen(api, meeting, plan):
    made = meeting(1, since=300, until=-240)
    other = api.made(
        "/api/attendance/sessions/",
        {"group_id": made.group, "local_date": api.get(made.url).json["local_date"], "slot": "second"},
    )["id"]
    plan(other, -10, 50)

    response = api.post(URL, event(None, made.students[0], group_id=made.group))

    assert response.json["session_id"] == other


def test_a_group_without_a_session_that_day_is_refused(api, group, student):
    refused = api.post(URL, event(None, student()["id"], group_id=group()["id"]))

    assert (refused.status, refused.problem["code"]) == (422, "no_session")


def test_only_students_on_the_roster_or_with_a_mark_are_checked_in(meeting, api, student):
    made, stranger = meeting(1), student()["id"]

    refused = api.post(URL, event(made.session, stranger))

    assert (refused.status, refused.problem["code"]) == (422, "not_on_roster")


def test_any_student_is_checked_in_to_open_gym(api, student, today):
    body = {"local_date": str(today), "slot": "gym"}
    session = api.made("/api/attendance/sessions/", body)["id"]

    assert api.post(URL, event(session, student()["id"])).status == 200


def test_the_organization_decides_what_is_too_old(meeting, api):
    made = meeting(1)
    old = event(made.session, made.students[0], minutes=-60 * 24 * 8)

    refused = api.post(URL, old)
    api.patch("/api/organization/", {"check_in_days_back": 9})

    assert (refused.status, refused.problem["code"]) == (422, "too_old")
    assert api.post(URL, old).problem["code"] == "not_that_day"  # old enough, but of another day


@pytest.mark.parametrize(("minutes", "status"), [(4, 200), (6, 422)])
def test_a_clock_may_be_five_minutes_ahead(meeting, api, minutes, status):
    made = meeting(1)

    response = api.post(URL, event(made.session, made.students[0], minutes=minutes))

    assert response.status == status
    assert status == 200 or response.problem["code"] == "too_far_ahead"


@pytest.mark.parametrize("state", ["lock", "submit"])
def test_a_closed_session_is_refused(meeting, api, state):
    made = meeting(1)
    api.post(f"{made.url}{state}/")

    refused = api.post(URL, event(made.session, made.students[0]))

    assert (refused.status, refused.problem["code"]) == (409, "session_closed")


def test_a_cancelled_session_is_refused(meeting, api):
    made = meeting(1)
    api.patch(made.url, {"status": "cancelled"})

    assert api.post(URL, event(made.session, made.students[0])).problem["code"] == "session_closed"


def test_an_event_from_before_the_submission_is_added_with_a_reason(meeting, api, kiosk, record_of, sql, tenant):
    made = meeting(1)
    api.post(f"{made.url}submit/")

    response = kiosk().post(URL, event(made.session, made.students[0], minutes=-20))

    assert response.status == 200
    reasons = sql(
        "SELECT reason FROM audit_log WHERE organization_id = %s AND entity = 'attendance_records'", tenant.id
    )
    assert reasons == [("A check-in from before the register was submitted.",)]


def test_clients_may_not_check_in_others_and_trainers_only_their_students(tenant, meeting, student):
    trainer, client = tenant.the(Role.TRAINER), tenant.the(Role.CLIENT)
    own, foreign = meeting(1, trainer=trainer), meeting(1)

    assert trainer.post(URL, event(own.session, own.students[0])).status == 200
    assert trainer.post(URL, event(foreign.session, foreign.students[0])).problem["code"] == "unknown_session"
    assert trainer.post(URL, event(own.session, foreign.students[0])).problem["code"] == "unknown_student"
    assert client.post(URL, event(own.session, own.students[0])).problem["code"] == "way_not_allowed"


# Many ---------------------------------------------------------------------------------------------------------------


def test_an_upload_has_a_result_for_each_event(meeting, kiosk, record_of):
    made, device, now = meeting(2), kiosk(), moment()
    earlier = event(made.session, made.students[0], at=now - timedelta(minutes=20))
    device.post(URL, earlier)
    later = event(made.session, made.students[0], kind="out", at=now - timedelta(minutes=2))
    rows = [
        earlier,
        later,
        {**later, "kind": "in"},
        event(made.session, str(new_id())),
        {"id": "no id"},
        event(made.session, made.students[1], minutes=-26),
        later,
    ]

    response = device.post(BULK, {"events": rows})

    found = [(row["outcome"], [e["code"] for e in row["errors"]]) for row in response.json["results"]]
    outcomes = [outcome for outcome, _ in found]
    assert outcomes == ["repeated", "created", "error", "error", "error", "created", "repeated"]
    assert (found[2][1], found[3][1]) == (["id_taken"], ["unknown_student"])
    assert response.json["summary"] == {"created": 2, "repeated": 2, "error": 3}
    assert [row["record"]["minutes"] for row in response.json["results"] if row["student_id"] == made.students[0]] == [
        18,
        18,
        18,
    ]
    assert device.post(BULK, {"events": rows}).json["summary"] == {"created": 0, "repeated": 4, "error": 3}


def test_a_day_of_500_events_is_one_upload_with_few_statements(meeting, kiosk):
    made, device, now = meeting(250), kiosk(), moment()
    events = [
        event(made.session, student, kind=kind, at=now + timedelta(minutes=minutes))
        for student in made.students
        for kind, minutes in (("in", -25), ("out", -1))
    ]
    random.shuffle(events)
    device.post(BULK, {"events": [event()]})  # the first request with a key looks it up

    response = device.post(BULK, {"events": events})

    assert response.json["summary"] == {"created": 500, "repeated": 0, "error": 0}
    assert len(response.queries) <= 5
    assert {row["record"]["minutes"] for row in response.json["results"]} == {24}
    assert device.post(BULK, {"events": [*events, events[0]]}).status == 422


# Late and left early ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "counts_as"),
    [
        ([("in", -20)], "present"),
        ([("in", -19)], "late"),
        ([("in", -25), ("out", 0)], "left_early"),
        ([("in", -19), ("out", 0)], "late"),
        ([("out", 0), ("in", -19), ("in", -29), ("out", 3)], "left_early"),
    ],
)
def test_grace_minutes_decide_the_code(meeting, kiosk, record_of, times, counts_as):
    made, device = meeting(1), kiosk()
    start = moment(0)
    for kind, minutes in times:
        # Half a minute towards the middle, so that the seconds between the steps make no difference.
        moved = start + timedelta(minutes=minutes, seconds=-30 if minutes == -20 else 30 if minutes == -19 else 0)
        assert device.post(URL, event(made.session, made.students[0], kind=kind, at=moved)).status == 200

    mark = record_of(made, made.students[0])

    assert (mark["code"], mark["counts_as"]) == (counts_as, counts_as)


def test_without_grace_minutes_no_event_is_late(meeting, api, kiosk, record_of):
    made = meeting(1)
    changed = api.patch("/api/organization/", {"late_after_minutes": None, "left_early_before_minutes": None})
    assert changed.status == 200

    for kind in ("in", "out"):
        kiosk().post(URL, event(made.session, made.students[0], kind=kind))

    assert record_of(made, made.students[0])["code"] == "present"


def test_an_organizations_own_code_is_used_and_an_archived_one_is_not(meeting, api, kiosk):
    made, device = meeting(2), kiosk()
    late = {"key": "tardy", "label": "Tardy", "counts_as": "late", "position": -5}
    api.made("/api/attendance/codes/", {**late, "position": 0})
    default = {"key": "late", "label": "Late", "counts_as": "late", "position": 50}
    api.made("/api/attendance/codes/", default)

    own = device.post(URL, event(made.session, made.students[0])).json["record"]
    for code in api.get("/api/attendance/codes/").json["items"]:
        if code["counts_as"] == "late":
            assert api.patch(f"/api/attendance/codes/{code['id']}/", {"is_archived": True}).status == 200
    none = device.post(URL, event(made.session, made.students[1])).json["record"]

    assert (own["code"], own["counts_as"]) == ("tardy", "late")
    assert (none["code"], none["counts_as"]) == ("present", "present")


def test_an_event_adds_times_to_a_mark_of_staff_and_leaves_its_code(meeting, kiosk, record_of):
    made, device = meeting(2), kiosk()
    made.mark("absent", "excused")

    for student in made.students:
        assert device.post(URL, event(made.session, student, minutes=-5)).status == 200

    marks = [record_of(made, student) for student in made.students]
    assert [(mark["code"], mark["source"], mark["check_in_at"] is None) for mark in marks] == [
        ("absent", "manual", False),
        ("excused", "manual", False),
    ]


def test_a_code_that_staff_change_is_not_changed_back(meeting, api, kiosk, record_of):
    made, device, now = meeting(1), kiosk(), moment()
    device.post(URL, event(made.session, made.students[0], at=now - timedelta(minutes=5)))
    assert record_of(made, made.students[0])["code"] == "late"
    made.mark("present", overwrite=True)

    device.post(URL, event(made.session, made.students[0], kind="out", at=now + timedelta(minutes=1)))

    mark = record_of(made, made.students[0])
    assert (mark["code"], mark["minutes"]) == ("present", 6)


def test_a_time_that_staff_entered_stays(meeting, api, kiosk, record_of):
    made, device, now = meeting(1), kiosk(), moment()
    record = device.post(URL, event(made.session, made.students[0], minutes=-25)).json["record"]
    on = api.get(made.url).json["local_date"]
    corrected = (now - timedelta(minutes=15)).isoformat()
    api.patch(f"/api/attendance/records/{record['id']}/?on={on}", {"check_in_at": corrected})

    device.post(URL, event(made.session, made.students[0], minutes=-28))
    device.post(URL, event(made.session, made.students[0], kind="out", at=now))

    assert record_of(made, made.students[0])["minutes"] == 15
