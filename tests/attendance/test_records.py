import re
from datetime import timedelta

import pytest
from sqlalchemy import event

from campshub.core.db.models import new_id
from campshub.core.db.session import db
from campshub.core.security.permissions import Role

RECORDS = "/api/attendance/records/"


def where(record):
    return f"{RECORDS}{record['id']}/?on={record['local_date']}"


@pytest.fixture
def record(a_class, today):
    """Return a maker of one record in a class of one."""

    def make(code="present", **fields):
        roster = a_class(1, **fields)
        roster.mark(code)
        return roster, roster.api.get(
            f"{RECORDS}?from={today - timedelta(days=399)}&to={today}&session_id={roster.session}"
        ).json["items"][0]

    return make


def test_the_register_shows_the_roster_with_its_marks(api, a_class):
    roster = a_class(3)
    roster.mark("late")

    response = api.get(roster.records)

    assert len(response.queries) <= 2
    assert [row["student_id"] for row in response.json["items"]] == roster.students
    assert [row["mark"] and row["mark"]["code"] for row in response.json["items"]] == ["late", None, None]
    assert {row["is_on_roster"] for row in response.json["items"]} == {True}
    page = api.get(f"{roster.records}?limit=2&fields=student_id,mark")
    rest = api.get(f"{roster.records}?limit=2&fields=student_id,mark&cursor={page.json['next_cursor']}")
    assert [row["student_id"] for row in page.json["items"] + rest.json["items"]] == roster.students
    assert set(page.json["items"][0]) == {"student_id", "mark"}


def test_a_register_without_a_roster_is_empty_and_an_unknown_one_not_found(api, a_class):
    assert api.get(a_class(0).records).json["items"] == []
    assert api.get(f"/api/attendance/sessions/{new_id()}/records/").status == 404


def test_a_record_is_found_by_its_date(api, record, today):
    _, made = record()

    read = api.get(where(made))

    assert read.json == made
    assert len(read.queries) == 1
    assert api.get(f"{RECORDS}{made['id']}/?on={today - timedelta(days=1)}").status == 404
    assert api.get(f"{RECORDS}{made['id']}/").pointers == {"/on"}
    assert api.get(where(made), headers={"If-None-Match": read.headers["ETag"]}).status == 304


def test_records_are_filtered_by_their_fields(api, a_class, today):
    earlier, now = a_class(2, on=today - timedelta(days=40)), a_class(2)
    earlier.mark("present", "absent")
    now.mark("late", "absent")
    whole = f"from={today - timedelta(days=60)}&to={today}"

    def codes(query):
        response = api.get(f"{RECORDS}?{query}")
        assert response.status == 200, response.raw.get_data(as_text=True)
        assert len(response.queries) == 1
        return sorted(item["code"] for item in response.json["items"])

    assert codes(whole) == ["absent", "absent", "late", "present"]
    assert codes("") == ["absent", "late"]
    assert codes(f"{whole}&code=absent") == ["absent", "absent"]
    assert codes(f"{whole}&group_id={earlier.group}") == ["absent", "present"]
    assert codes(f"{whole}&session_id={now.session}") == ["absent", "late"]
    assert codes(f"{whole}&student_id={now.students[0]}") == ["late"]
    assert codes(f"to={today - timedelta(days=40)}&student_id={earlier.students[0]}") == ["present"]
    assert codes(f"{whole}&student_id={new_id()}") == []


def test_pages_of_records_neither_overlap_nor_omit_rows(api, a_class, today):
    for days in (0, 1, 35):
        a_class(3, on=today - timedelta(days=days)).mark("present", "present", "late")
    for sort in ("date", "-date"):
        collected, url = [], f"{RECORDS}?from={today - timedelta(days=60)}&to={today}&limit=4&sort={sort}"
        while url:
            page = api.get(url)
            collected += [(item["local_date"], item["id"]) for item in page.json["items"]]
            url = page.headers["Link"].partition(">")[0][1:] if page.json["has_more"] else None
        assert len(set(collected)) == len(collected) == 9
        assert collected == sorted(collected, reverse=sort == "-date")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=2026-01-02&to=2026-01-01", "/to"),
        ("from=2025-01-01&to=2026-12-31", "/to"),
        ("from=2026-13-01", "/from"),
        ("student_id=x", "/student_id"),
        ("code=%00", "/code"),
        ("colour=red", "/colour"),
        ("from=2026-01-01&from=2026-01-02", "/from"),
    ],
)
def test_invalid_filters_are_refused(api, query, pointer):
    response = api.get(f"{RECORDS}?{query}")

    assert (response.status, response.pointers) == (422, {pointer})


def test_reads_access_only_the_requested_months(ordinary_reads, app, api, tenant, a_class, student, today):
    roster = a_class(3)
    roster.mark("present", "late", "absent")
    record = api.get(RECORDS).json["items"][0]
    month = f"attendance_records_p{today:%Y_%m}"
    plans = []
    with app.app_context():
        engines = list(db.engines.values())

    def explain(connection, _cursor, statement, parameters, _context, _many):
        if "attendance_records" in statement and statement.startswith(("SELECT", "WITH")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", parameters)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
            cursor.close()

    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    try:
        first, last = today.replace(day=1), today
        page = api.get(f"{RECORDS}?from={first}&to={last}&limit=2")
        api.get(f"{RECORDS}?from={first}&to={last}&limit=2&cursor={page.json['next_cursor']}")
        api.get(f"{RECORDS}?from={first}&to={last}&student_id={roster.students[0]}")
        api.get(where(record))
        api.get(roster.records)
        api.get(f"/api/students/{roster.students[0]}/attendance/?from={first}&to={last}")
        reads = len(plans)
        roster.mark("present", "late", "absent")
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", explain)

    assert reads >= 6
    for plan in plans[:reads]:
        assert _months(plan) == {month}, plan
    # While marking, the date comes with the session: other months may be in the plan, but they are never executed.
    opened = "\n".join(line for line in plans[reads].splitlines() if "never executed" not in line)
    assert _months(opened) == {month}, plans[reads]


def _months(plan):
    return set(re.findall(r"attendance_records_p\d{4}_\d{2}", plan))


def test_a_record_is_changed_only_with_its_current_version(api, record, today):
    _, made = record()
    tag = api.get(where(made)).headers["ETag"]

    first = api.patch(where(made), {"code": "late", "note": "bus"}, headers={"If-Match": tag})
    second = api.patch(where(made), {"code": "absent"}, headers={"If-Match": tag})
    same = api.patch(where(made), {"code": "late"})

    assert (first.status, second.status) == (200, 412)
    assert (first.json["code"], first.json["counts_as"], first.json["version"]) == ("late", "late", 2)
    assert same.json["version"] == 2
    day = today - timedelta(days=1)  # this morning may still be in the future
    timed = api.patch(where(made), {"check_in_at": f"{day}T04:00:00Z", "check_out_at": f"{day}T04:45:59Z"})
    assert timed.json["minutes"] == 45
    assert timed.json["note"] == "bus"


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"code": "sleeping"}, "/code"),
        ({"note": "\x00"}, "/note"),
        ({"check_in_at": "2020-01-01T00:00:00Z"}, "/check_in_at"),
        ({"student_id": str(new_id())}, "/student_id"),
        ({"minutes": 5}, "/minutes"),
    ],
)
def test_invalid_changes_are_refused(api, record, wrong, pointer):
    _, made = record()

    response = api.patch(where(made), wrong)

    assert (response.status, response.pointers) == (422, {pointer})


def test_changes_and_removals_after_submission_need_a_reason(api, tenant, record, sql):
    roster, made = record()
    api.post(f"{roster.url}submit/")

    assert api.patch(where(made), {"code": "late"}).pointers == {"/reason"}
    assert api.delete(where(made)).pointers == {"/reason"}
    assert api.patch(where(made), {"code": "late", "reason": "came later"}).status == 200
    api.post(f"{roster.url}lock/")
    assert api.patch(where(made), {"code": "present"}).problem["code"] == "session_locked"
    assert api.delete(where(made)).problem["code"] == "session_locked"
    assert api.delete(f"{where(made)}&reason=not a student").status == 204

    assert api.get(where(made)).status == 404
    logged = sql(
        "SELECT action, reason, before->>'code', after->>'code' FROM audit_log"
        " WHERE organization_id = %s AND entity = 'attendance_records' ORDER BY id",
        tenant.id,
    )
    assert logged == [
        ("created", None, None, "present"),
        ("changed", "came later", "present", "late"),
        ("deleted", "not a student", "late", None),
    ]


def test_a_removed_mark_can_be_created_again(api, record):
    roster, made = record()
    stale = api.delete(where(made), headers={"If-Match": '"7"'})

    assert stale.status == 412
    assert api.delete(where(made)).status == 204
    assert api.delete(where(made)).status == 404
    assert roster.mark("absent").json["results"][0]["outcome"] == "created"


def test_notes_are_encrypted_in_the_audit_log(api, tenant, record, sql):
    _, made = record()
    api.patch(where(made), {"note": "has the flu"})

    entries = sql("SELECT before::text || after::text FROM audit_log WHERE organization_id = %s", tenant.id)

    assert not any("flu" in (row[0] or "") for row in entries)
    assert any("sealed" in (row[0] or "") for row in entries)


def test_a_students_history_adds_up(api, a_class, today):
    roster = a_class(1)
    url = f"/api/students/{roster.students[0]}/attendance/"
    empty = api.get(url)
    for days, code in enumerate(["present", "late", "absent", "excused"]):
        session = api.made(
            "/api/attendance/sessions/",
            {"group_id": roster.group, "local_date": str(today - timedelta(days=days)), "slot": "x"},
        )
        api.put(f"/api/attendance/sessions/{session['id']}/records/", {"rest": code})

    response = api.get(f"{url}?from={today - timedelta(days=5)}&to={today}")

    assert (empty.json["rate"], empty.json["total"], empty.json["items"]) == (None, 0, [])
    assert response.json["counts"] == {"present": 1, "late": 1, "left_early": 0, "absent": 1, "excused": 1}
    assert (response.json["total"], response.json["rate"], response.json["has_more"]) == (4, 0.6667, False)
    assert [item["code"] for item in response.json["items"]] == ["present", "late", "absent", "excused"]
    assert len(response.queries) == 2
    assert api.get(f"/api/students/{new_id()}/attendance/").status == 404
    assert api.get(f"{url}?from={today}&to={today - timedelta(days=1)}").pointers == {"/to"}


def test_records_of_another_organization_are_neither_seen_nor_changed(api, other, record):
    _, made = record()
    foreign_admin = other.the(Role.ADMIN)

    assert foreign_admin.get(where(made)).status == 404
    assert foreign_admin.patch(where(made), {"code": "late"}).status == 404
    assert foreign_admin.delete(where(made)).status == 404
    assert foreign_admin.get(f"/api/students/{made['student_id']}/attendance/").status == 404
    for name in ("student_id", "group_id", "session_id"):
        assert foreign_admin.get(f"{RECORDS}?{name}={made[name]}").json["items"] == []
    assert foreign_admin.get(RECORDS).json["items"] == []
    assert api.get(where(made)).json["version"] == 1
