"""Creates that are repeated, at the same moment or later, and what a conflict says of the row in the way."""

import copy
import threading
import time

import pytest

from campshub.core.db import unit_of_work
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.seeds import seed
from tests.surface import body_for, operations

TODAY = time.strftime("%Y-%m-%d")
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture(scope="module")
def seeds(app):
    return seed(app, "Okapi")


@pytest.fixture(scope="module")
def creates(app):
    """All operations that take an id for what they create."""
    found = [o for o in operations(app) if o.method == "POST" and o.handler.options.status == 201]
    found = [o for o in found if "id" in getattr(o.handler.options.body, "_declared_fields", {})]
    assert len(found) >= 10
    return found


@pytest.fixture
def held(monkeypatch, sql):
    """Return a way to send other requests while the transaction of the first is open, until all of them wait."""

    def at_once(first, *others):
        arrived, go, complete = threading.Event(), threading.Event(), unit_of_work.commit_with_effects
        answers = [None] * (1 + len(others))

        def later(*given):
            if not arrived.is_set():
                arrived.set()
                assert go.wait(30)
            return complete(*given)

        def send(number, request):
            answers[number] = request()

        with monkeypatch.context() as patch:
            patch.setattr(unit_of_work, "commit_with_effects", later)
            threads = [threading.Thread(target=send, args=pair) for pair in enumerate((first, *others))]
            threads[0].start()
            assert arrived.wait(30), answers
            deadline = time.monotonic() + 20
            for number, thread in enumerate(threads[1:], start=1):
                thread.start()
                while sql(WAITING)[0][0] < number and thread.is_alive() and time.monotonic() < deadline:
                    time.sleep(0.01)
            waited = all(thread.is_alive() for thread in threads)
            go.set()
            for thread in threads:
                thread.join()
        assert waited, [answer.response.get_data(as_text=True) for answer in answers]
        return answers

    return at_once


def new_body(operation, seeds):
    body = {**body_for(operation.handler.options.body, seeds.id_for), "id": str(new_id())}
    if operation.rule == "/api/attendance/codes/":
        body["key"] = new_id().hex
    return body


def test_two_identical_creates_at_the_same_moment_have_one_effect_and_one_answer(creates, seeds, held):
    admin, wrong = seeds.place.the(Role.ADMIN), []
    for operation in creates:
        address, body = operation.address(seeds.ids), new_body(operation, seeds)

        first, second = held(lambda a=address, b=body: admin.post(a, b), lambda a=address, b=body: admin.post(a, b))

        if (first.status, second.status) != (201, 200) or first.json != second.json:
            wrong.append((operation.name, first.status, second.status, second.response.get_data(as_text=True)))
    assert wrong == []


def test_two_different_creates_under_one_id_at_the_same_moment_are_a_conflict(place, held):
    api, body = place.the(Role.ADMIN), {"id": str(new_id()), "code": "A", "name": "Blue"}

    first, second = held(
        lambda: api.post("/api/groups/", body), lambda: api.post("/api/groups/", {**body, "name": "Red"})
    )

    assert (first.status, second.status, second.problem["code"]) == (201, 409, "id_taken")
    assert second.problem["present"] == {"id": body["id"], "version": 1}


def test_the_create_that_waited_goes_on_where_the_first_is_rolled_back(place, held, monkeypatch):
    api, body, complete = (
        place.the(Role.ADMIN),
        {"id": str(new_id()), "code": "A", "name": "Blue"},
        unit_of_work.commit_with_effects,
    )
    calls = []

    def failing(*given):
        calls.append(given)
        if len(calls) == 1:
            raise RuntimeError("the first one's commit fails")
        return complete(*given)

    monkeypatch.setattr(unit_of_work, "commit_with_effects", failing)
    first, second = held(lambda: api.post("/api/groups/", body), lambda: api.post("/api/groups/", body))

    assert (first.status, second.status) == (500, 201)


def rows_of(count, *, with_ids):
    rows = [{"code": f"S-{n}", "given_name": "A", "family_name": f"B{n}"} for n in range(count)]
    return [{**row, "id": str(new_id())} for row in rows] if with_ids else rows


def test_two_identical_bulk_creates_at_the_same_moment_create_each_student_once(place, held, sql):
    api, rows = place.the(Role.ADMIN), rows_of(20, with_ids=True)

    first, second = held(
        lambda: api.post("/api/students/bulk/", {"students": rows}),
        lambda: api.post("/api/students/bulk/", {"students": rows[::-1]}),
    )

    assert first.json["summary"] == {"created": 20, "unchanged": 0, "error": 0}
    assert second.json["summary"] == {"created": 0, "unchanged": 20, "error": 0}
    assert [row["id"] for row in second.json["results"]] == [row["id"] for row in rows[::-1]]
    assert [row["index"] for row in second.json["results"]] == list(range(20))
    assert sql("SELECT count(*) FROM students WHERE organization_id = %s", place.id) == [(20,)]


@pytest.mark.parametrize("with_ids", [True, False])
def test_bulk_creates_of_the_same_students_in_other_orders_do_not_wait_in_a_circle(place, held, sql, with_ids):
    api, rows = place.the(Role.ADMIN), rows_of(5, with_ids=with_ids)
    middle = {"code": "S-2", "given_name": "A", "family_name": "B"}

    one, *bulks = held(
        lambda: api.post("/api/students/", middle),
        lambda: api.post("/api/students/bulk/", {"students": rows}),
        lambda: api.post("/api/students/bulk/", {"students": rows[::-1]}),
    )

    assert [answer.status for answer in (one, *bulks)] == [201, 200, 200]
    counted = [answer.json["summary"] for answer in bulks]
    assert sum(summary["created"] for summary in counted) == 4
    assert sum(summary["error"] for summary in counted) == (2 if with_ids else 6)
    there = {str(row[0]) for row in sql("SELECT id FROM students WHERE organization_id = %s", place.id)}
    assert {row["id"] for answer in bulks for row in answer.json["results"]} == there


def test_a_row_of_a_bulk_create_that_cannot_be_created_names_who_has_the_code(place, student):
    api, there, gone = place.the(Role.ADMIN), student(code="S-0"), student(code="S-9")
    api.delete(f"/api/students/{gone['id']}/")
    new, person = str(new_id()), {"given_name": "A", "family_name": "B"}

    answer = api.post(
        "/api/students/bulk/",
        {
            "students": [
                {"id": str(new_id()), "code": "S-0", **person},
                {"id": new, "code": "S-1", **person},
                {"code": "S-1", **person},
                {"code": "S-2", "external_id": "x", **person},
                {"id": str(new_id()), "code": "S-3", "external_id": "x", **person},
                {"code": "S-9", **person},
                {"id": gone["id"], "code": "S-10", **person},
                {"code": 7},
            ]
        },
    )

    results = answer.json["results"]
    assert [row["outcome"] for row in results] == ["error", "created", "error", "created", *["error"] * 4]
    assert [row["id"] for row in results] == [there["id"], new, new, results[3]["id"], None, gone["id"], None, None]
    codes = [[error["code"] for error in row["errors"]] for row in results]
    assert codes[:7] == [["code_taken"], [], ["code_taken"], [], ["external_id_taken"], ["code_taken"], ["deleted"]]
    assert "deleted" in results[5]["errors"][0]["detail"]


# What is there -------------------------------------------------------------------------------------------------------


def test_every_create_under_a_taken_id_names_what_is_there(app, creates):
    seeds, wrong = seed(app, "Dhole"), []
    admin = seeds.place.the(Role.ADMIN)
    for operation in creates:
        schema, address = operation.handler.options.body, operation.address(seeds.ids)
        body = new_body(operation, seeds)
        made = admin.post(address, body)
        name = next(
            n for n in ("name", "label", "given_name", "notes", "title", "rir", "ends_on") if n in schema().fields
        )
        other = {"ends_on": "2020-01-30", "rir": 1}.get(name, "Something else")

        answer = admin.post(address, {**body, name: other})

        there = {"id": body["id"], "version": made.json["version"]}
        found = (answer.status, answer.problem["code"], answer.problem.get("present"), answer.headers.get("Location"))
        if found != (409, "id_taken", there, made.headers["Location"]):
            wrong.append((operation.name, found))
    assert wrong == []


def conflicts(seeds):
    """Yield what two creates cannot share: the address, the first body, what the second has otherwise, the code."""
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


def test_every_conflict_with_one_row_names_it_and_where_it_is(app):
    seeds = seed(app, "Numbat")
    admin, wrong = seeds.place.the(Role.ADMIN), []
    for address, body, otherwise, code in conflicts(seeds):
        first = admin.post(address, copy.deepcopy(body))
        assert first.status == 201, first.response.get_data(as_text=True)

        answer = admin.post(address, {**body, **otherwise})

        there = {"id": first.json["id"], "version": first.json["version"]}
        found = (answer.status, answer.problem["code"], answer.problem.get("present"), answer.headers.get("Location"))
        if found != (409, code, there, f"{address}{first.json['id']}/"):
            wrong.append((address, found))
    assert wrong == []


def test_a_change_that_meets_another_row_names_it_too(app):
    seeds = seed(app, "Quoll")
    admin, wrong = seeds.place.the(Role.ADMIN), []
    for address, body, otherwise, code in conflicts(seeds):
        if address in ("/api/workout-logs/", "/api/users/"):  # what they share cannot be changed there
            continue
        shared = {"code_taken": "code", "external_id_taken": "external_id", "login_taken": "user_id"}
        shared |= {"session_exists": "slot", "role_name_taken": "name", "name_taken": "name"}
        name = shared.get(code, "begins_on")
        first = admin.made(address, body)
        instead = {"slot": "06:00", "begins_on": "2019-03-01"}.get(name, "C-0")
        beside = {**body, **otherwise, name: instead} | ({"ends_on": "2019-04-01"} if name == "begins_on" else {})
        if name == "user_id":
            del beside["user_id"]
        if code == "key_taken":  # it cannot be changed
            continue
        second = admin.made(address, beside)

        answer = admin.patch(f"{address}{second['id']}/", {name: body[name]})

        there = {"id": first["id"], "version": first["version"]}
        found = (answer.status, answer.problem["code"], answer.problem.get("present"), answer.headers.get("Location"))
        if found != (409, code, there, f"{address}{first['id']}/"):
            wrong.append((address, found))
        assert admin.get(f"{address}{second['id']}/").json["version"] == second["version"]
    assert wrong == []


def test_a_conflict_names_no_row_that_the_caller_does_not_see(place, student):
    api, there = place.the(Role.ADMIN), student(code="S-1")
    clerk = place.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"code": "S-1", "given_name": "A", "family_name": "B"}

    taken = clerk.post("/api/students/", body)
    same_id = clerk.post("/api/students/", {**body, "id": there["id"], "code": "S-2"})
    bulk = clerk.post("/api/students/bulk/", {"students": [body]})
    api.delete(f"/api/students/{there['id']}/")
    deleted = clerk.post("/api/students/", {**body, "id": there["id"]})

    for answer, code in ((taken, "code_taken"), (same_id, "id_taken"), (deleted, "id_taken")):
        assert (answer.status, answer.problem["code"], answer.headers.get("Location")) == (409, code, None)
        assert "present" not in answer.problem
        assert there["id"] not in answer.response.get_data(as_text=True)
    assert bulk.json["results"][0]["id"] is None


def test_who_creates_a_student_whom_they_do_not_see_may_repeat_it(place):
    api, clerk = place.the(Role.ADMIN), place.someone(Role.CLIENT)
    role = {"name": "Clerk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{clerk.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    body = {"id": str(new_id()), "code": "S-1", "given_name": "A", "family_name": "B"}

    first, again = (clerk.post("/api/students/", body) for _ in range(2))
    api.patch(f"/api/students/{body['id']}/", {"phone": "1"})
    later = clerk.post("/api/students/", body)

    assert (first.status, again.status, again.json == first.json) == (201, 200, True)
    assert (later.status, later.problem["code"]) == (409, "id_taken"), "what others have changed is not shown"


# Deleted rows --------------------------------------------------------------------------------------------------------


def undeletes(app):
    return [one for one in operations(app) if one.rule.endswith("/undelete/")]


def test_every_deleted_row_is_in_a_list_and_comes_back(app):
    for operation in undeletes(app):
        seeds = seed(app, "Tapir")
        admin = seeds.place.the(Role.ADMIN)
        address = operation.address(seeds.ids).removesuffix("undelete/")
        row_id = address.rstrip("/").rpartition("/")[2]
        listed = address.removesuffix(f"{row_id}/")
        assert admin.delete(address).status == 204

        deleted, living = admin.get(f"{listed}?deleted=true"), admin.get(listed)

        assert [row["id"] for row in deleted.json["items"]] == [row_id], operation.name
        assert deleted.json["items"][0]["deleted_at"] is not None
        assert row_id not in [row["id"] for row in living.json["items"]], operation.name
        assert admin.post(f"{address}undelete/").status == 200
        assert admin.get(f"{listed}?deleted=true").json["items"] == []
        assert admin.get(address).status == 200
    assert len(undeletes(app)) >= 5


def test_deleted_rows_are_listed_for_those_who_may_undelete_them(app, place, student):
    api, reader = place.the(Role.ADMIN), place.someone(Role.CLIENT)
    reads = [f"{name}:read" for name in ("students", "groups", "workouts", "exercises")]
    role = api.made("/api/roles/", {"name": "Reader", "permissions": reads, "scope": "all"})
    api.patch(f"/api/users/{reader.user_id}/", {"role_id": role["id"]})
    log = {"student_id": student()["id"], "started_at": f"{TODAY}T06:00:00Z"}
    sets = f"/api/workout-logs/{api.made('/api/workout-logs/', log)['id']}/sets/"
    workouts = f"/api/students/{log['student_id']}/workouts/"

    for address in ("/api/students/", "/api/groups/", "/api/workout-logs/", "/api/exercises/", sets, workouts):
        assert api.get(f"{address}?deleted=true").status == 200
        answer = reader.get(f"{address}?deleted=true")
        assert (answer.status, answer.problem["code"]) == (403, "forbidden"), address
        assert reader.get(address).status == 200


def test_only_those_who_change_the_organizations_exercises_list_its_deleted_ones(place):
    api, client = place.the(Role.ADMIN), place.the(Role.CLIENT)
    common = api.made("/api/exercises/", {"name": "Common", "equipment": "barbell"})
    own = client.made("/api/exercises/", {"name": "Own", "equipment": "barbell", "private": True})
    api.delete(f"/api/exercises/{common['id']}/")
    client.delete(f"/api/exercises/{own['id']}/")

    assert [row["id"] for row in api.get("/api/exercises/?deleted=true").json["items"]] == [common["id"]]
    assert [row["id"] for row in client.get("/api/exercises/?deleted=true").json["items"]] == [own["id"]]


def test_a_create_under_the_id_of_a_deleted_row_says_how_it_comes_back(app):
    wrong = []
    for operation in undeletes(app):
        seeds = seed(app, "Tapir")
        admin = seeds.place.the(Role.ADMIN)
        listed = operation.address(seeds.ids).removesuffix("undelete/").rstrip("/").rpartition("/")[0] + "/"
        post = next(o for o in operations(app) if o.method == "POST" and o.address(seeds.ids) == listed)
        body = new_body(post, seeds)
        made = admin.made(listed, body)
        assert admin.delete(f"{listed}{made['id']}/").status == 204

        answer = admin.post(listed, body)

        present = answer.problem.get("present") or {}
        found = (answer.status, answer.problem["code"], present.get("id"), answer.headers.get("Location"))
        if found != (409, "deleted", made["id"], None) or present["version"] <= made["version"]:
            wrong.append((operation.name, answer.problem))
        assert present["undelete"] == f"{listed}{made['id']}/undelete/"
        assert admin.post(present["undelete"]).status == 200
        assert admin.post(listed, body).status == 200
    assert wrong == []


@pytest.mark.parametrize(("address", "name"), [("/api/students/", "family_name"), ("/api/groups/", "name")])
def test_a_code_that_a_deleted_row_has_is_refused_with_how_it_comes_back(api, address, name):
    body = {"code": "S-1", "given_name": "A"} if address == "/api/students/" else {"code": "S-1"}
    made = api.made(address, {**body, name: "B"})
    api.delete(f"{address}{made['id']}/")

    answer = api.post(address, {**body, name: "C"})

    assert (answer.status, answer.problem["code"], answer.pointers) == (409, "code_taken", {"/code"})
    assert "deleted" in answer.problem["detail"]
    present = answer.problem["present"]
    assert (present["id"], present["undelete"]) == (made["id"], f"{address}{made['id']}/undelete/")
    assert present["deleted_at"] is not None


# Ids and bodies ------------------------------------------------------------------------------------------------------


def test_a_student_may_have_the_id_of_a_user(api, place):
    trainer = place.the(Role.TRAINER)
    assert trainer.patch("/api/me/", {"name": "Asha Rao"}).status == 200
    body = {"id": str(trainer.user_id), "code": "S-1", "given_name": "Asha", "family_name": "Rao"}
    row = {"id": str(api.user_id), "code": "S-2", "given_name": "Amit", "family_name": "Rao"}
    new = {"id": str(new_id()), "code": "S-3", "given_name": "New", "family_name": "Rao"}

    first = api.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    bulk = api.post("/api/students/bulk/", {"students": [row, new]})
    changed = api.patch(f"/api/students/{trainer.user_id}/", {"phone": "1"})
    trainer.patch("/api/me/", {"name": "Asha R"})

    assert (first.status, changed.status) == (201, 200)
    assert bulk.json["summary"] == {"created": 2, "unchanged": 0, "error": 0}
    again = api.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    entries = api.get(f"/api/audit/?person_id={trainer.user_id}").json["items"]
    logged = [(entry["entity"], entry["action"]) for entry in entries]
    assert {("students", "created"), ("students", "changed"), ("users", "changed")} <= set(logged)
    assert {entry["after"].get("given_name") for entry in entries if entry["entity"] == "students"} == {"Asha", None}
    for student_id, name in ((row["id"], "Amit"), (new["id"], "New")):
        entries = api.get(f"/api/audit/?entity_id={student_id}&entity=students").json["items"]
        assert [entry["after"]["given_name"] for entry in entries] == [name]


@pytest.mark.parametrize("address", ["/api/students/", "/api/attendance/sessions/", "/api/groups/"])
def test_a_repetition_is_compared_after_defaults(api, address):
    body = {
        "/api/students/": {"code": "S-1", "given_name": "A", "family_name": "B", "address": {"locality": "Pune"}},
        "/api/attendance/sessions/": {"local_date": TODAY, "slot": "9:00"},
        "/api/groups/": {"code": "G-1", "name": "Blue"},
    }[address] | {"id": str(new_id())}
    spelled_out = {
        "/api/students/": {"phone": None, "status": "active", "tags": [], "medical_note": None},
        "/api/attendance/sessions/": {"group_id": None, "slot": "09:00", "notes": None, "status": "scheduled"},
        "/api/groups/": {"kind": "class", "capacity": None, "trainer_ids": []},
    }[address]
    first = api.post(address, body)

    again, other = api.post(address, {**body, **spelled_out}), api.post(address, {**body, "status": "open"})

    assert (first.status, again.status) == (201, 200), again.response.get_data(as_text=True)
    assert again.json == first.json
    assert other.status in (409, 422)
