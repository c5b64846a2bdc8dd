"""Reports about registers and students at risk: each figure compared with what was marked, in every format."""

import io
from datetime import timedelta

import pytest
from pypdf import PdfReader

from tests.reports.conftest import MONDAY, TODAY

DAYS = [MONDAY + timedelta(days=n) for n in range(5)]
WEEK = {"from": str(DAYS[0]), "to": str(DAYS[4])}
KINDS = {
    "at_risk": {},
    "average_daily_attendance": WEEK,
    "group_summary": WEEK,
    "teacher_completion": WEEK,
    "daily_register_status": {"on": str(DAYS[0])},
}


@pytest.fixture
def marked(school):
    """Two registers with marks, one without, a cancelled session, and a second group of which nothing is marked."""
    admin = school.admin
    school.mark(DAYS[0], asha="present", ravi="absent", anna="late")
    school.mark(DAYS[1], asha="present", ravi="excused")
    for slot in ("09:00", "10:00"):
        body = {"group_id": school.group_id, "local_date": str(DAYS[2]), "slot": slot}
        session = admin.made("/api/attendance/sessions/", body)["id"]
    assert admin.patch(f"/api/attendance/sessions/{session}/", {"status": "cancelled"}).status == 200
    assert admin.patch("/api/organization/", {"at_risk_rate": 60, "at_risk_absences": 2}).status == 200
    return school


def values(rows):
    return [list(row.values()) for row in rows]


def other_group(school):
    """Create a group that the trainer does not train, with a session on the first day."""
    group = school.admin.made("/api/groups/", {"code": "8C", "name": "Class 8C"})["id"]
    start = f"{DAYS[0]}T14:30:00+05:30"
    body = {"group_id": group, "local_date": str(DAYS[0]), "slot": "14:30", "starts_at": start}
    school.admin.made("/api/attendance/sessions/", body)
    return group


def test_the_group_summary_shows_what_is_not_taken_separately_from_absences(marked):
    other_group(marked)

    rows = values(marked.rows("group_summary", **WEEK))

    # 9 marks were scheduled: 5 exist, of which 4 are in the rate.
    assert rows == [
        ["Class 7B", "3", "3", "9", "2", "1", "0", "1", "1", "4", "75.0"],
        ["Class 8C", "0", "1", "0", "0", "0", "0", "0", "0", "0", ""],
    ]
    assert values(marked.rows("group_summary", who=marked.trainer, **WEEK)) == rows[:1]
    assert values(marked.rows("group_summary", group_id=marked.group_id, **WEEK)) == rows[:1]


def test_average_daily_attendance_is_of_all_possible_marks(marked):
    rows = values(marked.rows("average_daily_attendance", **WEEK))

    assert rows == [["Class 7B", "3", "3", "9", "3", "2", "33.3", "1.0", "0.7"]]


def test_sessions_after_today_are_in_no_summary(marked):
    later = str(TODAY + timedelta(days=9))
    marked.admin.made("/api/attendance/sessions/", {"group_id": marked.group_id, "local_date": later})

    rows = marked.rows("group_summary", **{"from": str(DAYS[0]), "to": later})

    assert [row["Sessions"] for row in rows] == ["3"]
    assert marked.rows("daily_register_status", on=later) == []


def test_the_register_status_of_a_day_shows_who_took_each_register(marked):
    other_group(marked)
    session = marked.admin.get(f"/api/groups/{marked.group_id}/sessions/?from={DAYS[0]}&to={DAYS[0]}").json["items"][0]
    assert marked.trainer.post(f"/api/attendance/sessions/{session['id']}/submit/").status == 200
    school, other = values(marked.rows("daily_register_status", on=str(DAYS[0])))

    assert school[:5] == ["Class 7B", "09:00", "", "A trainer", "submitted"]
    assert len(school[5]) == len("09:00")
    assert school[6:] == ["A trainer", "3", "3", "0"]
    assert other == ["Class 8C", "14:30", "14:30", "", "scheduled", "", "", "0", "0", "0"]
    (third_day,) = values(marked.rows("daily_register_status", on=str(DAYS[2])))
    assert third_day[7:] == ["0", "3", "3"]
    assert len(marked.rows("daily_register_status", who=marked.trainer, on=str(DAYS[0]))) == 1


def test_teachers_are_compared_by_the_date_on_which_they_submitted(marked, sql):
    sessions = marked.admin.get(f"/api/groups/{marked.group_id}/sessions/?from={DAYS[0]}&to={DAYS[4]}").json["items"]
    for session in sessions[:2]:
        assert marked.trainer.post(f"/api/attendance/sessions/{session['id']}/submit/").status == 200
    # Half past eleven in the evening of the session's date in India, and half an hour later.
    for session, time in zip(sessions[:2], ("18:00", "18:30"), strict=True):
        sql(
            "UPDATE attendance_sessions SET submitted_at = %s WHERE id = %s RETURNING id",
            f"{session['local_date']}T{time}:00Z",
            session["id"],
        )

    rows = values(marked.rows("teacher_completion", **WEEK))

    assert rows == [["A trainer", "1", "3", "1", "1", "1", "33.3"]]


def test_students_at_risk_are_listed_with_their_reasons(school):
    for back, code in ((3, "present"), (2, "absent"), (1, "absent")):
        school.mark(TODAY - timedelta(days=back), ravi=code, asha="present")
    rules = {"at_risk_rate": 60, "at_risk_weeks": 1, "at_risk_absences": 2}
    assert school.admin.patch("/api/organization/", rules).status == 200

    rows = values(school.rows("at_risk"))

    seen = str(TODAY - timedelta(days=3))
    assert rows == [["Ravi Iyer", "R2", "3", "1", "33.3", "2", seen, "rate below 60 %; 2 missed in a row"]]
    assert values(school.rows("at_risk", who=school.trainer, group_id=school.group_id)) == rows


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_made_in_every_format(marked, kind):
    for suffix, start in (("csv", b"\xef\xbb\xbf"), ("xlsx", b"PK"), ("pdf", b"%PDF")):
        file = marked.file(marked.report(kind, suffix, **KINDS[kind]))
        assert file.startswith(start)
    text = PdfReader(io.BytesIO(file)).pages[0].extract_text()
    assert "Hill Camp" in text
    assert ("Ravi Iyer" if kind == "at_risk" else "A trainer" if kind == "teacher_completion" else "Class 7B") in text


@pytest.mark.parametrize("kind", KINDS)
def test_groups_that_are_not_visible_are_refused(marked, kind):
    parameters = {**KINDS[kind], "group_id": other_group(marked)}

    refused = marked.trainer.post("/api/reports/", {"kind": kind, "format": "csv", "parameters": parameters})

    assert (refused.status, refused.problem["code"]) == (422, "unknown_reference")


def test_a_report_in_parts_loses_and_repeats_no_row(marked, monkeypatch):
    other_group(marked)
    names = ("group_summary", "average_daily_attendance", "daily_register_status")
    whole = {name: marked.rows(name, **KINDS[name]) for name in names}
    from campshub.reports.kinds import all_kinds  # noqa: PLC0415 - beside its use

    for name in names:
        monkeypatch.setattr(type(all_kinds()[name]), "at_once", 1)
    monkeypatch.setattr("campshub.reports.service.rendering.PART_ROWS", 1)

    assert {name: marked.rows(name, **KINDS[name]) for name in names} == whole
    assert all(len(rows) == 2 for rows in whole.values())
