from datetime import timedelta

import pytest
from sqlalchemy import event

from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role


def outcomes(response):
    assert response.status == 200, response.raw.get_data(as_text=True)
    return [row["outcome"] for row in response.json["results"]]


def audited(sql, tenant):
    return sql(
        "SELECT action, reason FROM audit_log WHERE organization_id = %s AND entity = 'attendance_records' ORDER BY id",
        tenant.id,
    )


def test_a_thousand_marks_take_four_statements_and_a_repetition_changes_nothing(api, a_class, sql, tenant):
    roster = a_class(1000)
    body = {
        "records": [
            {"student_id": student, "code": "late" if n % 7 == 0 else "present", "note": f"{n}" * 800}
            for n, student in enumerate(roster.students)
        ]
    }

    first = api.put(roster.records, body)
    again = api.put(roster.records, body)

    assert first.json["summary"] == {"created": 1000, "updated": 0, "unchanged": 0, "conflict": 0, "error": 0}
    assert len(first.queries) <= 4, first.queries
    assert again.json["summary"]["unchanged"] == 1000
    assert len(again.queries) == 1
    assert {row["version"] for row in again.json["results"]} == {1}
    assert [row["id"] for row in again.json["results"]] == [row["id"] for row in first.json["results"]]
    assert len(audited(sql, tenant)) == 1000


def test_the_remaining_students_of_the_roster_are_marked_in_one_call(api, a_class, enrol, students, today):
    roster = a_class(4)
    enrol(roster.group, students(1), status="pending")
    enrol(roster.group, students(1), ends_on=today - timedelta(days=1))
    enrol(roster.group, students(1), begins_on=today + timedelta(days=1))
    last_day = students(1)
    enrol(roster.group, last_day, ends_on=today, status="withdrawn")
    roster.mark("late")

    response = api.put(
        roster.records, {"records": [{"student_id": roster.students[1], "code": "absent"}], "rest": "present"}
    )
    again = api.put(
        roster.records, {"records": [{"student_id": roster.students[1], "code": "absent"}], "rest": "present"}
    )

    codes = {row["student_id"]: row["code"] for row in response.json["results"]}
    assert codes == {
        roster.students[0]: "late",
        roster.students[1]: "absent",
        roster.students[2]: "present",
        roster.students[3]: "present",
        last_day[0]: "present",
    }
    assert response.json["summary"] == {"created": 4, "updated": 0, "unchanged": 1, "conflict": 0, "error": 0}
    assert len(response.queries) <= 4
    assert again.json["summary"]["unchanged"] == 5
    assert {row["source"] for row in again.json["results"] if row["index"] is None} == {"manual", "bulk"}


def test_all_present_needs_no_rows(api, a_class):
    roster = a_class(2)

    assert outcomes(api.put(roster.records, {"rest": "present"})) == ["created", "created"]


def test_a_student_with_an_invalid_row_is_not_marked_with_the_remaining_ones(api, a_class):
    roster = a_class(3)
    absent = {"student_id": roster.students[0], "code": "absent", "check_in_at": "noon"}

    response = api.put(roster.records, {"records": [absent], "rest": "present"})
    nameless = api.put(
        roster.records, {"records": [{"student": roster.students[1], "code": "absent"}], "rest": "present"}
    )

    assert outcomes(response) == ["error", "created", "created"]
    assert (nameless.status, nameless.pointers) == (422, {"/records/0/student_id", "/records/0/student"})


def test_a_different_mark_is_a_conflict_without_its_version_or_overwrite(api, a_class):
    roster = a_class(1)
    student = roster.students[0]
    first = roster.mark("present").json["results"][0]

    conflict = roster.mark("absent").json["results"][0]
    stale = api.put(roster.records, {"records": [{"student_id": student, "code": "absent", "version": 7}]})
    named = api.put(roster.records, {"records": [{"student_id": student, "code": "absent", "version": 1}]})
    retried = api.put(roster.records, {"records": [{"student_id": student, "code": "absent", "version": 1}]})
    forced = roster.mark("late", overwrite=True)

    assert conflict["outcome"] == "conflict"
    assert conflict["present"]["code"] == "present"
    assert (conflict["present"]["id"], conflict["present"]["version"]) == (first["id"], 1)
    assert outcomes(stale) == ["conflict"]
    assert outcomes(named) == ["updated"]
    assert named.json["results"][0]["version"] == 2
    assert outcomes(retried) == ["unchanged"]
    assert outcomes(forced) == ["updated"]
    assert api.get(roster.records).json["items"][0]["mark"]["code"] == "late"
    assert api.get(roster.records).json["items"][0]["mark"]["version"] == 3


def test_a_version_of_a_missing_mark_is_a_conflict(api, a_class):
    roster = a_class(1)

    response = api.put(roster.records, {"records": [{"student_id": roster.students[0], "code": "late", "version": 1}]})

    assert outcomes(response) == ["conflict"]
    assert response.json["results"][0]["present"] is None
    assert api.get(roster.records).json["items"][0]["mark"] is None


def test_fields_missing_in_a_row_stay_unchanged(api, a_class, today):
    roster = a_class(1)
    student, day = roster.students[0], today - timedelta(days=1)  # this morning may still be in the future
    whole = {
        "student_id": student,
        "code": "present",
        "note": "by bus",
        "check_in_at": f"{day}T04:00:00Z",
        "check_out_at": f"{day}T05:30:30Z",
    }
    made = api.put(roster.records, {"records": [whole]}).json["results"][0]

    confirmed = roster.mark("present")
    changed = api.put(
        roster.records, {"records": [{"student_id": student, "code": "late", "version": 1, "check_out_at": None}]}
    ).json["results"][0]

    assert made["minutes"] == 90
    assert outcomes(confirmed) == ["unchanged"]
    assert (changed["note"], changed["check_in_at"], changed["minutes"]) == ("by bus", f"{day}T04:00:00Z", None)


def test_an_instant_is_returned_and_logged_in_utc(api, tenant, a_class, today, sql):
    roster, day = a_class(1), today - timedelta(days=1)  # this morning may still be in the future
    row = {"student_id": roster.students[0], "code": "late", "check_in_at": f"{day}T09:30:00+05:30"}
    made = api.put(roster.records, {"records": [row]}).json["results"][0]

    assert made["check_in_at"] == f"{day}T04:00:00Z"
    ((logged,),) = sql(
        "SELECT after->>'check_in_at' FROM audit_log WHERE organization_id = %s AND entity_id = %s",
        tenant.id,
        made["id"],
    )
    assert logged == f"{day}T04:00:00+00:00"


def test_the_plan_contains_the_ids_of_a_roster_once_and_not_once_a_month(app, tenant, api, a_class):
    """The planner took 48 ms when it considered a thousand ids for each of thirty months."""
    roster, executed = a_class(2), []
    engine = app.extensions["campshub"].engines[None]

    def record_statement(_connection, _cursor, text, parameters, *_rest):
        if "meeting" in text:
            executed.append((text, parameters))

    event.listen(engine, "before_cursor_execute", record_statement)
    try:
        roster.mark("present")
    finally:
        event.remove(engine, "before_cursor_execute", record_statement)

    ((text, parameters),) = executed
    with (
        app.app_context(),
        unit_of_work(organization_id=tenant.id) as session,
        session.connection().connection.cursor() as cursor,
    ):
        plan = "\n".join(row[0] for row in cursor.execute(f"EXPLAIN {text}", parameters))
    assert plan.count("attendance_records_p") > 5
    assert plan.count(roster.students[0]) <= 2


def test_each_row_has_its_own_result(api, a_class, other, student, today):
    roster = a_class(4)
    first, second, third, fourth = roster.students
    outsider = student()["id"]
    foreign = other.the(Role.ADMIN).made("/api/students/", {"code": "X", "given_name": "A", "family_name": "B"})["id"]
    rows = [
        {"student_id": first, "code": "present"},
        {"student_id": first, "code": "absent"},
        {"student_id": second, "code": "sleeping"},
        {"student_id": outsider, "code": "present"},
        {"student_id": foreign, "code": "present"},
        {"student_id": str(new_id()), "code": "present"},
        {"student_id": third, "code": "present", "note": "a\x00b"},
        {"student_id": third, "code": "present", "colour": "red"},
        {
            "student_id": fourth,
            "code": "late",
            "check_in_at": f"{today - timedelta(days=1)}T05:00:00Z",
            "check_out_at": f"{today - timedelta(days=1)}T04:00:00Z",
        },
        "no row",
        {"student_id": 5, "code": "present"},
    ]

    response = api.put(roster.records, {"records": rows})

    assert outcomes(response) == ["created"] + ["error"] * 10
    errors = [{e["pointer"]: e["code"] for e in row["errors"]} for row in response.json["results"]]
    assert errors[1] == {"/student_id": "repeated"}
    assert errors[2] == {"/code": "unknown_code"}
    assert errors[3] == {"/student_id": "not_on_roster"}
    assert errors[4] == errors[5] == {"/student_id": "unknown_student"}
    assert "/note" in errors[6]
    assert errors[8] == {"/check_out_at": "out_before_in"}
    assert response.json["summary"] == {"created": 1, "updated": 0, "unchanged": 0, "conflict": 0, "error": 10}
    assert [row["mark"] is not None for row in api.get(roster.records).json["items"]] == [True, False, False, False]


def test_times_far_from_the_day_are_refused(api, a_class, today):
    roster = a_class(1)
    row = {"student_id": roster.students[0], "code": "present", "check_in_at": f"{today - timedelta(days=3)}T05:00:00Z"}

    response = api.put(roster.records, {"records": [row]})

    assert response.json["results"][0]["errors"][0]["code"] == "not_that_day"


def test_invalid_bodies_are_refused(api, a_class):
    roster = a_class(1)
    row = {"student_id": roster.students[0], "code": "present"}

    assert api.put(roster.records, {"records": [row] * 1001}).pointers == {"/records"}
    assert api.put(roster.records, {"records": [row], "colour": 1}).pointers == {"/colour"}
    assert api.put(roster.records, {"records": [row], "overwrite": "yes"}).pointers == {"/overwrite"}
    assert api.put(roster.records, {"records": row}).pointers == {"/records"}
    assert api.put(roster.records, {"records": [row], "rest": "sleeping"}).pointers == {"/rest"}
    assert api.put(roster.records, {"records": [row], "rest": "a\x00"}).pointers == {"/rest"}
    assert api.put(roster.records, {"records": [row], "reason": " \x00"}).pointers == {"/reason"}


def test_open_gym_accepts_any_student_and_has_no_remaining_students(api, student, today):
    session = api.made("/api/attendance/sessions/", {"local_date": str(today)})
    url = f"/api/attendance/sessions/{session['id']}/records/"
    someone = student()["id"]

    response = api.put(url, {"records": [{"student_id": someone, "code": "present"}]})
    rest = api.put(url, {"records": [], "rest": "present"})

    assert outcomes(response) == ["created"]
    assert (rest.status, rest.problem["code"], rest.pointers) == (422, "no_roster", {"/rest"})
    assert [row["student_id"] for row in api.get(url).json["items"]] == [someone]


def test_a_mark_stays_and_can_be_corrected_after_leaving(api, a_class, sql, tenant):
    roster = a_class(2)
    roster.mark("present", "present")
    enrolment = next(
        e
        for e in api.get(f"/api/groups/{roster.group}/enrolments/").json["items"]
        if e["student_id"] == roster.students[0]
    )
    api.patch(f"/api/groups/{roster.group}/enrolments/{enrolment['id']}/", {"ends_on": enrolment["begins_on"]})

    shown = {row["student_id"]: row["is_on_roster"] for row in api.get(roster.records).json["items"]}
    response = roster.mark("late", overwrite=True)

    assert shown == {roster.students[0]: False, roster.students[1]: True}
    assert outcomes(response) == ["updated"]


def test_after_submission_a_change_needs_a_reason_which_is_stored(api, a_class, sql, tenant):
    roster = a_class(2)
    roster.mark("present")
    assert api.post(f"{roster.url}submit/").json["status"] == "submitted"

    same = roster.mark("present")
    refused = roster.mark("late", overwrite=True)
    late = roster.mark("present", "present")
    changed = roster.mark("late", overwrite=True, reason="came at ten")

    assert outcomes(same) == ["unchanged"]
    for response in (refused, late):
        assert (response.status, response.problem["code"], response.pointers) == (422, "reason_required", {"/reason"})
    assert outcomes(changed) == ["updated"]
    assert audited(sql, tenant) == [("created", None), ("changed", "came at ten")]


def test_after_locking_a_change_needs_permission_and_reason(api, tenant, a_class):
    trainer = tenant.the(Role.TRAINER)
    roster = a_class(1, trainer=trainer)
    roster.mark("present")
    assert api.post(f"{roster.url}lock/").json["status"] == "locked"

    unreasoned = roster.mark("late", overwrite=True)
    unpermitted = roster.mark("late", overwrite=True, api=trainer, reason="a mistake")
    reasoned = roster.mark("late", overwrite=True, reason="a mistake")

    assert (unreasoned.status, unreasoned.problem["code"]) == (409, "session_locked")
    assert (unpermitted.status, unpermitted.problem["code"]) == (409, "session_locked")
    assert outcomes(reasoned) == ["updated"]


def test_a_cancelled_session_accepts_no_marks(api, a_class):
    roster = a_class(1)
    assert api.patch(roster.url, {"status": "cancelled"}).status == 200

    assert roster.mark("present").problem["code"] == "session_cancelled"


def test_marking_in_a_month_without_partition_is_refused_clearly(api, a_class, stack, database, today):
    long_ago = today - timedelta(days=399)
    roster = a_class(1, on=long_ago)
    first = long_ago.replace(day=1)
    until = (first + timedelta(days=31)).replace(day=1)
    partition = f"attendance_records_p{first:%Y_%m}"
    with stack.primary.connect(database) as connection:
        connection.execute(f"ALTER TABLE attendance_records DETACH PARTITION {partition}")
        try:
            response = roster.mark("present")
        finally:
            bounds = f"FROM ('{first}') TO ('{until}')"
            connection.execute(f"ALTER TABLE attendance_records ATTACH PARTITION {partition} FOR VALUES {bounds}")

    assert (response.status, response.problem["code"]) == (409, "month_unavailable")
    assert outcomes(roster.mark("present")) == ["created"]


@pytest.mark.parametrize("version", [0, -1, 2**31, 1.5, True, "1"])
def test_versions_are_whole_numbers(api, a_class, version):
    roster = a_class(1)

    response = api.put(
        roster.records, {"records": [{"student_id": roster.students[0], "code": "late", "version": version}]}
    )

    assert outcomes(response) == ["error"]


def test_the_application_accesses_records_only_through_the_parent_table(sql):
    partitions = sql(
        "SELECT c.relrowsecurity AND c.relforcerowsecurity, c.relacl::text LIKE '%%campshub_app%%'"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'attendance_records'::regclass"
    )

    assert len(partitions) >= 20
    assert {(protected, bool(granted)) for protected, granted in partitions} == {(True, False)}
