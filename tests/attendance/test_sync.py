"""Many registers in one call: a day without a connection, uploaded in one request."""

import threading
from datetime import timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

SYNC = "/api/attendance/sync/"


def rows(roster, *codes):
    return [{"student_id": student, "code": code} for student, code in zip(roster.students, codes, strict=False)]


@pytest.fixture
def named(today):
    """Return a function that names a session by its group, date and slot."""
    return lambda roster, slot="17:00", **fields: {
        "group_id": roster.group,
        "local_date": str(today),
        "slot": slot,
        **fields,
    }


def test_a_day_is_uploaded_in_one_call_and_again_without_a_change(api, a_class, named):
    first, second = a_class(2), a_class(2)
    body = {
        "registers": [
            {"session_id": first.session, "records": rows(first, "late"), "rest": "present"},
            named(second, "09:00", records=rows(second, "absent", "present")),
            named(second, records=rows(second, "late", "late")),
        ]
    }

    done, again = api.post(SYNC, body), api.post(SYNC, body)

    assert (done.status, done.json["summary"]) == (200, {"marked": 3, "error": 0})
    results = done.json["results"]
    assert [row["is_new"] for row in results] == [False, False, True]
    assert [row["session_id"] for row in results[:2]] == [first.session, second.session]
    assert [row["summary"]["created"] for row in results] == [2, 2, 2]
    assert [row["summary"]["unchanged"] for row in again.json["results"]] == [2, 2, 2]
    assert [row["session_id"] for row in again.json["results"]] == [row["session_id"] for row in results]
    new = api.get(f"/api/attendance/sessions/{results[2]['session_id']}/").json
    assert (new["group_id"], new["slot"], new["status"]) == (second.group, "17:00", "open")


def test_times_that_the_database_refuses_fail_only_their_register(api, a_class, named, today):
    roster, at = a_class(1), f"{today}T09:00:00+05:30"
    registers = [
        named(roster, "18:00", starts_at=at, ends_at=at, records=rows(roster, "late")),
        named(roster, "19:00", records=rows(roster, "late")),
    ]

    refused, marked = api.post(SYNC, {"registers": registers}).json["results"]

    assert (refused["problem"]["code"], marked["outcome"]) == ("ends_before_start", "marked")


def test_a_register_that_fails_does_not_affect_the_others(api, a_class, named, today):
    good, locked, submitted, cancelled = (a_class(1) for _ in range(4))
    api.post(f"{locked.url}submit/")
    api.post(f"{submitted.url}submit/")
    api.post(f"{locked.url}lock/")
    api.patch(cancelled.url, {"status": "cancelled"})
    other = a_class(1)
    registers = [
        {"session_id": str(new_id()), "records": []},
        {"session_id": locked.session, "records": rows(locked, "late")},
        {"session_id": submitted.session, "records": rows(submitted, "late")},
        named(cancelled, "09:00", records=rows(cancelled, "late")),
        named(other, records=rows(other, "late"), rest="nothing"),
        named(other, local_date=str(today + timedelta(days=90)), records=rows(other, "late")),
        {"records": []},
        {"session_id": "x", "records": []},
        {"session_id": good.session, "records": rows(good, "late"), "version": 7},
        {"session_id": good.session, "records": rows(good, "late")},
    ]

    response = api.post(SYNC, {"registers": registers})

    results = response.json["results"]
    assert [row["problem"] and row["problem"]["code"] for row in results] == [
        "not_found",
        "session_locked",
        "reason_required",
        "session_cancelled",
        "validation",
        "date_out_of_range",
        "validation",
        "validation",
        "precondition_failed",
        None,
    ]
    assert response.json["summary"] == {"marked": 1, "error": 9}
    assert results[4]["problem"]["errors"][0]["pointer"] == "/rest"
    assert results[7]["problem"]["errors"][0]["pointer"] == "/session_id"
    assert api.get(f"/api/attendance/sessions/?group_id={other.group}").json["items"][0]["id"] == other.session
    assert len(api.get(f"/api/attendance/sessions/?group_id={other.group}").json["items"]) == 1


def test_what_a_failed_register_wrote_is_neither_stored_nor_audited(api, a_class, named):
    roster = a_class(1)
    bad = named(roster, records=rows(roster, "late"), rest="nothing")

    api.post(SYNC, {"registers": [bad, {"session_id": roster.session, "records": rows(roster, "late")}]})

    entries = api.get("/api/audit/?entity=attendance_sessions").json["items"]
    assert [entry["entity_id"] for entry in entries] == [roster.session]
    assert len(api.get("/api/audit/?entity=attendance_records").json["items"]) == 1


def test_each_register_has_its_own_reason(api, a_class):
    first, second, third = (a_class(1) for _ in range(3))
    for roster in (first, second):
        api.post(f"{roster.url}submit/")
    registers = [
        {"session_id": first.session, "records": rows(first, "late"), "reason": "Offline."},
        {"session_id": second.session, "records": rows(second, "late"), "reason": "Forgotten."},
        {"session_id": third.session, "records": rows(third, "late")},
    ]

    api.post(SYNC, {"registers": registers})

    entries = api.get("/api/audit/?entity=attendance_records").json["items"]
    reasons = {entry["person_id"]: entry["reason"] for entry in entries}
    assert reasons == {first.students[0]: "Offline.", second.students[0]: "Forgotten.", third.students[0]: None}


def test_a_session_has_the_id_that_the_device_chose_unless_the_slot_has_one(api, a_class, named):
    roster, own, unused = a_class(1), str(new_id()), str(new_id())
    registers = [
        named(roster, session_id=own, records=rows(roster, "late")),
        named(roster, "09:00", session_id=unused, records=rows(roster, "late")),
    ]

    results = api.post(SYNC, {"registers": registers}).json["results"]

    assert [row["session_id"] for row in results] == [own, roster.session]
    assert api.get(f"/api/attendance/sessions/{unused}/").status == 404


def test_a_trainer_marks_only_their_own_groups(tenant, a_class, named):
    trainer = tenant.the(Role.TRAINER)
    own, other = a_class(1, trainer=trainer), a_class(1)
    gym = {"local_date": named(own)["local_date"], "slot": "05:00", "records": []}
    registers = [
        {"session_id": other.session, "records": rows(other, "late")},
        named(other, records=rows(other, "late")),
        gym,
        named(own, records=rows(own, "late")),
    ]

    results = trainer.post(SYNC, {"registers": registers}).json["results"]

    assert [row["problem"] and row["problem"]["code"] for row in results] == [
        "not_found",
        "unknown_reference",
        "required",
        None,
    ]


def test_too_many_marks_and_registers_are_refused(api, a_class):
    roster = a_class(1)
    many = {"session_id": roster.session, "records": [rows(roster, "late")[0]] * 1_000}

    response = api.post(SYNC, {"registers": [many] * 6})
    registers = api.post(SYNC, {"registers": [{"session_id": roster.session}] * 51})

    assert (response.status, response.problem["errors"][0]["code"]) == (422, "too_many")
    assert (registers.status, registers.pointers) == (422, {"/registers"})


def test_uploads_at_once_create_each_session_once_and_lose_no_mark(tenant, a_class, named, sql):
    rosters = [a_class(4) for _ in range(3)]
    devices = [tenant.someone(Role.ADMIN) for _ in range(4)]
    gate, responses = threading.Barrier(len(devices)), [None] * len(devices)

    def upload(number):
        registers = [
            register
            for roster in rosters
            for register in (
                named(roster, records=[{"student_id": roster.students[number], "code": "late"}]),
                {"session_id": roster.session, "records": [{"student_id": roster.students[number], "code": "absent"}]},
            )
        ]
        gate.wait()
        body = {"registers": registers if number % 2 else registers[::-1]}
        responses[number] = devices[number].post(SYNC, body)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(len(devices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [response.json["summary"] for response in responses] == [{"marked": 6, "error": 0}] * 4
    stored = sql(
        "SELECT session_id, count(*) FROM attendance_records WHERE organization_id = %s GROUP BY session_id", tenant.id
    )
    assert sorted(count for _, count in stored) == [4] * 6


def test_the_number_of_statements_grows_by_few_for_each_register(api, a_class):
    rosters = [a_class(3) for _ in range(4)]
    registers = [{"session_id": roster.session, "rest": "present"} for roster in rosters]

    one, three = api.post(SYNC, {"registers": registers[:1]}), api.post(SYNC, {"registers": registers[1:]})

    assert len(one.queries) <= 7
    assert len(three.queries) - len(one.queries) <= 8  # a savepoint, the lock, the marks, the savepoint's release
