"""Who is in a group on a day: all views agree, and a status and its dates never contradict each other."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

DAY = timedelta(days=1)


def counts(views, group):
    """Return the one number that all views of a group show today."""
    shown = views(group)
    numbers = {shown[name] for name in ("roster", "enrolled", "filter", "statistics")}
    assert len(numbers) == 1, shown
    return numbers.pop()


def test_ended_and_future_enrolments_are_in_no_view(group, student, enrol, views, today):
    made = group()
    enrol(made, student(), ends_on=today - DAY)
    enrol(made, student(), begins_on=today + DAY)

    assert counts(views, made) == 0


@pytest.mark.parametrize("status", ["withdrawn", "completed"])
def test_leaving_without_a_date_means_today(group, student, enrol, patch, views, today, status):
    made, someone = group(), student()
    enrolment = enrol(made, someone).json

    left = patch(enrolment, status=status)
    again = patch(enrolment, status=status)

    assert (left.status, left.json["ends_on"], again.json["version"]) == (200, str(today), left.json["version"])
    assert counts(views, made) == 1
    assert views(made, on=today + DAY)["on"] == []
    assert enrol(made, someone, begins_on=today).status == 201
    assert counts(views, made) == 1
    assert views(made, on=today + DAY)["on"] == [someone["id"]]


def test_a_person_with_overlapping_enrolments_is_on_the_roster_once(api, group, student, enrol, patch, views, today):
    made, someone = group(), student()
    patch(enrol(made, someone).json, status="withdrawn")
    second = enrol(made, someone)

    assert second.status == 201
    assert counts(views, made) == 1
    (row,) = api.get(f"/api/groups/{made['id']}/roster/?on=2026-01-20").json["items"]
    assert (row["enrolment_id"], row["ends_on"]) == (second.json["id"], None)
    assert enrol(made, someone, begins_on=today + 400 * DAY).problem["code"] == "already_enrolled"


def test_existing_dates_are_preserved_on_leaving(group, student, enrol, patch, today):
    made = group()
    ended = enrol(made, student(), ends_on="2026-03-31").json
    ahead = enrol(made, student(), ends_on=today + 100 * DAY).json
    notice = enrol(made, student()).json

    assert patch(ended, status="completed").json["ends_on"] == "2026-03-31"
    assert patch(ahead, status="withdrawn").json["ends_on"] == str(today)
    assert patch(notice, status="withdrawn", ends_on=today + 30 * DAY).json["ends_on"] == str(today + 30 * DAY)


def test_an_enrolment_that_was_withdrawn_before_it_began_is_on_no_roster(group, student, enrol, patch, views, today):
    made, someone = group(), student()
    early = patch(enrol(made, someone, begins_on=today + 10 * DAY).json, status="withdrawn")
    mistake = enrol(made, student()).json

    assert (early.status, early.json["ends_on"]) == (200, str(today))
    assert patch(mistake, status="withdrawn", ends_on="2026-01-09").status == 200
    assert counts(views, made) == 0
    for day in (today + 10 * DAY, today, "2026-01-10", "2026-01-09"):
        assert views(made, on=day)["on"] == []


def test_a_waiting_student_was_in_the_group_on_no_day(group, student, enrol, patch, views, today):
    made = group()
    waiting = enrol(made, student(), status="pending").json
    assert counts(views, made) == 0

    left = patch(waiting, status="withdrawn")

    assert left.json["ends_on"] == "2026-01-09"
    assert (counts(views, made), views(made, on="2026-02-01")["on"]) == (0, [])


def test_a_resumed_enrolment_continues(group, student, enrol, patch, views):
    made = group()
    enrolment = enrol(made, student()).json
    patch(enrolment, status="withdrawn")

    again = patch(enrolment, status="active")

    assert (again.status, again.json["ends_on"]) == (200, None)
    assert counts(views, made) == 1


def test_an_ended_enrolment_needs_a_last_day(group, student, enrol, patch, today):
    made = group()
    enrolment = enrol(made, student()).json

    refused = patch(enrolment, status="withdrawn", ends_on=None)
    patch(enrolment, status="completed")
    emptied = patch(enrolment, ends_on=None)
    before = patch(enrolment, ends_on="2026-01-09")
    future = patch(enrol(made, student(), begins_on=today + DAY).json, status="completed")

    for response, code in ((refused, "end_required"), (emptied, "end_required")):
        assert (response.status, response.problem["code"], response.pointers) == (422, code, {"/ends_on"})
    for response in (before, future):  # only a withdrawn enrolment may never have begun
        assert (response.status, response.problem["code"], response.pointers) == (
            422,
            "ends_before_begin",
            {"/ends_on"},
        )


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'withdrawn'", "ck_enrolments_left_with_end"),
        ("status = 'completed'", "ck_enrolments_left_with_end"),
        ("ends_on = begins_on - 1", "ck_enrolments_ends_after_begin"),
        ("ends_on = begins_on - 1, status = 'completed'", "ck_enrolments_ends_after_begin"),
    ],
)
def test_the_database_refuses_contradicting_status_and_dates(group, student, enrol, sql, change, constraint):
    enrolment = enrol(group(), student()).json

    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        sql(f"UPDATE enrolments SET {change} WHERE id = %s RETURNING 1", enrolment["id"])


def test_a_deleted_student_is_in_no_group_until_undeleted(api, group, student, enrol, views):
    made, someone = group(), student()
    enrol(made, someone)

    api.delete(f"/api/students/{someone['id']}/")
    assert counts(views, made) == 0
    deleted = api.get(f"/api/students/?deleted=true&group_id={made['id']}").json["items"]
    assert [item["id"] for item in deleted] == [someone["id"]]

    api.post(f"/api/students/{someone['id']}/undelete/")
    assert counts(views, made) == 1


def test_a_student_who_left_the_organization_is_in_its_groups_until_that_day(api, group, student, enrol, views, today):
    made, someone = group(), student()
    enrol(made, someone)

    for left_on, number in ((today, 1), (today - DAY, 0), (today + DAY, 1)):
        assert api.patch(f"/api/students/{someone['id']}/", {"left_on": str(left_on)}).status == 200
        assert counts(views, made) == number
    assert views(made, on=today + 2 * DAY)["on"] == []


def test_trainers_see_a_student_who_left_for_one_more_month(api, tenant, group, student, enrol, patch, today):
    trainer = tenant.the(Role.TRAINER)
    made = group(trainer_ids=[str(trainer.user_id)])
    withdrawn, long_ago, waiting, left, left_long_ago = (student() for _ in range(5))
    for someone in (withdrawn, long_ago, left, left_long_ago):
        enrolment = enrol(made, someone).json
        if someone in (withdrawn, long_ago):
            days = 29 if someone is withdrawn else 33
            assert patch(enrolment, status="withdrawn", ends_on=today - days * DAY).status == 200
    enrol(made, waiting, status="pending")
    for someone, days in ((left, 29), (left_long_ago, 33)):
        api.patch(f"/api/students/{someone['id']}/", {"left_on": str(today - days * DAY)})

    shown = {item["id"] for item in trainer.get("/api/students/").json["items"]}

    assert shown == {withdrawn["id"], left["id"]}
    assert trainer.get(f"/api/groups/{made['id']}/roster/").json["items"] == []


def test_clients_see_their_current_and_former_groups(tenant, group, student, enrol, patch, today):
    client = tenant.the(Role.CLIENT)
    me = student(user_id=str(client.user_id))
    present, past, withdrawn, waiting, never = (group() for _ in range(5))
    enrol(present, me)
    enrol(past, me, ends_on="2026-02-01")
    patch(enrol(withdrawn, me).json, status="withdrawn")
    enrol(waiting, me, status="pending")
    patch(enrol(never, me, begins_on=today + DAY).json, status="withdrawn")

    shown = {item["id"] for item in client.get("/api/groups/").json["items"]}

    assert shown == {present["id"], past["id"], withdrawn["id"]}


@pytest.mark.parametrize("time_zone", ["Pacific/Pago_Pago", "Pacific/Kiritimati"])
def test_today_is_the_date_in_the_organizations_time_zone(app, time_zone):
    """These two zones never have the same date, so neither UTC nor the server's date fits both."""
    api = new_tenant(app, time_zone=time_zone).the(Role.ADMIN)
    today = datetime.now(UTC).astimezone(ZoneInfo(time_zone)).date()
    group = api.made("/api/groups/", {"code": "G", "name": "Blue", "capacity": 1})
    url = f"/api/groups/{group['id']}/"

    def enrol(code, begins_on, ends_on):
        person = api.made("/api/students/", {"code": code, "given_name": "Asha", "family_name": "Rao"})
        body = {"student_id": person["id"], "begins_on": str(begins_on), "ends_on": str(ends_on)}
        return api.post(f"{url}enrolments/", body)

    assert enrol("yesterday's", today - 9 * DAY, today - DAY).status == 201
    assert api.get(url).json["enrolled"] == 0
    first = enrol("today's", today, today)
    assert api.get(url).json["enrolled"] == 1
    assert enrol("one too many", today, today + DAY).problem["code"] == "group_full"
    assert enrol("tomorrow's", today + DAY, today + DAY).status == 201
    assert len(api.get(f"{url}roster/").json["items"]) == 1
    left = api.patch(f"{url}enrolments/{first.json['id']}/", {"status": "withdrawn"})
    assert left.json["ends_on"] == str(today)
