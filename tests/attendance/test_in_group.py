"""Registers, the remaining students of a roster and sessions, by who is in the group on the session's date."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role

SESSIONS = "/api/attendance/sessions/"
DAY = timedelta(days=1)


def mark_remaining(roster):
    """Mark the remaining students as absent; return who was marked."""
    response = roster.api.put(roster.records, {"rest": "absent"})
    assert response.status == 200, response.raw.text
    return {row["student_id"] for row in response.json["results"]}


def test_the_remaining_students_are_those_in_the_group_on_that_day(api, a_class, today):
    roster = a_class(6)
    stays, withdrawn, deleted, left, leaves_today, never = roster.students
    of = {e["student_id"]: e for e in api.get(f"/api/groups/{roster.group}/enrolments/").json["items"]}

    def patch(student, **changes):
        url = f"/api/groups/{roster.group}/enrolments/{of[student]['id']}/"
        changes = {name: value if isinstance(value, str) else str(value) for name, value in changes.items()}
        assert api.patch(url, changes).status == 200

    patch(withdrawn, status="withdrawn", ends_on=today - DAY)
    patch(leaves_today, status="withdrawn")
    patch(never, begins_on=today, status="withdrawn", ends_on=today - DAY)
    assert api.delete(f"/api/students/{deleted}/").status == 204
    assert api.patch(f"/api/students/{left}/", {"left_on": str(today - DAY)}).status == 200

    assert mark_remaining(roster) == {stays, leaves_today}
    shown = {row["student_id"]: row["is_on_roster"] for row in api.get(roster.records).json["items"]}
    assert shown == {stays: True, leaves_today: True}


def test_a_student_who_has_left_is_not_marked_absent(api, a_class, today):
    roster = a_class(2)
    left, stays = roster.students
    api.patch(f"/api/students/{left}/", {"left_on": str(today - DAY)})

    response = roster.mark("absent", "present")

    assert [row["outcome"] for row in response.json["results"]] == ["error", "created"]
    assert response.json["results"][0]["errors"][0]["code"] == "not_on_roster"
    assert [row["student_id"] for row in api.get(roster.records).json["items"]] == [stays]


def test_the_mark_of_a_student_who_left_afterwards_stays_in_the_register(api, a_class, today):
    roster = a_class(2)
    left, deleted = roster.students
    roster.mark("present", "late")
    api.patch(f"/api/students/{left}/", {"left_on": str(today - DAY)})
    api.delete(f"/api/students/{deleted}/")

    shown = {
        row["student_id"]: (row["is_on_roster"], row["mark"]["code"]) for row in api.get(roster.records).json["items"]
    }

    assert shown == {left: (False, "present"), deleted: (False, "late")}


def test_a_person_with_overlapping_enrolments_is_marked_once(a_class, enrol, today):
    roster = a_class(1)
    enrol(roster.group, roster.students, status="withdrawn", ends_on=today)

    response = roster.api.put(roster.records, {"rest": "present"})

    assert response.json["summary"]["created"] == 1
    assert len(roster.api.get(roster.records).json["items"]) == 1


def test_clients_see_the_sessions_of_the_days_on_which_they_are_in_the_group(api, tenant, student, group, enrol, today):
    client = tenant.the(Role.CLIENT)
    me = student(user_id=str(client.user_id))["id"]
    made, waited_for = group()["id"], group()["id"]
    enrol(made, [me], begins_on=today - 2 * DAY, ends_on=today, status="withdrawn")
    enrol(waited_for, [me], status="pending")
    sessions = {
        days: api.made(SESSIONS, {"group_id": made, "local_date": str(today + days * DAY)})["id"]
        for days in (-3, -2, 0, 1)
    }
    api.made(SESSIONS, {"group_id": waited_for, "local_date": str(today)})

    assert {row["id"] for row in client.get(SESSIONS).json["items"]} == {sessions[-2], sessions[0]}
    assert {days: client.get(f"{SESSIONS}{id_}/").status for days, id_ in sessions.items()} == {
        -3: 404,
        -2: 200,
        0: 200,
        1: 404,
    }


@pytest.mark.parametrize(
    ("change", "days"),
    [
        ({"status": "archived"}, 0),
        ({"begins_on": 1}, 0),
        ({"ends_on": -1}, 0),
    ],
)
def test_a_closed_group_accepts_no_sessions(api, group, today, change, days):
    made = group()
    url = f"/api/groups/{made['id']}/"
    existing = api.made(SESSIONS, {"group_id": made["id"], "local_date": str(today), "slot": "08:00"})
    far = api.made(SESSIONS, {"group_id": made["id"], "local_date": str(today + 5 * DAY), "slot": "08:00"})
    cancelled = api.made(SESSIONS, {"group_id": made["id"], "local_date": str(today), "slot": "07:00"})
    assert api.patch(f"{SESSIONS}{cancelled['id']}/", {"status": "cancelled"}).status == 200
    change = {name: str(today + value * DAY) if isinstance(value, int) else value for name, value in change.items()}
    assert api.patch(url, change).status == 200

    new = api.post(SESSIONS, {"group_id": made["id"], "local_date": str(today + days * DAY), "slot": "09:00"})
    moved = api.patch(f"{SESSIONS}{far['id']}/", {"local_date": str(today + days * DAY), "slot": "10:00"})
    again = api.patch(f"{SESSIONS}{cancelled['id']}/", {"status": "scheduled"})

    for response in (new, moved, again):
        assert (response.status, response.problem["code"]) == (409, "group_closed"), response.raw.text
    # Existing sessions can still be changed.
    assert api.patch(f"{SESSIONS}{existing['id']}/", {"notes": "x", "status": "open"}).status == 200
    assert api.patch(f"{SESSIONS}{existing['id']}/", {"status": "cancelled"}).status == 200


def test_sessions_within_the_term_are_accepted(api, group, today):
    made = group(begins_on=str(today - DAY), ends_on=str(today + DAY))
    body = {"group_id": made["id"], "local_date": str(today)}

    first = api.made(SESSIONS, body)
    for days in (-1, 1):
        assert api.patch(f"{SESSIONS}{first['id']}/", {"local_date": str(today + days * DAY)}).status == 200
    outside = api.post(SESSIONS, {**body, "local_date": str(today + 2 * DAY)})

    assert (outside.status, outside.problem["code"], outside.pointers) == (409, "group_closed", {"/local_date"})
