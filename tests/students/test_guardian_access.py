"""What a guardian with a login sees: their students, and nothing of others."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from campshub.accounts.service import invitations
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue
from tests.conftest import Client

STUDENTS, GUARDIANS, LOGS = "/api/students/", "/api/guardians/", "/api/workout-logs/"


@dataclass
class Family:
    """A guardian with a login, and their children in one group."""

    login: Any
    guardian_id: str
    children: list[str]


@dataclass
class School:
    """Two families whose children are in one group, and the group's session with a mark for each child."""

    api: Any
    group: str
    session: str
    families: tuple[Family, Family]

    def children_seen_by(self, login) -> dict[str, set[str]]:
        """Return whose rows a caller sees, by list."""

        def ids(url, name):
            return {row[name] for row in login.get(url).json["items"]}

        return {
            "students": ids(STUDENTS, "id"),
            "roster": ids(f"/api/groups/{self.group}/roster/", "id"),
            "enrolments": ids(f"/api/groups/{self.group}/enrolments/", "student_id"),
            "register": ids(f"/api/attendance/sessions/{self.session}/records/", "student_id"),
            "records": ids("/api/attendance/records/", "student_id"),
        }


@pytest.fixture
def family(api, tenant, student):
    """Return a maker of families."""

    def make(children: int, role: Role = Role.GUARDIAN) -> Family:
        login = tenant.someone(role)
        made = api.made(GUARDIANS, {"name": f"Guardian {new_id().hex}", "user_id": str(login.user_id)})
        link = [{"guardian_id": made["id"]}, {"name": "The other parent", "phone": new_id().hex}]
        return Family(login, made["id"], [student(guardians=link)["id"] for _ in range(children)])

    return make


@pytest.fixture
def school(api, family, today):
    families = (family(2), family(1))
    group = api.made("/api/groups/", {"code": new_id().hex, "name": "Blue"})["id"]
    children = [child for one in families for child in one.children]
    for child in children:
        api.made(f"/api/groups/{group}/enrolments/", {"student_id": child, "begins_on": str(today)})
    body = {"group_id": group, "local_date": str(today)}
    session = api.made("/api/attendance/sessions/", body)["id"]
    marks = [{"student_id": child, "code": "absent", "note": f"note {child}"} for child in children]
    assert api.put(f"/api/attendance/sessions/{session}/records/", {"records": marks}).status == 200
    return School(api, group, session, families)


@pytest.fixture
def logged(api):
    """Return a maker of workouts."""

    def make(student_id: str, client: Any = None, **fields: Any) -> Any:
        started_at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        sets = [{"reps": 5, "load": "100", "load_unit": "kg"}]
        exercise = {"exercise_id": str(catalogue.exercise_id("back_squat")), "sets": sets}
        body = {"student_id": student_id, "started_at": started_at, "exercises": [exercise], **fields}
        return (client or api).post(LOGS, body)

    return make


def test_guardians_see_their_students_and_nothing_of_other_children(school):
    for one in school.families:
        seen = school.children_seen_by(one.login)

        assert seen == {name: set(one.children) for name in seen}
        assert [row["id"] for row in one.login.get("/api/groups/").json["items"]] == [school.group]


def test_a_guardian_never_sees_another_childs_mark_in_the_same_session(school):
    mine, theirs = school.families
    url = f"/api/attendance/sessions/{school.session}/"
    records = school.api.get("/api/attendance/records/").json["items"]
    of_others = [row for row in records if row["student_id"] in theirs.children]

    assert mine.login.get(url).status == 200
    for found in (mine.login.get(f"{url}records/"), mine.login.get("/api/attendance/records/")):
        assert not any(child in found.raw.get_data(as_text=True) for child in theirs.children)
    for row in of_others:
        one = f"/api/attendance/records/{row['id']}/?on={row['local_date']}"
        assert (mine.login.get(one).status, theirs.login.get(one).status) == (404, 200)
    (child,) = theirs.children
    for url in (
        f"{STUDENTS}{child}/",
        f"{STUDENTS}{child}/guardians/",
        f"{STUDENTS}{child}/attendance/",
        f"{STUDENTS}{child}/workouts/",
        f"/api/attendance/analytics/students/{child}/",
    ):
        assert (mine.login.get(url).status, theirs.login.get(url).status) == (404, 200), url
    found = mine.login.get(f"/api/attendance/records/?student_id={child}")
    assert found.json["items"] == []


def test_guardians_see_figures_of_their_students(school):
    mine, _ = school.families
    for child in mine.children:
        assert mine.login.get(f"{STUDENTS}{child}/attendance/").json["counts"]["absent"] == 1


def test_sessions_are_shown_for_the_days_on_which_a_child_is_in_the_group(school, today):
    mine, _ = school.families
    before = str(today - timedelta(days=1))
    body = {"group_id": school.group, "local_date": before}
    earlier = school.api.post("/api/attendance/sessions/", body)
    assert earlier.status == 201, earlier.raw.text

    seen = {row["id"] for row in mine.login.get("/api/attendance/sessions/").json["items"]}

    assert seen == {school.session}


def test_a_removed_link_is_effective_at_once_and_so_is_a_new_one(school):
    mine, theirs = school.families
    first, second = mine.children
    school.children_seen_by(mine.login)  # so that responses are cached

    assert school.api.put(f"{STUDENTS}{first}/guardians/", {"guardians": []}).status == 200
    seen = school.children_seen_by(mine.login)
    assert seen == {name: {second} for name in seen}

    (other,) = theirs.children
    link = {"guardians": [{"guardian_id": theirs.guardian_id}, {"guardian_id": mine.guardian_id}]}
    assert school.api.put(f"{STUDENTS}{other}/guardians/", link).status == 200
    seen = school.children_seen_by(mine.login)
    assert seen == {name: {second, other} for name in seen}


@pytest.mark.parametrize("how", ["deleted", "other login"])
def test_a_guardian_who_is_deleted_or_loses_the_login_sees_no_student(school, how):
    mine, _ = school.families
    school.children_seen_by(mine.login)
    url = f"{GUARDIANS}{mine.guardian_id}/"

    response = school.api.delete(url) if how == "deleted" else school.api.patch(url, {"user_id": None})

    assert response.status in (200, 204)
    assert mine.login.get(STUDENTS).json["items"] == []
    assert mine.login.get("/api/attendance/records/").json["items"] == []
    assert mine.login.get("/api/groups/").json["items"] == []


def test_a_guardian_sees_only_themselves_among_the_guardians(school):
    mine, _ = school.families
    child = mine.children[0]

    assert [one["id"] for one in mine.login.get(GUARDIANS).json["items"]] == [mine.guardian_id]
    (shown,) = mine.login.get(f"{STUDENTS}{child}/").json["guardians"]
    assert shown["guardian_id"] == mine.guardian_id
    for one in school.api.get(f"{STUDENTS}{child}/guardians/").json["guardians"]:
        expected = 200 if one["guardian_id"] == mine.guardian_id else 404
        assert mine.login.get(f"{GUARDIANS}{one['guardian_id']}/").status == expected


def test_a_client_sees_their_own_guardians_and_a_trainer_those_of_their_students(api, tenant, school, student):
    mine, theirs = school.families
    client, trainer = tenant.someone(Role.CLIENT), tenant.someone(Role.TRAINER)
    made = student(user_id=str(client.user_id), guardians=[{"name": "A"}, {"name": "B"}])

    assert len(client.get(f"{STUDENTS}{made['id']}/").json["guardians"]) == 2
    assert len(client.get(GUARDIANS).json["items"]) == 2
    assert trainer.get(GUARDIANS).json["items"] == []
    assert api.patch(f"/api/groups/{school.group}/", {"trainer_ids": [str(trainer.user_id)]}).status == 200
    seen = {one["id"] for one in trainer.get(GUARDIANS).json["items"]}
    assert {mine.guardian_id, theirs.guardian_id} < seen
    assert not seen & {one["guardian_id"] for one in made["guardians"]}


def test_a_guardian_writes_nothing_and_reads_no_medical_note(school):
    mine, _ = school.families
    child = mine.children[0]
    for method, url, body in (
        ("PATCH", f"{STUDENTS}{child}/", {"phone": "1"}),
        ("PUT", f"{STUDENTS}{child}/guardians/", {"guardians": []}),
        ("GET", f"{STUDENTS}{child}/medical-note/", None),
        ("PATCH", f"{GUARDIANS}{mine.guardian_id}/", {"phone": "1"}),
        ("PUT", f"/api/attendance/sessions/{school.session}/records/", {"records": []}),
    ):
        assert mine.login.call(method, url, body).status == 403, url


def test_an_own_role_with_medical_notes_shows_no_guardian_the_note_of_a_child(api, tenant, family, student):
    one = family(1)
    body = {"name": "Own", "permissions": ["students:read", "medical:read"], "scope": "own"}
    role = api.made("/api/roles/", body)["id"]
    assert api.patch(f"/api/users/{one.login.user_id}/", {"role_id": role}).status == 200
    mine = student(user_id=str(one.login.user_id), medical_note="mine")
    api.patch(f"{STUDENTS}{one.children[0]}/", {"medical_note": "a child's"})

    assert one.login.get(f"{STUDENTS}{mine['id']}/medical-note/").json["medical_note"] == "mine"
    assert one.login.get(f"{STUDENTS}{one.children[0]}/medical-note/").status == 404


def test_one_login_may_be_guardian_and_student(api, family, student, logged):
    both = family(1, Role.CLIENT)
    mine = student(user_id=str(both.login.user_id))

    assert {row["id"] for row in both.login.get(STUDENTS).json["items"]} == {mine["id"], *both.children}
    own, of_child = logged(mine["id"], both.login), logged(both.children[0])
    assert (own.status, of_child.status) == (201, 201)
    assert [row["id"] for row in both.login.get(LOGS).json["items"]] == [own.json["id"]]
    assert both.login.get(f"{LOGS}{of_child.json['id']}/").status == 404


def test_training_is_shown_to_guardians_only_while_the_organization_allows_it(api, family, logged):
    one, another = family(1), family(1)
    log = logged(one.children[0]).json["id"]
    logged(another.children[0])

    def seen():
        urls = (LOGS, f"{STUDENTS}{one.children[0]}/workouts/", "/api/progress/weeks/")
        return [len(one.login.get(url).json["items"]) for url in urls], one.login.get(f"{LOGS}{log}/").status

    assert seen() == ([0, 0, 0], 404)
    assert api.patch("/api/organization/", {"guardians_see_training": True}).json["guardians_see_training"] is True
    assert seen() == ([1, 1, 1], 200)
    api.patch("/api/organization/", {"guardians_see_training": False})
    assert seen() == ([0, 0, 0], 404)


@pytest.mark.parametrize("change", ["a link", "the setting"])
def test_a_copy_of_training_is_to_be_read_again_when_guardians_see_more_or_less(api, family, logged, change):
    one = family(1)
    logged(one.children[0])
    first = one.login.get("/api/workout-logs/changes/")
    assert first.status == 200, first.raw.text
    token = first.json["next"]

    if change == "a link":
        api.put(f"{STUDENTS}{one.children[0]}/guardians/", {"guardians": []})
    else:
        api.patch("/api/organization/", {"guardians_see_training": True})

    response = one.login.get(f"/api/workout-logs/changes/?since={token}")
    assert (response.status, response.problem["code"]) == (410, "resync_required")


def test_a_guardian_who_trains_changes_no_training_of_a_child(api, family, student, logged):
    both = family(1, Role.CLIENT)
    student(user_id=str(both.login.user_id))
    api.patch("/api/organization/", {"guardians_see_training": True})
    log = logged(both.children[0]).json
    url, one_set = f"{LOGS}{log['id']}/", log["exercises"][0]["sets"][0]["id"]
    assert both.login.get(url).status == 200

    assert logged(both.children[0], both.login).status == 422
    for method, path, body in (
        ("PATCH", url, {"title": "Mine"}),
        ("DELETE", url, None),
        ("POST", f"{url}sets/", {"exercise_id": log["exercises"][0]["exercise_id"], "reps": 1}),
        ("PATCH", f"{url}sets/{one_set}/", {"reps": 1}),
        ("DELETE", f"{url}sets/{one_set}/", None),
    ):
        assert both.login.call(method, path, body).status == 404, (method, path)
    assert api.get(url).json == log


def test_a_link_in_one_organization_shows_nothing_of_another(api, other, family):
    one = family(1)
    stranger = other.the(Role.ADMIN).made(GUARDIANS, {"name": "A stranger"})

    refused = api.put(f"{STUDENTS}{one.children[0]}/guardians/", {"guardians": [{"guardian_id": stranger["id"]}]})

    assert (refused.status, refused.problem["code"]) == (422, "unknown_reference")
    login = other.the(Role.ADMIN).patch(f"{GUARDIANS}{stranger['id']}/", {"user_id": str(one.login.user_id)})
    assert (login.status, login.problem["code"]) == (422, "unknown_reference")


@pytest.mark.parametrize(("role", "sharing", "expected"), [("guardian", 1, 1), ("guardian", 2, 0), ("trainer", 1, 0)])
def test_an_accepted_invitation_links_the_guardian_with_the_address(api, tenant, student, role, sharing, expected):
    address = f"{new_id().hex}@example.org"
    for number in range(sharing):
        student(guardians=[{"name": f"Guardian {number}", "email": address.upper()}])
    made = api.made("/api/invitations/", {"email": address, "role": role})
    services = tenant.app.extensions["campshub"]
    token = invitations.token_of(services, tenant.id, UUID(made["id"]))

    accepted = Client(tenant.app).post(
        "/api/invitations/accept/", {"token": token, "name": "Ravi Rao", "password": "wrong donkey charger"}
    )

    assert accepted.status == 200
    login = Client(tenant.app, {"Authorization": f"Bearer {tenant.token(UUID(accepted.json['user_id']))}"})
    assert len(login.get(STUDENTS).json["items"]) == expected


def test_a_caller_with_a_narrower_scope_changes_no_guardians(api, tenant, student, group, enrol):
    """A changed login or e-mail address would reach students whom the caller does not see."""
    body = {"name": "Desk", "permissions": ["students:read", "students:write", "groups:read"], "scope": "groups"}
    desk = tenant.someone(Role.TRAINER)
    api.patch(f"/api/users/{desk.user_id}/", {"role_id": api.made("/api/roles/", body)["id"]})
    entry = {"name": "Asha Rao", "phone": "+91 20 5550 0177"}
    seen, hidden = student()["id"], student(guardians=[entry])["id"]
    made = group(trainer_ids=[str(desk.user_id)])
    assert enrol(made, {"id": seen}).status == 201
    shared = api.put(f"{STUDENTS}{seen}/guardians/", {"guardians": [entry]}).json["guardians"][0]["guardian_id"]
    before = api.get(f"{STUDENTS}{hidden}/guardians/").json["guardians"]

    calls = (
        desk.patch(f"{GUARDIANS}{shared}/", {"email": "someone@example.org"}),
        desk.patch(f"{GUARDIANS}{shared}/", {"user_id": str(desk.user_id)}),
        desk.delete(f"{GUARDIANS}{shared}/"),
        desk.put(f"{STUDENTS}{seen}/guardians/", {"guardians": [{"name": "Asha Rao", "phone": "+91 20 5550 0177"}]}),
        desk.patch(f"{STUDENTS}{seen}/", {"guardians": [{"guardian_id": shared}]}),
        desk.post(STUDENTS, {"code": "N1", "given_name": "N", "family_name": "O", "guardians": [entry]}),
    )

    assert [response.status for response in calls] == [403] * len(calls)
    assert desk.get(f"{STUDENTS}{seen}/").status == 200
    assert api.get(f"{STUDENTS}{hidden}/guardians/").json["guardians"] == before
    assert desk.post(STUDENTS, {"code": "N2", "given_name": "N", "family_name": "O"}).status == 201
