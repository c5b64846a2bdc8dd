import threading
from datetime import timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

SESSIONS = "/api/attendance/sessions/"


def test_a_created_session_is_read_back_with_one_statement(api, group, today):
    made = api.post(
        SESSIONS,
        {
            "group_id": group()["id"],
            "local_date": str(today),
            "slot": "09:00",
            "starts_at": f"{today}T03:30:00Z",
            "ends_at": f"{today}T04:30:00Z",
            "notes": "bring shoes",
        },
    )
    assert made.status == 201
    assert made.json["status"] == "scheduled"

    read = api.get(made.headers["Location"])

    assert read.json == made.json
    assert len(read.queries) == 1
    assert api.get(made.headers["Location"], headers={"If-None-Match": read.headers["ETag"]}).status == 304


def test_creating_a_session_takes_at_most_six_statements(api, group, today):
    body = {"id": str(new_id()), "group_id": group()["id"], "local_date": str(today)}

    response = api.post(SESSIONS, body, headers={"Idempotency-Key": "one"})

    assert response.status == 201
    assert len(response.statements) <= 6, response.statements  # the sixth reads the approved leave of its date


def test_a_group_has_one_session_on_a_date_and_slot(api, group, today):
    body = {"group_id": group()["id"], "local_date": str(today), "slot": "09:00"}
    api.made(SESSIONS, body)
    api.made(SESSIONS, {**body, "slot": None})
    api.made(SESSIONS, {**body, "group_id": None})
    api.made(SESSIONS, {"local_date": str(today)})

    for again in (body, {**body, "slot": None}, {**body, "group_id": None}, {"local_date": str(today)}):
        response = api.post(SESSIONS, again)
        assert (response.status, response.problem["code"]) == (409, "session_exists")


@pytest.mark.parametrize(
    ("slot", "stored"),
    [
        ("9:00", "09:00"),
        (" 9:30 ", "09:30"),
        ("09:00", "09:00"),
        ("19:00", "19:00"),
        ("\uff19:\uff13\uff10", "09:30"),
        ("9:60", "9:60"),
        ("29:00", "29:00"),
        ("9:00 am", "9:00 am"),
        ("9:0", "9:0"),
        ("morning", "morning"),
    ],
)
def test_a_slot_that_is_a_time_gets_two_digits_for_the_hour(api, today, slot, stored):
    made = api.made(SESSIONS, {"local_date": str(today), "slot": slot})
    moved = api.patch(f"{SESSIONS}{made['id']}/", {"slot": slot})

    assert (made["slot"], moved.json["slot"]) == (stored, stored)
    again = api.post(SESSIONS, {"local_date": str(today), "slot": stored})
    assert (again.status, again.problem["code"]) == (409, "session_exists")


def test_the_slot_of_a_cancelled_session_is_free_for_another(api, group, today):
    body = {"group_id": group()["id"], "local_date": str(today), "slot": "09:00"}
    first = api.made(SESSIONS, body)
    at = f"{SESSIONS}{first['id']}/"
    assert api.patch(at, {"status": "cancelled"}).json["slot"] == "09:00"

    second = api.post(SESSIONS, body)
    third = api.post(SESSIONS, body)
    revived = api.patch(at, {"status": "scheduled"})

    assert second.status == 201
    for refused in (third, revived):
        assert (refused.status, refused.problem["code"]) == (409, "session_exists")
        assert refused.problem["present"] == {"id": second.json["id"], "version": 1}
        assert refused.headers["Location"] == second.headers["Location"]
    assert api.get(at).json["status"] == "cancelled"
    assert api.patch(at, {"status": "scheduled", "slot": "10:00"}).status == 200
    assert api.patch(at, {"status": "cancelled", "slot": "09:00"}).status == 200
    assert api.patch(f"{SESSIONS}{second.json['id']}/", {"status": "cancelled"}).status == 200
    assert api.patch(at, {"status": "open"}).status == 200


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "pointers"),
    [
        ("{day}T00:00:00+05:30", "{day}T23:59:59+05:30", None),
        ("{day}T23:00:00+05:30", "{after}T23:59:59+05:30", None),
        ("{before}T18:30:00Z", None, None),  # midnight in India
        (None, "{after}T01:00:00+05:30", None),
        ("{before}T18:29:59Z", None, {"/starts_at"}),
        ("{day}T18:30:00Z", None, {"/starts_at"}),
        ("2025-12-30T09:00:00Z", None, {"/starts_at"}),
        ("2027-10-30T09:00:00Z", "2027-10-30T10:00:00Z", {"/starts_at", "/ends_at"}),
        ("{day}T09:00:00+05:30", "{two}T00:00:00+05:30", {"/ends_at"}),
    ],
)
def test_a_session_starts_on_its_date_in_the_organizations_time_zone(api, today, starts_at, ends_at, pointers):
    days = {"before": -1, "day": 0, "after": 1, "two": 2}
    dates = {name: str(today + timedelta(days=number)) for name, number in days.items()}
    fields = {"starts_at": starts_at and starts_at.format(**dates), "ends_at": ends_at and ends_at.format(**dates)}
    plain = api.made(SESSIONS, {"local_date": str(today), "slot": "plain"})

    made = api.post(SESSIONS, {"local_date": str(today), "slot": "timed", **fields})
    changed = api.patch(f"{SESSIONS}{plain['id']}/", fields)

    if pointers is None:
        assert (made.status, changed.status) == (201, 200)
        return
    for response in (made, changed):
        assert (response.status, response.pointers) == (422, pointers)
        assert {error["code"] for error in response.problem["errors"]} == {"not_that_day"}


def test_a_session_moves_with_its_times(api, today):
    tomorrow = today + timedelta(days=1)
    made = api.made(SESSIONS, {"local_date": str(today), "starts_at": f"{today}T09:00:00+05:30"})
    at = f"{SESSIONS}{made['id']}/"

    alone = api.patch(at, {"local_date": str(tomorrow)})
    together = api.patch(at, {"local_date": str(tomorrow), "starts_at": f"{tomorrow}T09:00:00+05:30"})

    assert (alone.status, alone.pointers) == (422, {"/starts_at"})
    assert (together.status, together.json["local_date"]) == (200, str(tomorrow))
    assert api.patch(at, {"notes": "indoors"}).status == 200


def test_a_refused_change_of_a_sessions_state_names_the_session(api, a_class):
    roster = a_class(1)
    roster.mark("present")
    marked = api.patch(roster.url, {"status": "cancelled"})
    api.post(f"{roster.url}submit/")
    submitted = api.patch(roster.url, {"status": "open"})
    api.post(f"{roster.url}lock/")
    locked = api.patch(roster.url, {"notes": "x"})

    late = roster.mark("late", overwrite=True)

    for response, version in ((marked, 1), (submitted, 2), (locked, 3), (late, 3)):
        assert response.problem["present"] == {"id": roster.session, "version": version}
        assert response.headers["Location"] == roster.url


def test_a_retry_with_the_same_id_and_body_returns_the_existing_session(api, group, today):
    body = {"id": str(new_id()), "group_id": group()["id"], "local_date": str(today)}
    first = api.post(SESSIONS, body)
    api.patch(f"{SESSIONS}{body['id']}/", {"notes": "x"})

    again = api.post(SESSIONS, body)
    another = api.post(SESSIONS, {**body, "slot": "10:00"})

    assert (first.status, again.status, again.json["notes"]) == (201, 200, "x")
    assert (another.status, another.problem["code"]) == (409, "id_taken")


def test_sessions_must_be_within_the_accepted_dates(api, today):
    for days in (-400, 60):
        assert api.post(SESSIONS, {"local_date": str(today + timedelta(days=days))}).status == 201
    for days in (-401, 61, 10_000):
        response = api.post(SESSIONS, {"local_date": str(today + timedelta(days=days))})
        assert (response.status, response.problem["code"], response.pointers) == (
            422,
            "date_out_of_range",
            {"/local_date"},
        )


def test_sessions_are_filtered_and_paged(api, group, today):
    mine, another = group()["id"], group()["id"]
    for days in range(5):
        api.made(SESSIONS, {"group_id": mine, "local_date": str(today + timedelta(days=days))})
    api.made(SESSIONS, {"group_id": another, "local_date": str(today), "status": "open"})

    def dates(query, at=SESSIONS):
        response = api.get(f"{at}?{query}")
        assert response.status == 200, response.raw.get_data(as_text=True)
        assert len(response.queries) == 1
        return [item["local_date"] for item in response.json["items"]]

    days = [str(today + timedelta(days=n)) for n in range(5)]
    assert dates(f"group_id={mine}") == days
    assert dates(f"group_id={mine}&sort=-date") == days[::-1]
    assert dates(f"from={days[1]}&to={days[2]}") == days[1:3]
    assert dates("status=open") == [days[0]]
    assert dates(f"from={days[3]}", at=f"/api/groups/{mine}/sessions/") == days[3:]
    assert dates("", at=f"/api/groups/{another}/sessions/") == [days[0]]
    page = api.get(f"{SESSIONS}?group_id={mine}&limit=3")
    rest = api.get(f"{SESSIONS}?group_id={mine}&limit=3&cursor={page.json['next_cursor']}")
    assert [i["local_date"] for i in page.json["items"] + rest.json["items"]] == days
    assert api.get(f"{SESSIONS}?from=yesterday").pointers == {"/from"}
    assert api.get(f"{SESSIONS}?since=1").pointers == {"/since"}
    assert api.get(f"/api/groups/{new_id()}/sessions/").status == 404


def test_a_session_with_marks_stays_on_its_date(api, a_class, today):
    roster = a_class(1)
    tomorrow = str(today + timedelta(days=1))
    assert api.patch(roster.url, {"local_date": tomorrow}).json["local_date"] == tomorrow
    assert api.patch(roster.url, {"local_date": str(today)}).status == 200
    assert api.patch(roster.url, {"local_date": str(today + timedelta(days=61))}).pointers == {"/local_date"}
    roster.mark("present")

    moved = api.patch(roster.url, {"local_date": tomorrow})
    cancelled = api.patch(roster.url, {"status": "cancelled"})
    slot = api.patch(roster.url, {"slot": "10:00", "local_date": str(today)})

    assert (moved.status, moved.problem["code"]) == (409, "session_has_marks")
    assert (cancelled.status, cancelled.problem["code"]) == (409, "session_has_marks")
    assert slot.json["slot"] == "10:00"


def test_a_session_does_not_move_while_it_is_being_marked(api, tenant, a_class, today, sql):
    for _ in range(5):
        roster = a_class(3)
        another = tenant.someone(Role.ADMIN)
        gate = threading.Barrier(2)
        responses = {}

        def move(roster=roster, another=another, gate=gate, responses=responses):
            gate.wait()
            responses["move"] = another.patch(roster.url, {"local_date": str(today + timedelta(days=1))})

        thread = threading.Thread(target=move)
        thread.start()
        gate.wait()
        responses["mark"] = roster.mark("present", "present", "present")
        thread.join()

        assert responses["mark"].status == 200
        assert responses["move"].status in (200, 409)
        astray = sql(
            "SELECT count(*) FROM attendance_records r JOIN attendance_sessions s"
            " ON s.organization_id = r.organization_id AND s.id = r.session_id"
            " WHERE r.organization_id = %s AND r.local_date <> s.local_date",
            tenant.id,
        )
        assert astray == [(0,)]


def test_a_register_is_submitted_locked_and_reopened(api, tenant, a_class):
    roster = a_class(1)

    submitted = api.post(f"{roster.url}submit/")
    again = api.post(f"{roster.url}submit/")
    moved = api.patch(roster.url, {"status": "open"})
    locked = api.post(f"{roster.url}lock/")
    notes = api.patch(roster.url, {"notes": "x"})
    resubmitted = api.post(f"{roster.url}submit/")
    reopened = api.post(f"{roster.url}reopen/")

    assert (submitted.json["status"], submitted.json["submitted_by"]) == ("submitted", str(api.user_id))
    assert again.json == submitted.json
    assert moved.problem["code"] == "session_submitted"
    assert (locked.json["status"], locked.json["submitted_at"]) == ("locked", submitted.json["submitted_at"])
    assert api.post(f"{roster.url}lock/", headers={"If-Match": '"1"'}).status == 412
    assert notes.problem["code"] == resubmitted.problem["code"] == "session_locked"
    assert (reopened.json["status"], reopened.json["submitted_at"], reopened.json["locked_at"]) == ("open", None, None)
    assert api.post(f"{roster.url}reopen/").json == reopened.json
    api.patch(roster.url, {"status": "cancelled"})
    for way in ("submit", "lock", "reopen"):
        assert api.post(f"{roster.url}{way}/").problem["code"] == "session_cancelled"
    assert api.patch(roster.url, {"status": "scheduled"}).json["status"] == "scheduled"


def test_an_invisible_group_is_refused_with_its_pointer(api, tenant, other, group, today):
    foreign = other.the(Role.ADMIN).made("/api/groups/", {"code": "B", "name": "B"})["id"]
    deleted = group()["id"]
    assert api.delete(f"/api/groups/{deleted}/").status == 204
    not_theirs = group()["id"]
    trainer = tenant.the(Role.TRAINER)

    for client, group_id in ((api, foreign), (api, deleted), (api, str(new_id())), (trainer, not_theirs)):
        response = client.post(SESSIONS, {"group_id": group_id, "local_date": str(today)})
        assert (response.status, response.pointers) == (422, {"/group_id"})


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"local_date": "2026-02-30"}, "/local_date"),
        ({"local_date": None}, "/local_date"),
        ({"slot": "a\x00"}, "/slot"),
        ({"notes": "\x00"}, "/notes"),
        ({"status": "locked"}, "/status"),
        ({"group_id": 7}, "/group_id"),
        ({"starts_at": "09:00"}, "/starts_at"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_invalid_sessions_are_refused(api, today, wrong, pointer):
    response = api.post(SESSIONS, {"local_date": str(today), **wrong})

    assert (response.status, response.pointers) == (422, {pointer})


def test_sessions_of_another_organization_are_neither_seen_nor_changed(api, other, a_class):
    roster = a_class(1)
    roster.mark("present")
    foreign_admin = other.the(Role.ADMIN)

    assert foreign_admin.get(roster.url).status == 404
    assert foreign_admin.get(roster.records).status == 404
    assert foreign_admin.put(roster.records, {"records": [], "rest": "absent"}).status == 404
    assert foreign_admin.patch(roster.url, {"notes": "x"}).status == 404
    for way in ("submit", "lock", "reopen"):
        assert foreign_admin.post(f"{roster.url}{way}/").status == 404
    assert foreign_admin.get(f"/api/groups/{roster.group}/sessions/").status == 404
    assert foreign_admin.get(f"{SESSIONS}?group_id={roster.group}").json["items"] == []
    assert foreign_admin.get(SESSIONS).json["items"] == []
    assert api.get(roster.url).json["version"] == 1
