"""What a copy of a trainer or a client contains when what they see changes."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from campshub.changes.tokens import CopyToken, seal, unseal
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

STUDENTS, GROUPS, ENROLMENTS = "/api/students/changes/", "/api/groups/changes/", "/api/enrolments/changes/"
SESSIONS, RECORDS, LOGS = (
    "/api/attendance/sessions/changes/",
    "/api/attendance/records/changes/",
    "/api/workout-logs/changes/",
)
OUT_OF_SIGHT = 40  # days; trainers see students for 31 days after they have left


@pytest.fixture
def gym(meeting):
    """A session of open gym."""
    return meeting()["id"]


@pytest.fixture
def logged(api):
    """Return a maker of workout logs of a student."""

    def made(student_id):
        started_at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
        exercise = api.get("/api/exercises/?limit=1").json["items"][0]["id"]
        sets = [{"reps": 5, "load": "60", "load_unit": "kg"}]
        body = {"student_id": student_id, "started_at": started_at, "time_zone": "UTC"}
        return api.made("/api/workout-logs/", {**body, "exercises": [{"exercise_id": exercise, "sets": sets}]})["id"]

    return made


def test_an_enrolment_shows_the_student_to_the_groups_trainer(copy, trainer, group, student, enrol, gym, mark, logged):
    blue, person = group()["id"], student()["id"]
    (record,), log = mark(gym, person), logged(person)
    copies = {url: copy(url, trainer) for url in (STUDENTS, RECORDS, LOGS)}
    assert [one.items for one in copies.values()] == [{}, {}, {}]
    enrol(blue, person)

    assert {url: one.follow().changed for url, one in copies.items()} == {
        STUDENTS: [person],
        RECORDS: [record],
        LOGS: [log],
    }


def test_the_end_of_an_enrolment_hides_the_student(api, copy, trainer, group, student, enrol, gym, mark, logged, today):
    blue, person = group()["id"], student()["id"]
    enrolled = enrol(blue, person, begins_on=today - timedelta(days=90))
    (record,), log = mark(gym, person), logged(person)
    copies = {url: copy(url, trainer) for url in (STUDENTS, RECORDS, LOGS)}
    ends_on = str(today - timedelta(days=OUT_OF_SIGHT))
    api.patch(f"/api/groups/{blue}/enrolments/{enrolled['id']}/", {"status": "withdrawn", "ends_on": ends_on})

    assert {url: one.follow().deleted for url, one in copies.items()} == {
        STUDENTS: [person],
        RECORDS: [record],
        LOGS: [log],
    }


def test_a_student_who_has_left_is_hidden(api, copy, trainer, group, student, enrol, gym, mark, logged, today):
    blue, person = group()["id"], student()["id"]
    enrol(blue, person, begins_on=today - timedelta(days=90))
    (record,), log = mark(gym, person), logged(person)
    copies = {url: copy(url, trainer) for url in (STUDENTS, RECORDS, LOGS)}
    api.patch(f"/api/students/{person}/", {"left_on": str(today - timedelta(days=OUT_OF_SIGHT))})

    assert [one.follow().deleted for one in copies.values()] == [[person], [record], [log]]


def rewound(copied, app, tenant, days):
    """Set the date of a copy back, as if no call had been made since."""
    cursors, bound_to = app.extensions["campshub"].cursors, [tenant.id, [feed_of(copied.url)], None]
    token = unseal(cursors, copied.token, *bound_to)
    since = token.since.__class__(token.since.window, token.since.at, token.since.on - timedelta(days=days))
    copied.token = seal(cursors, CopyToken(token.database, token.access, since, None), *bound_to)
    return copied


def feed_of(url):
    return {STUDENTS: "students", RECORDS: "records", LOGS: "workout_logs"}[url]


@pytest.fixture
def people(group, student, enrol, today):
    """Students of a trainer: one who stays, and those of whom the trainer gains or loses sight these days."""
    blue, long = group()["id"], today - timedelta(days=200)
    left = {"left_on": str(today - timedelta(days=32)), "joined_on": str(long)}
    made = {name: student(**(left if name == "left" else {}))["id"] for name in ("stays", "comes", "goes", "left")}
    enrol(blue, made["stays"], begins_on=long)
    enrol(blue, made["comes"], begins_on=today + timedelta(days=31))
    enrol(blue, made["goes"], begins_on=long, ends_on=str(today - timedelta(days=32)))
    enrol(blue, made["left"], begins_on=long)
    return made


def test_a_new_date_shows_and_hides_students(app, tenant, copy, trainer, people):
    students = rewound(copy(STUDENTS, trainer), app, tenant, 3).follow()

    assert (students.changed, sorted(students.deleted)) == ([people["comes"]], sorted([people["goes"], people["left"]]))
    assert (students.follow().changed, students.deleted) == ([], [])


def test_a_new_date_shows_and_hides_the_rows_of_students(app, tenant, copy, trainer, people, gym, mark, logged):
    marked = dict(zip(people, mark(gym, *people.values()), strict=True))
    logs = {name: logged(student_id) for name, student_id in people.items()}
    for url, rows in ((RECORDS, marked), (LOGS, logs)):
        found = rewound(copy(url, trainer), app, tenant, 3).follow()

        assert (found.changed, sorted(found.deleted)) == ([rows["comes"]], sorted([rows["goes"], rows["left"]]))


def test_a_trainer_does_not_learn_of_rows_that_they_never_saw(
    api, copy, trainer, group, student, enrol, meeting, mark, today
):
    other, person = group(trainers=())["id"], student()["id"]
    enrol(other, person)
    met = meeting(other)["id"]
    (record,) = mark(met, person)
    copies = [copy(url, trainer) for url in (STUDENTS, GROUPS, ENROLMENTS, RECORDS)]
    api.patch(f"/api/students/{person}/", {"given_name": "Ravi"})
    api.patch(f"/api/groups/{other}/", {"name": "Green"})
    assert api.delete(f"/api/attendance/records/{record}/?on={today}").status == 204
    api.delete(f"/api/students/{person}/")

    assert [(one.follow().changed, one.deleted) for one in copies] == [([], [])] * 4


def test_a_removed_mark_is_reported_to_its_groups_trainer_and_its_student_only(
    tenant, api, copy, trainer, group, student, enrol, meeting, mark, today
):
    own, other = tenant.someone(Role.CLIENT), tenant.someone(Role.CLIENT)
    blue, met = group()["id"], None
    person, beside = (student(user_id=str(one.user_id))["id"] for one in (own, other))
    enrol(blue, person)
    enrol(blue, beside)
    met = meeting(blue)["id"]
    record, _ = mark(met, person, beside)
    copies = [copy(RECORDS, client) for client in (trainer, own, other)]
    assert api.delete(f"/api/attendance/records/{record}/?on={today}").status == 204

    assert [one.follow().deleted for one in copies] == [[record], [record], []]


def refused(copied):
    """Return the status and the code of the next call."""
    response = copied.page()
    return response.status, response.problem["code"]


GONE = (410, "resync_required")


def test_a_trainer_who_gains_or_loses_a_group_starts_again(api, copy, trainer, group, student):
    blue = group(trainers=())["id"]
    trainers, admins = copy(STUDENTS, trainer), copy(STUDENTS)
    api.patch(f"/api/groups/{blue}/", {"trainer_ids": [str(trainer.user_id)]})
    assert refused(trainers) == GONE

    gained = copy(STUDENTS, trainer)
    api.patch(f"/api/groups/{blue}/", {"trainer_ids": []})
    assert refused(gained) == GONE
    assert admins.follow().changed == []


def test_a_client_whose_link_or_enrolment_changes_starts_again(tenant, api, copy, group, student, enrol):
    client, blue, person = tenant.someone(Role.CLIENT), group()["id"], student()["id"]
    unlinked = copy(GROUPS, client)
    api.patch(f"/api/students/{person}/", {"user_id": str(client.user_id)})
    assert refused(unlinked) == GONE

    linked = copy(GROUPS, client)
    enrolled = enrol(blue, person)
    assert refused(linked) == GONE

    sessions = copy(SESSIONS, client)
    api.patch(f"/api/groups/{blue}/enrolments/{enrolled['id']}/", {"status": "withdrawn"})
    assert refused(sessions) == GONE


def test_a_caller_with_other_permissions_starts_again(tenant, api, copy):
    role = api.made("/api/roles/", {"name": new_id().hex, "scope": "all", "permissions": ["students:read"]})
    member = tenant.someone(Role.NUTRITIONIST)
    before = copy(STUDENTS, member)
    response = api.patch(f"/api/users/{member.user_id}/", {"role_id": role["id"]})
    assert response.status == 200, response.raw.get_data(as_text=True)
    assert refused(before) == GONE

    custom = copy(STUDENTS, member)
    api.patch(f"/api/roles/{role['id']}/", {"permissions": ["students:read", "groups:read"]})
    assert refused(custom) == GONE


def test_a_token_of_another_trainer_is_refused(tenant, copy, trainer, group):
    copied = copy(STUDENTS, trainer)
    copied.client = tenant.someone(Role.TRAINER)

    assert refused(copied) == GONE
    assert uuid.UUID(str(trainer.user_id)) != copied.client.user_id


def test_values_of_custom_fields_are_shown_to_those_who_see_the_field(api, copy, trainer, group, student, enrol):
    field = api.made("/api/students/custom-fields/", {"key": "locker", "label": "Locker", "type": "text"})
    blue, person = group()["id"], student(custom_fields={"locker": "9"})["id"]
    enrol(blue, person)
    hidden = copy(STUDENTS, trainer)
    assert hidden.items[person]["custom_fields"] == {}
    assert copy(STUDENTS).items[person]["custom_fields"] == {"locker": "9"}

    response = api.patch(f"/api/students/custom-fields/{field['id']}/", {"visible_to": ["trainers"]})
    assert response.status == 200, response.raw.get_data(as_text=True)

    assert refused(hidden) == GONE
    assert copy(STUDENTS, trainer).items[person]["custom_fields"] == {"locker": "9"}
