"""The caller's day: their sessions of a date with rosters, marks and counts."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role

URL = "/api/me/day/?on="


@pytest.fixture
def trainer(tenant):
    return tenant.the(Role.TRAINER)


def test_a_trainer_sees_the_registers_of_their_groups_in_two_statements(api, trainer, a_class, today, student):
    first, second = a_class(3, trainer=trainer), a_class(2, trainer=trainer)
    a_class(2)
    api.made("/api/attendance/sessions/", {"local_date": str(today)})
    first.mark("late", "absent")

    response = trainer.get(f"{URL}{today}")

    assert len(response.queries) <= 2
    by_id = {row["id"]: row for row in response.json["items"]}
    assert by_id.keys() == {first.session, second.session}
    shown = by_id[first.session]
    assert [row["student_id"] for row in shown["students"]] == first.students
    assert [row["mark"] and row["mark"]["code"] for row in shown["students"]] == ["late", "absent", None]
    assert shown["counts"] == {
        "present": 0,
        "late": 1,
        "left_early": 0,
        "absent": 1,
        "excused": 0,
        "unmarked": 1,
    }
    assert (shown["register_version"], by_id[second.session]["register_version"]) == (1, 0)
    register = trainer.get(first.records).json["items"]
    assert [row["mark"] for row in shown["students"]] == [row["mark"] for row in register]
    assert [row["is_on_roster"] for row in shown["students"]] == [True] * 3


def test_the_day_changes_with_marks_rosters_and_trainers(api, trainer, a_class, today, student, enrol):
    roster = a_class(1, trainer=trainer)
    assert trainer.get(f"{URL}{today}").json["items"][0]["counts"]["unmarked"] == 1

    roster.mark("late")
    assert trainer.get(f"{URL}{today}").json["items"][0]["counts"]["late"] == 1
    new = student()["id"]
    api.made(f"/api/groups/{roster.group}/enrolments/", {"student_id": new, "begins_on": str(today)})
    assert len(trainer.get(f"{URL}{today}").json["items"][0]["students"]) == 2
    api.patch(roster.url, {"slot": "11:00"})
    assert trainer.get(f"{URL}{today}").json["items"][0]["slot"] == "11:00"
    api.patch(f"/api/groups/{roster.group}/", {"trainer_ids": []})
    assert trainer.get(f"{URL}{today}").json["items"] == []


def test_a_day_has_only_its_own_sessions(trainer, a_class, today):
    roster = a_class(1, trainer=trainer)
    roster.mark("late")
    for days in (-1, 1):
        assert trainer.get(f"{URL}{today + timedelta(days=days)}").json["items"] == []


def test_a_student_sees_only_their_own_mark(tenant, api, a_class, student, enrol, today):
    client = tenant.the(Role.CLIENT)
    roster, own = a_class(2), student(user_id=str(client.user_id))["id"]
    enrol(roster.group, [own])
    other = a_class(1)
    other.mark("late")
    roster.mark("late", "absent")

    (shown,) = client.get(f"{URL}{today}").json["items"]

    assert shown["id"] == roster.session
    assert [row["student_id"] for row in shown["students"]] == [own]
    assert shown["counts"]["unmarked"] == 1
    assert shown["counts"]["late"] == 0


def test_admins_see_the_groups_that_they_train_themselves(tenant, api, a_class, today):
    own = a_class(1, trainer=api)
    a_class(1)
    assert [row["id"] for row in api.get(f"{URL}{today}").json["items"]] == [own.session]
    assert tenant.someone(Role.ADMIN).get(f"{URL}{today}").json["items"] == []


def test_a_student_who_left_is_shown_only_with_a_mark(api, trainer, a_class, today):
    roster = a_class(2, trainer=trainer)
    roster.mark("late")
    for student in roster.students:
        api.patch(f"/api/students/{student}/", {"left_on": str(today - timedelta(days=1))})

    (shown,) = trainer.get(f"{URL}{today}").json["items"]

    assert [(row["student_id"], row["is_on_roster"]) for row in shown["students"]] == [(roster.students[0], False)]
