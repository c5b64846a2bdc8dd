"""A register has its own version: a change can name the version that its author read."""

import re

import pytest

from campshub.attendance.service import marking
from campshub.core.security.permissions import Role
from tests.transactions import watched

ETAG = re.compile(r'"(\d+)-[0-9a-f]{12}"')


def version(response):
    assert response.status == 200, response.raw.get_data(as_text=True)
    return int(ETAG.fullmatch(response.headers["ETag"])[1])


def rows(roster, code, **fields):
    return {"records": [{"student_id": student, "code": code, **fields} for student in roster.students]}


def test_the_etag_of_a_read_register_is_valid_for_its_change(api, a_class):
    roster = a_class(2)
    read = api.get(roster.records)
    tag = read.headers["ETag"]

    first = api.put(roster.records, rows(roster, "present"), headers={"If-Match": tag})
    late = api.put(roster.records, rows(roster, "absent") | {"overwrite": True}, headers={"If-Match": tag})
    now = api.get(roster.records)
    third = api.put(
        roster.records, rows(roster, "late") | {"overwrite": True}, headers={"If-Match": f"W/{now.headers['ETag']}"}
    )

    assert [version(response) for response in (read, first, now, third)] == [0, 1, 1, 2]
    assert first.json["summary"]["created"] == 2
    assert (late.status, late.problem["code"]) == (412, "precondition_failed")
    assert {row["mark"]["code"] for row in now.json["items"]} == {"present"}
    assert third.json["summary"]["updated"] == 2
    assert [response.json["version"] for response in (first, third)] == [1, 2]


def test_the_etag_of_a_change_is_valid_for_the_next_one(api, a_class):
    roster = a_class(1)

    first = roster.mark("present")
    second = api.put(
        roster.records,
        rows(roster, "late") | {"overwrite": True},
        headers={"If-Match": first.headers["ETag"]},
    )

    assert [version(response) for response in (first, second)] == [1, 2]


def test_an_unchanged_register_returns_304_and_a_changed_one_does_not(api, a_class):
    roster = a_class(1)
    tag = api.get(roster.records).headers["ETag"]

    same = api.get(roster.records, headers={"If-None-Match": tag})
    roster.mark("present")
    changed = api.get(roster.records, headers={"If-None-Match": tag})

    assert (same.status, same.headers["ETag"]) == (304, tag)
    assert (changed.status, version(changed)) == (200, 1)


def test_each_page_shows_the_version_of_the_whole_register(api, a_class):
    roster = a_class(3)
    roster.mark("present", "present", "present")

    page = api.get(f"{roster.records}?limit=2")
    rest = api.get(f"{roster.records}?limit=2&cursor={page.json['next_cursor']}")
    response = api.put(roster.records, rows(roster, "present"), headers={"If-Match": rest.headers["ETag"]})

    assert (version(page), version(rest), version(response)) == (1, 1, 1)


def test_only_changes_of_marks_raise_the_version(api, a_class):
    roster = a_class(2)
    on = api.get(roster.url).json["local_date"]
    made = roster.mark("present", "present")
    record = f"/api/attendance/records/{made.json['results'][0]['id']}/?on={on}"
    versions = [version(api.get(roster.records))]

    def after(response, status=200):
        assert response.status == status, response.raw.get_data(as_text=True)
        versions.append(version(api.get(roster.records)))

    after(roster.mark("present", "present"))
    after(roster.mark("late"))  # a conflict
    after(api.patch(record, {"code": "present"}))
    after(api.patch(roster.url, {"notes": "indoors"}))
    assert versions == [1] * 5
    after(api.patch(record, {"code": "late"}))
    after(api.delete(record), 204)
    after(api.put(roster.records, {"rest": "absent"}))
    after(roster.mark("late", overwrite=True))
    assert versions[5:] == [2, 3, 4, 5]


def test_marks_do_not_change_the_version_of_the_session_or_the_lists_of_sessions(api, a_class):
    roster = a_class(1)
    one, listed = api.get(roster.url), api.get("/api/attendance/sessions/")
    on = one.json["local_date"]

    with watched() as transactions:
        record = roster.mark("present").json["results"][0]["id"]
        api.patch(f"/api/attendance/records/{record}/?on={on}", {"note": "by bus"})
        api.delete(f"/api/attendance/records/{record}/?on={on}")

    for url, before in ((roster.url, one), ("/api/attendance/sessions/", listed)):
        assert api.get(url, headers={"If-None-Match": before.headers["ETag"]}).status == 304
    assert {table for one in transactions for table in one.written} >= {"attendance_records", "register_versions"}
    assert {tag for one in transactions for _, tag in one.stamped} == {"attendance"}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_mark_made_between_reading_and_writing_fails_the_precondition(api, tenant, a_class, monkeypatch, is_first):
    roster, other = a_class(3), tenant.someone(Role.ADMIN)
    if not is_first:
        roster.mark("absent")
    tag = api.get(roster.records).headers["ETag"]
    merge, calls, theirs = marking.writes.merge, [], []

    def later(session, *arguments, **options):
        calls.append(session)
        if len(calls) == 1:  # releases the register, as if it took no lock
            session.commit()
            mark = {"student_id": roster.students[1], "code": "excused"}
            theirs.append(other.put(roster.records, {"records": [mark]}))
            session.connection()
        return merge(session, *arguments, **options)

    monkeypatch.setattr(marking.writes, "merge", later)
    mine = {"records": [{"student_id": roster.students[2], "code": "late"}]}
    response = api.put(roster.records, mine, headers={"If-Match": tag})

    assert version(theirs[0]) == (1 if is_first else 2)
    assert (response.status, response.problem["code"]) == (412, "precondition_failed")
    marks = [row["mark"] and row["mark"]["code"] for row in api.get(roster.records).json["items"]]
    assert marks == [None if is_first else "absent", "excused", None]


def test_marking_with_an_etag_takes_no_extra_statement(api, a_class):
    roster = a_class(2)
    tag = api.get(roster.records).headers["ETag"]

    response = api.put(roster.records, rows(roster, "present"), headers={"If-Match": tag})

    assert len(response.queries) == 3, response.queries
