"""Leave requests: who may request, see and decide them."""

from datetime import timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.leave.conftest import URL


@pytest.fixture
def person(tenant, student):
    """A client, and the student who they are."""
    client = tenant.the(Role.CLIENT)
    return client, student(user_id=str(client.user_id))["id"]


def test_students_request_leave_for_themselves_only(person, request_leave, student):
    client, own = person
    made = request_leave(own, by=client)
    other = request_leave(student()["id"], by=client)

    assert (made.status, made.json["status"], made.json["requested_by"]) == (201, "pending", str(client.user_id))
    assert (other.status, other.pointers) == (422, {"/student_id"})
    assert client.post(f"{URL}{made.json['id']}/approve/", {}).status == 403


def test_a_request_is_visible_to_those_who_see_the_student(tenant, api, person, request_leave, group, enrol, trainer):
    client, own = person
    enrol(group(trainer_ids=[str(trainer.user_id)])["id"], [own])
    made = request_leave(own, by=client).json

    for reader in (client, trainer, api):
        assert [row["id"] for row in reader.get(URL).json["items"]] == [made["id"]]
        assert reader.get(f"{URL}{made['id']}/").json["reason"] == "Ill."
    for stranger in (tenant.someone(Role.CLIENT), tenant.someone(Role.TRAINER)):
        assert stranger.get(URL).json["items"] == []
        assert stranger.get(f"{URL}{made['id']}/").status == 404
        assert stranger.post(f"{URL}{made['id']}/cancel/").status == 404
    assert tenant.the(Role.NUTRITIONIST).get(URL).status == 403


def test_guardians_request_leave_for_their_students_only(tenant, api, request_leave, student):
    guardian, own, other = tenant.someone(Role.GUARDIAN), student()["id"], student()["id"]
    made = api.made("/api/guardians/", {"name": "Asha Rao", "user_id": str(guardian.user_id)})
    api.put(f"/api/students/{own}/guardians/", {"guardians": [{"guardian_id": made["id"]}]})

    requested = request_leave(own, by=guardian)
    refused = request_leave(other, by=guardian)

    assert (requested.status, requested.json["requested_by"]) == (201, str(guardian.user_id))
    assert (refused.status, refused.pointers) == (422, {"/student_id"})
    assert [row["id"] for row in guardian.get(URL).json["items"]] == [requested.json["id"]]
    assert guardian.post(f"{URL}{requested.json['id']}/approve/", {}).status == 403
    api.put(f"/api/students/{own}/guardians/", {"guardians": []})
    assert guardian.get(URL).json["items"] == []


def test_a_retry_requests_nothing_twice(request_leave, student):
    own, chosen = student()["id"], str(new_id())
    first, again = (request_leave(own, id=chosen) for _ in range(2))
    other = request_leave(own, id=chosen, reason="Travel.")
    assert [first.status, again.status, other.status] == [201, 200, 409]


def test_dates_and_references_must_fit(api, request_leave, a_class, today, group):
    roster = a_class(1)
    student = roster.students[0]
    tomorrow = str(today + timedelta(days=1))
    gym = api.made("/api/attendance/sessions/", {"local_date": str(today)})["id"]
    for fields, pointer in (
        ({"days": 0}, "/last_date"),
        ({"days": 367, "begins": -200}, "/last_date"),
        ({"begins": 401}, "/first_date"),
        ({"group_id": str(new_id())}, "/group_id"),
        ({"session_id": str(new_id())}, "/session_id"),
        ({"session_id": gym}, "/session_id"),
        ({"session_id": roster.session, "first_date": tomorrow, "last_date": tomorrow}, "/session_id"),
        ({"session_id": roster.session, "group_id": roster.group}, "/session_id"),
        ({"reason": " "}, "/reason"),
    ):
        refused = request_leave(student, **fields)
        assert (refused.status, refused.pointers) == (422, {pointer}), fields


def test_a_request_is_decided_once(api, request_leave, student):
    own = student()["id"]
    rejected, approved = request_leave(own).json["id"], request_leave(own).json["id"]

    assert api.post(f"{URL}{rejected}/reject/", {}).status == 422
    first = api.post(f"{URL}{rejected}/reject/", {"comment": "Exam."})
    again = api.post(f"{URL}{rejected}/reject/", {"comment": "Other."})
    assert (first.json["status"], first.json["comment"], first.json["decided_by"]) == (
        "rejected",
        "Exam.",
        str(api.user_id),
    )
    assert again.json == first.json
    assert api.post(f"{URL}{rejected}/approve/", {}).problem["code"] == "leave_decided"
    assert api.post(f"{URL}{rejected}/cancel/").problem["code"] == "leave_decided"
    done = api.post(f"{URL}{approved}/approve/", {"comment": "Fine."}).json
    assert (done["status"], done["comment"]) == ("approved", "Fine.")
    assert api.post(f"{URL}{approved}/approve/", {}).json["version"] == done["version"]
    assert api.post(f"{URL}{approved}/reject/", {"comment": "No."}).status == 409
    assert api.post(f"{URL}{approved}/cancel/").json["status"] == "cancelled"
    assert api.post(f"{URL}{approved}/approve/", {}).status == 409


def test_a_decision_on_a_version_that_has_changed_is_refused(api, request_leave, student):
    made = request_leave(student()["id"])
    url = f"{URL}{made.json['id']}/"
    etag = made.headers["ETag"]
    api.post(f"{url}approve/", {})
    assert api.post(f"{url}cancel/", headers={"If-Match": etag}).status == 412


def test_students_cancel_pending_requests_and_approved_ones_until_their_last_day(api, person, request_leave):
    client, own = person
    pending = request_leave(own, by=client, begins=-5).json["id"]
    past = request_leave(own, by=client, begins=-5).json["id"]
    current = request_leave(own, by=client, begins=-2, days=3).json["id"]
    for one in (past, current):
        api.post(f"{URL}{one}/approve/", {})

    assert client.post(f"{URL}{pending}/cancel/").json["status"] == "cancelled"
    assert client.post(f"{URL}{past}/cancel/").problem["code"] == "leave_over"
    assert client.post(f"{URL}{current}/cancel/").json["status"] == "cancelled"
    assert api.post(f"{URL}{past}/cancel/").json["status"] == "cancelled"


def test_each_filter_of_the_list(api, request_leave, a_class, today):
    first, second = a_class(1), a_class(1)
    a = request_leave(first.students[0]).json["id"]
    b = request_leave(second.students[0], begins=10, days=3, group_id=second.group).json["id"]
    c = request_leave(second.students[0], session_id=second.session).json["id"]
    api.post(f"{URL}{a}/reject/", {"comment": "No."})

    def found(**filters):
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        return {row["id"] for row in api.get(f"{URL}?{query}").json["items"]}

    assert found(status="rejected") == {a}
    assert found(student_id=second.students[0]) == {b, c}
    assert found(group_id=first.group) == {a}
    assert found(group_id=second.group) == {b, c}
    assert found(**{"from": today + timedelta(days=12)}) == {b}
    assert found(to=today) == {a, c}
    assert found(**{"from": today + timedelta(days=13)}) == set()
    assert api.get(URL).json["items"][0]["id"] == b


def test_the_reason_and_the_comment_are_encrypted_in_the_audit_log(api, request_leave, student, sql, tenant):
    made = request_leave(student()["id"]).json["id"]
    api.post(f"{URL}{made}/reject/", {"comment": "Exam."})

    stored = str(
        sql("SELECT before, after FROM audit_log WHERE organization_id = %s AND entity_id = %s", tenant.id, made)
    )
    assert "rejected" in stored
    assert "Ill." not in stored
    assert "Exam." not in stored
