"""A conflict names the existing row, unless it is hidden from the caller."""

import copy
import time

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.core.conftest import new_body
from tests.seeds import seed

TODAY = time.strftime("%Y-%m-%d")


def test_every_create_with_a_taken_id_names_the_existing_row(app, creates):
    seeds, wrong = seed(app, "Dhole"), []
    admin = seeds.tenant.the(Role.ADMIN)
    for operation in creates:
        schema, url = operation.endpoint.options.body, operation.address(seeds.ids)
        body = new_body(operation, seeds)
        made = admin.post(url, body)
        name = next(
            n for n in ("name", "label", "given_name", "notes", "title", "rir", "ends_on") if n in schema().fields
        )
        other = {"ends_on": "2020-01-30", "rir": 1}.get(name, "Something else")

        response = admin.post(url, {**body, name: other})

        there = {"id": body["id"], "version": made.json["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, "id_taken", there, made.headers["Location"]):
            wrong.append((operation.name, found))
    assert wrong == []


def conflicts(seeds):
    """Yield pairs of creates that conflict: URL, first body, changes of the second body, error code."""
    ids = seeds.ids
    person = {"given_name": "A", "family_name": "B"}
    yield "/api/students/", {"code": "C-1", **person}, {}, "code_taken"
    yield "/api/students/", {"code": "C-2", "external_id": "E", **person}, {"code": "C-3"}, "external_id_taken"
    login = seeds.id_for("user_id")
    yield "/api/students/", {"code": "C-4", "user_id": login, **person}, {"code": "C-5"}, "login_taken"
    yield "/api/groups/", {"code": "C-1", "name": "Blue"}, {}, "code_taken"
    yield "/api/attendance/codes/", {"key": "c1", "label": "C", "counts_as": "late"}, {}, "key_taken"
    meeting = {"group_id": ids["group_id"], "local_date": TODAY, "slot": "07:00"}
    yield "/api/attendance/sessions/", meeting, {}, "session_exists"
    yield "/api/attendance/sessions/", {"local_date": TODAY, "slot": "07:00"}, {}, "session_exists"
    yield "/api/roles/", {"name": "C", "permissions": ["students:read"], "scope": "all"}, {}, "role_name_taken"
    yield "/api/exercises/", {"name": "C", "equipment": "barbell"}, {}, "name_taken"
    enrolment = {"student_id": ids["student_id"], "begins_on": "2019-01-01", "ends_on": "2019-02-01"}
    other_days = {"begins_on": "2019-02-01", "ends_on": "2019-03-01"}
    yield f"/api/groups/{ids['group_id']}/enrolments/", enrolment, other_days, "already_enrolled"
    log = {"student_id": ids["student_id"], "started_at": f"{TODAY}T06:00:00Z", "external_id": "E"}
    yield "/api/workout-logs/", log, {"title": "Other"}, "external_id_taken"
    new = {"email": f"{new_id().hex}@example.org", "name": "A", "password": "correct horse battery", "role": "client"}
    yield "/api/users/", new, {}, "email_taken"


def test_every_conflict_with_one_row_names_the_row_and_its_url(app):
    seeds = seed(app, "Numbat")
    admin, wrong = seeds.tenant.the(Role.ADMIN), []
    for url, body, otherwise, code in conflicts(seeds):
        first = admin.post(url, copy.deepcopy(body))
        assert first.status == 201, first.raw.get_data(as_text=True)

        response = admin.post(url, {**body, **otherwise})

        there = {"id": first.json["id"], "version": first.json["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, code, there, f"{url}{first.json['id']}/"):
            wrong.append((url, found))
    assert wrong == []


def test_a_change_that_conflicts_with_another_row_names_it_too(app):
    seeds = seed(app, "Quoll")
    admin, wrong = seeds.tenant.the(Role.ADMIN), []
    for url, body, otherwise, code in conflicts(seeds):
        if url in ("/api/workout-logs/", "/api/users/"):  # the shared value cannot be changed there
            continue
        shared = {"code_taken": "code", "external_id_taken": "external_id", "login_taken": "user_id"}
        shared |= {"session_exists": "slot", "role_name_taken": "name", "name_taken": "name"}
        name = shared.get(code, "begins_on")
        first = admin.made(url, body)
        instead = {"slot": "06:00", "begins_on": "2019-03-01"}.get(name, "C-0")
        beside = {**body, **otherwise, name: instead} | ({"ends_on": "2019-04-01"} if name == "begins_on" else {})
        if name == "user_id":
            del beside["user_id"]
        if code == "key_taken":  # a key cannot be changed
            continue
        second = admin.made(url, beside)

        response = admin.patch(f"{url}{second['id']}/", {name: body[name]})

        there = {"id": first["id"], "version": first["version"]}
        found = (
            response.status,
            response.problem["code"],
            response.problem.get("present"),
            response.headers.get("Location"),
        )
        if found != (409, code, there, f"{url}{first['id']}/"):
            wrong.append((url, found))
        assert admin.get(f"{url}{second['id']}/").json["version"] == second["version"]
    assert wrong == []


def test_a_conflict_names_no_row_that_is_hidden_from_the_caller(tenant, student):
    api, there = tenant.the(Role.ADMIN), student(code="S-1")
    clerk = tenant.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"code": "S-1", "given_name": "A", "family_name": "B"}

    taken = clerk.post("/api/students/", body)
    same_id = clerk.post("/api/students/", {**body, "id": there["id"], "code": "S-2"})
    bulk = clerk.post("/api/students/bulk/", {"students": [body]})
    api.delete(f"/api/students/{there['id']}/")
    deleted = clerk.post("/api/students/", {**body, "id": there["id"]})

    for response, code in ((taken, "code_taken"), (same_id, "id_taken"), (deleted, "id_taken")):
        assert (response.status, response.problem["code"], response.headers.get("Location")) == (409, code, None)
        assert "present" not in response.problem
        assert there["id"] not in response.raw.get_data(as_text=True)
    assert bulk.json["results"][0]["id"] is None


def test_a_create_of_a_student_hidden_from_its_sender_can_be_repeated(tenant):
    api, clerk = tenant.the(Role.ADMIN), tenant.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"id": str(new_id()), "code": "S-1", "given_name": "A", "family_name": "B"}

    first, again = (clerk.post("/api/students/", body) for _ in range(2))
    api.patch(f"/api/students/{body['id']}/", {"phone": "1"})
    later = clerk.post("/api/students/", body)

    assert (first.status, again.status, again.json == first.json) == (201, 200, True)
    assert (later.status, later.problem["code"]) == (409, "id_taken"), "the response does not show changes by others"
