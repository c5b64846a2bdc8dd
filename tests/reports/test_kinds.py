"""The contents of each kind of report, compared with expected values, for several roles and organizations."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role
from campshub.reports.kinds import all_kinds
from tests.reports.conftest import MONDAY, TODAY, a_school

DAYS = [MONDAY + timedelta(days=n) for n in range(5)]
WEEK = {"from": str(DAYS[0]), "to": str(DAYS[4])}


@pytest.fixture
def marked(school):
    """Four days of marks, twice on the second day."""
    school.mark(DAYS[0], asha="present", ravi="absent", anna="late")
    school.mark(DAYS[1], asha="present", ravi="absent", anna="excused")
    school.mark(DAYS[1], "14:00", asha="left_early", ravi="present")
    school.mark(DAYS[2], asha="absent", ravi="absent", anna="absent")
    school.mark(DAYS[3], asha="absent", ravi="excused", anna="present")
    return school


def test_a_register_has_a_row_per_member_and_a_column_per_day(marked):
    rows = marked.rows("attendance_register", group_id=marked.group_id, **WEEK)

    days = [f"{day.day} {'MTWTF'[n]}" for n, day in enumerate(DAYS)]
    shown = [[row[title] for title in ("Member", "Roll no", *days, "P", "A", "L", "E", "LE", "%")] for row in rows]
    assert shown == [  # by family name
        ["Ravi Iyer", "R2", "A", "AP", "A", "E", "", "1", "3", "0", "1", "0", "25.0"],  # 1 of 4: excused is not rated
        ["Asha Rao", "R1", "P", "PLE", "A", "A", "", "2", "2", "0", "0", "1", "60.0"],
        ["Anna Silva", "R3", "L", "E", "A", "P", "", "1", "1", "1", "1", "0", "66.7"],
    ]


def test_students_who_joined_later_or_left_before_are_in_no_register(marked, student):
    for begins, ends in (
        (DAYS[4] + timedelta(days=1), None),
        (DAYS[0] - timedelta(days=9), DAYS[0] - timedelta(days=1)),
    ):
        term = {"student_id": student()["id"], "begins_on": str(begins), "ends_on": str(ends) if ends else None}
        marked.admin.made(f"/api/groups/{marked.group_id}/enrolments/", term)

    assert len(marked.rows("attendance_register", group_id=marked.group_id, **WEEK)) == 3


def test_the_list_of_absent_students_shows_their_guardians(marked):
    rows = marked.rows("absent_today", on=str(DAYS[2]))

    assert [list(row.values()) for row in rows] == [
        [
            f"{fields} {family}",
            "Class 7B",
            code,
            "absent",
            "",
            f"Guardian {family}",
            "'+91 98765 43210",  # readable, and no formula
            f"{code.lower()}@example.org",
            in_a_row,
        ]
        # Ravi was present the afternoon before; excused marks neither count nor end the series.
        for fields, family, code, in_a_row in (
            ("Ravi", "Iyer", "R2", "1"),
            ("Asha", "Rao", "R1", "1"),
            ("Anna", "Silva", "R3", "1"),
        )
    ]
    later = {row["Member"]: row["Absences in a row"] for row in marked.rows("absent_today", on=str(DAYS[3]))}
    assert later == {"Ravi Iyer": "1", "Asha Rao": "2"}


def test_a_roster_is_as_of_its_date(marked, student):
    term = {"student_id": student(code="R4")["id"], "begins_on": str(TODAY)}
    marked.admin.made(f"/api/groups/{marked.group_id}/enrolments/", term)

    before = marked.rows("roster", group_id=marked.group_id, on=str(DAYS[0]))
    now = marked.rows("roster", group_id=marked.group_id, on=str(TODAY))

    assert [row["Roll no"] for row in before] == ["R2", "R1", "R3"]
    assert {row["Roll no"] for row in now} == {"R1", "R2", "R3", "R4"}
    assert before[0]["Guardian's phone"] == "'+91 98765 43210"


def test_a_students_attendance_lists_every_mark(marked):
    rows = marked.rows("student_attendance", student_id=marked.people["ravi"], **WEEK)

    assert [(row["Date"], row["Session"], row["Mark"]) for row in rows] == [
        (str(DAYS[0]), "09:00", "absent"),
        (str(DAYS[1]), "09:00", "absent"),
        (str(DAYS[1]), "14:00", "present"),
        (str(DAYS[2]), "09:00", "absent"),
        (str(DAYS[3]), "09:00", "excused"),
    ]


def test_attendance_records_lists_every_mark(marked):
    rows = marked.rows("attendance_records", **WEEK)

    assert len(rows) == 14
    assert [row["Member"] for row in rows if row["Date"] == str(DAYS[3])] != []
    one = marked.rows("attendance_records", student_id=marked.people["anna"], **WEEK)
    assert [row["Mark"] for row in one] == ["late", "excused", "absent", "present"]


def test_a_students_training_is_grouped_by_exercise_without_warm_ups_in_its_volume(school):
    press = school.admin.made("/api/exercises/", {"name": "Press", "equipment": "barbell"})["id"]
    log = {
        "student_id": school.people["asha"],
        "started_at": f"{DAYS[0]}T06:00:00Z",
        "title": "Push",
        "exercises": [
            {
                "exercise_id": press,
                "sets": [
                    {"type": "warm_up", "reps": 10, "load": "20", "load_unit": "kg"},
                    {"reps": 5, "load": "60", "load_unit": "kg"},
                    {"reps": 4, "load": "62.5", "load_unit": "kg"},
                ],
            }
        ],
    }
    school.admin.made("/api/workout-logs/", log)

    rows = school.rows("student_training", student_id=school.people["asha"], **WEEK)

    assert [list(row.values()) for row in rows] == [[str(DAYS[0]), "Push", "Press", "3", "19", "62.5", "550.0"]]


def test_a_students_training_respects_load_modes_and_counts_performed_sets(school):
    def exercise(name, mode):
        return school.admin.made("/api/exercises/", {"name": name, "equipment": "machine", "load_mode": mode})["id"]

    helped = [{"reps": 8, "load": load, "load_unit": "kg"} for load in ("30", "20")]
    failed = [{"reps": 0, "load": "200", "load_unit": "kg"}, {"reps": 5, "load": "60", "load_unit": "kg"}]
    log = {
        "student_id": school.people["asha"],
        "started_at": f"{DAYS[0]}T06:00:00Z",
        "title": "Pull",
        "exercises": [
            {"exercise_id": exercise("Helped", "assisted"), "sets": helped},
            {"exercise_id": exercise("Failed", "external"), "sets": failed},
            {"exercise_id": exercise("Jump", "none"), "sets": failed},
        ],
    }
    school.admin.made("/api/workout-logs/", log)

    rows = school.rows("student_training", student_id=school.people["asha"], **WEEK)

    assert [list(row.values())[2:] for row in rows] == [
        ["Helped", "2", "16", "20.0", ""],
        ["Failed", "1", "5", "60.0", "300.0"],
        ["Jump", "1", "5", "", ""],
    ]


def test_a_trainer_sees_only_their_groups(marked, student):
    other_group = marked.admin.made("/api/groups/", {"code": "8C", "name": "Class 8C"})["id"]
    other_student = student(code="X1")["id"]
    marked.admin.made(
        f"/api/groups/{other_group}/enrolments/", {"student_id": other_student, "begins_on": str(DAYS[0])}
    )
    fields = {"group_id": other_group, "local_date": str(DAYS[2]), "slot": "09:00", "status": "open"}
    session = marked.admin.made("/api/attendance/sessions/", fields)["id"]
    records = {"records": [{"student_id": other_student, "code": "absent"}]}
    assert marked.admin.put(f"/api/attendance/sessions/{session}/records/", records).status == 200
    trainer = marked.trainer

    assert len(marked.rows("absent_today", on=str(DAYS[2]))) == 4
    assert len(marked.rows("absent_today", who=trainer, on=str(DAYS[2]))) == 3
    assert len(marked.rows("attendance_register", who=trainer, group_id=marked.group_id, **WEEK)) == 3
    for kind, parameters in (
        ("attendance_register", {"group_id": other_group, **WEEK}),
        ("roster", {"group_id": other_group}),
        ("student_attendance", {"student_id": other_student, **WEEK}),
        ("student_training", {"student_id": other_student}),
        ("attendance_records", {"group_id": other_group}),
        ("absent_today", {"group_id": other_group}),
    ):
        response = trainer.post("/api/reports/", {"kind": kind, "format": "csv", "parameters": parameters})
        assert (response.status, response.problem["code"]) == (422, "unknown_reference"), kind


def test_a_role_without_attendance_has_no_register(marked):
    nutritionist = marked.tenant.the(Role.NUTRITIONIST)
    request = {"kind": "attendance_register", "format": "csv", "parameters": {"group_id": marked.group_id}}

    response = nutritionist.post("/api/reports/", request)

    assert (response.status, response.problem["code"]) == (403, "kind_not_yours")
    assert len(marked.rows("roster", who=nutritionist, group_id=marked.group_id)) == 3
    assert marked.tenant.the(Role.CLIENT).post("/api/reports/", request).status == 403


def test_another_organization_is_in_no_report(marked, other):
    theirs = a_school(other)
    theirs.mark(DAYS[2], asha="absent")

    assert len(marked.rows("absent_today", on=str(DAYS[2]))) == 3
    assert len(theirs.rows("absent_today", on=str(DAYS[2]))) == 1
    for kind, parameters in (
        ("attendance_register", {"group_id": theirs.group_id}),
        ("student_attendance", {"student_id": theirs.people["asha"]}),
    ):
        response = marked.admin.post("/api/reports/", {"kind": kind, "format": "csv", "parameters": parameters})
        assert (response.status, response.problem["code"]) == (422, "unknown_reference")


def test_unknown_and_missing_parameters_are_named(school):
    def pointers(kind, **parameters):
        return school.admin.post("/api/reports/", {"kind": kind, "format": "csv", "parameters": parameters}).pointers

    assert pointers("roster") == {"/parameters/group_id"}
    assert pointers("roster", group_id=school.group_id, student_id=school.people["asha"]) == {"/parameters/student_id"}
    assert pointers("roster", group_id=school.group_id, period="today", on=str(TODAY)) == {"/parameters/period"}
    register = {"group_id": school.group_id}
    assert pointers("attendance_register", **register, **{"from": "2026-03-02", "to": "2026-03-01"}) == {
        "/parameters/to"
    }
    assert pointers("attendance_register", **register, **{"from": "2026-03-01", "to": "2026-04-01"}) == {
        "/parameters/to"
    }
    assert pointers("attendance_register", **register, nonsense="x") == {"/parameters/nonsense"}


def test_a_relative_period_is_resolved_when_the_report_is_requested(school):
    request = {
        "kind": "attendance_register",
        "format": "csv",
        "parameters": {"group_id": school.group_id, "period": "last_month"},
    }

    days = [datetime.now(ZoneInfo("Asia/Kolkata")).date()]
    made = school.admin.post("/api/reports/", request).json
    days.append(datetime.now(ZoneInfo("Asia/Kolkata")).date())

    first, last = (made["parameters"][name] for name in ("from", "to"))
    assert first == f"{last[:-2]}01"
    assert date.fromisoformat(last) in {day.replace(day=1) - timedelta(days=1) for day in days}


def test_a_kind_that_reads_in_parts_loses_and_repeats_no_row(marked, monkeypatch):
    whole = {name: marked.rows(name, **fields) for name, fields in _parameters(marked).items()}
    for kind in all_kinds().values():
        monkeypatch.setattr(type(kind), "at_once", 1)
    monkeypatch.setattr("campshub.reports.service.rendering.PART_ROWS", 1)

    assert {name: marked.rows(name, **fields) for name, fields in _parameters(marked).items()} == whole
    assert all(len(rows) > 1 for rows in whole.values())


def _parameters(school):
    group, person = {"group_id": school.group_id}, {"student_id": school.people["ravi"]}
    return {
        "attendance_register": {**group, **WEEK},
        "attendance_records": WEEK,
        "absent_today": {"on": str(DAYS[2])},
        "roster": group,
        "student_attendance": {**person, **WEEK},
    }


def test_everyone_who_was_enrolled_or_marked_is_in_the_register(marked, student):
    admin, group = marked.admin, marked.group_id
    for name in ("noor", "lena"):
        marked.people[name] = student(code=name.upper(), given_name=name.title(), family_name="Adler")["id"]
        term = {"student_id": marked.people[name], "begins_on": str(DAYS[0])}
        admin.made(f"/api/groups/{group}/enrolments/", term)
    marked.mark(DAYS[4], noor="present", lena="absent")
    enrolments = {e["student_id"]: e["id"] for e in admin.get(f"/api/groups/{group}/enrolments/").json["items"]}

    def patch(name, **changes):
        url = f"/api/groups/{group}/enrolments/{enrolments[marked.people[name]]}/"
        assert admin.patch(url, changes).status == 200

    patch("asha", status="withdrawn", ends_on=str(DAYS[0] - timedelta(days=1)))  # left, back-dated
    patch("noor", begins_on=str(TODAY))  # back-dated the other way
    assert admin.delete(f"/api/students/{marked.people['lena']}/").status == 204
    assert admin.patch(f"/api/students/{marked.people['ravi']}/", {"left_on": str(DAYS[0])}).status == 200

    rows = marked.rows("attendance_register", group_id=group, **WEEK)

    assert {row["Roll no"] for row in rows} == {"R1", "R2", "R3", "NOOR", "LENA"}
    analytics = admin.get(f"/api/attendance/analytics/groups/?group_id={group}&from={DAYS[0]}&to={DAYS[4]}").json[
        "items"
    ]
    for title, name in (("P", "present"), ("A", "absent"), ("L", "late"), ("E", "excused"), ("LE", "left_early")):
        assert sum(int(row[title]) for row in rows) == sum(day[name] for day in analytics), name
    sessions = admin.get(f"/api/groups/{group}/sessions/").json["items"]
    registers = [admin.get(f"/api/attendance/sessions/{one['id']}/records/").json["items"] for one in sessions]
    marks = [row["mark"]["code"] for register in registers for row in register if row["mark"]]
    assert len(marks) == sum(day["marked"] for day in analytics) == 16
    assert len(marked.rows("attendance_records", **WEEK)) == 16
    assert {row["Roll no"] for row in marked.rows("roster", group_id=group, on=str(DAYS[4]))} == {"R3"}
    assert {row["Roll no"] for row in marked.rows("roster", group_id=group, on=str(TODAY))} == {"R3", "NOOR"}


def test_a_trainers_register_shows_only_their_visible_sessions(marked):
    enrolments = marked.admin.get(f"/api/groups/{marked.group_id}/enrolments/").json["items"]
    (enrolment,) = (e for e in enrolments if e["student_id"] == marked.people["asha"])
    left = {"status": "withdrawn", "ends_on": str(DAYS[0] - timedelta(days=1))}
    marked.admin.patch(f"/api/groups/{marked.group_id}/enrolments/{enrolment['id']}/", left)
    marked.admin.delete(f"/api/students/{marked.people['anna']}/")

    rows = marked.rows("attendance_register", who=marked.trainer, group_id=marked.group_id, **WEEK)

    assert {row["Roll no"] for row in rows} == {"R1", "R2", "R3"}


def test_a_person_with_overlapping_enrolments_is_in_a_roster_and_a_register_once(school):
    admin, group = school.admin, school.group_id
    enrolments = admin.get(f"/api/groups/{group}/enrolments/").json["items"]
    (first,) = (e for e in enrolments if e["student_id"] == school.people["asha"])
    assert admin.patch(f"/api/groups/{group}/enrolments/{first['id']}/", {"status": "withdrawn"}).status == 200
    admin.made(f"/api/groups/{group}/enrolments/", {"student_id": school.people["asha"], "begins_on": str(DAYS[0])})

    for kind, dates in (("roster", {"on": str(DAYS[1])}), ("attendance_register", WEEK)):
        assert [row["Roll no"] for row in school.rows(kind, group_id=group, **dates)] == ["R2", "R1", "R3"], kind
