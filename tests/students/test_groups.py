from concurrent.futures import ThreadPoolExecutor

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role


@pytest.fixture
def group(api):
    return lambda **fields: api.made("/api/groups/", {"code": new_id().hex, "name": "Blue", **fields})


def enrol(api, group, student, **fields):
    return api.post(
        f"/api/groups/{group['id']}/enrolments/",
        {"student_id": student["id"], "begins_on": "2026-01-10", **fields},
    )


def test_a_group_shows_its_trainers_and_how_many_are_enrolled(api, tenant, group, student):
    trainer = tenant.the(Role.TRAINER)
    made = group(trainer_ids=[str(trainer.user_id)], capacity=12)
    enrol(api, made, student())

    response = api.get(f"/api/groups/{made['id']}/")

    assert [t["id"] for t in response.json["trainers"]] == [str(trainer.user_id)]
    assert response.json["enrolled"] == 1
    assert len(response.queries) == 1


def test_a_change_of_a_groups_trainers_based_on_an_old_version_is_refused(api, tenant, group):
    first, second = (str(tenant.the(role).user_id) for role in (Role.TRAINER, Role.ADMIN))
    made = group()
    url = f"/api/groups/{made['id']}/"
    visible = {"If-Match": api.get(url).headers["ETag"]}

    changed = api.patch(url, {"trainer_ids": [first], "name": "Red"}, headers=visible)
    late = api.patch(url, {"trainer_ids": [second]}, headers=visible)
    same = api.patch(url, {"trainer_ids": [first, first]}, headers={"If-Match": changed.headers["ETag"]})

    assert (changed.status, changed.json["version"]) == (200, made["version"] + 1)
    assert (late.status, late.problem["code"]) == (412, "precondition_failed")
    assert same.headers["ETag"] == changed.headers["ETag"]
    assert [trainer["id"] for trainer in api.get(url).json["trainers"]] == [first]


def test_only_a_trainer_of_the_organization_can_be_assigned_to_a_group(api, tenant, other, group):
    client, foreign_trainer = tenant.the(Role.CLIENT), other.the(Role.TRAINER)
    made = group()

    for user_id in (client.user_id, foreign_trainer.user_id):
        response = api.patch(f"/api/groups/{made['id']}/", {"trainer_ids": [str(user_id)]})
        assert (response.status, response.pointers) == (422, {"/trainer_ids/0"})


def test_trainers_see_only_the_students_of_their_groups(api, tenant, group, student):
    trainer = tenant.the(Role.TRAINER)
    mine, another = group(trainer_ids=[str(trainer.user_id)]), group()
    visible, invisible = student(), student()
    enrol(api, mine, visible)
    enrol(api, another, invisible)

    assert [s["id"] for s in trainer.get("/api/students/").json["items"]] == [visible["id"]]
    assert [g["id"] for g in trainer.get("/api/groups/").json["items"]] == [mine["id"]]
    assert trainer.get(f"/api/students/{invisible['id']}/").status == 404
    assert trainer.get(f"/api/groups/{another['id']}/roster/").status == 404
    assert trainer.get("/api/students/?q=asha").json["items"][0]["id"] == visible["id"]

    api.patch(f"/api/groups/{mine['id']}/", {"trainer_ids": []})
    assert trainer.get("/api/students/").json["items"] == []


def test_clients_see_themselves_and_their_groups(api, tenant, group, student):
    client = tenant.the(Role.CLIENT)
    me, someone = student(user_id=str(client.user_id)), student()
    mine, another = group(), group()
    enrol(api, mine, me)
    enrol(api, mine, someone)
    enrol(api, another, someone)

    assert [s["id"] for s in client.get("/api/students/").json["items"]] == [me["id"]]
    assert [g["id"] for g in client.get("/api/groups/").json["items"]] == [mine["id"]]
    assert [row["id"] for row in client.get(f"/api/groups/{mine['id']}/roster/").json["items"]] == [me["id"]]
    assert [e["student_id"] for e in client.get(f"/api/groups/{mine['id']}/enrolments/").json["items"]] == [me["id"]]


def test_a_roster_is_as_of_a_date(api, group, student):
    made = group()
    early, late = student(family_name="Early"), student(family_name="Late")
    enrol(api, made, early, begins_on="2026-01-10", ends_on="2026-02-10")
    enrol(api, made, late, begins_on="2026-02-10")

    def roster(on):
        response = api.get(f"/api/groups/{made['id']}/roster/?on={on}")
        assert len(response.queries) <= 2
        return [row["family_name"] for row in response.json["items"]]

    assert roster("2026-01-09") == []
    assert roster("2026-01-10") == ["Early"]
    assert roster("2026-02-10") == ["Early", "Late"]
    assert roster("2026-02-11") == ["Late"]


def test_a_withdrawn_student_stays_on_earlier_rosters(api, group, student):
    made, someone = group(), student()
    enrolment = enrol(api, made, someone).json
    url = f"/api/groups/{made['id']}/enrolments/{enrolment['id']}/"

    assert api.patch(url, {"status": "withdrawn", "ends_on": "2026-03-01"}).status == 200

    assert len(api.get(f"/api/groups/{made['id']}/roster/?on=2026-02-01").json["items"]) == 1
    assert api.get(f"/api/groups/{made['id']}/roster/?on=2026-03-02").json["items"] == []


def test_two_enrolments_of_a_student_in_a_group_never_overlap(api, group, student):
    made, someone = group(), student()
    assert enrol(api, made, someone, ends_on="2026-02-01").status == 201

    overlapping = enrol(api, made, someone, begins_on="2026-02-01")
    after = enrol(api, made, someone, begins_on="2026-02-02")

    assert (overlapping.status, overlapping.problem["code"]) == (409, "already_enrolled")
    assert after.status == 201


def test_enrolling_again_with_the_same_id_changes_nothing(api, group, student):
    made, someone = group(), student()
    enrolment_id = str(new_id())

    assert [enrol(api, made, someone, id=enrolment_id).status for _ in range(2)] == [201, 200]
    assert enrol(api, made, someone, id=enrolment_id, ends_on="2026-05-01").status == 409


def test_the_last_place_is_taken_once(api, tenant, group, student):
    made = group(capacity=3)
    students = [student() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda someone: enrol(api, made, someone).status, students))

    assert sorted(responses) == [201] * 3 + [409] * 5
    assert api.get(f"/api/groups/{made['id']}/").json["enrolled"] == 3
    waiting = enrol(api, made, students[responses.index(409)], status="pending")
    assert waiting.status == 201
    promoted = api.patch(f"/api/groups/{made['id']}/enrolments/{waiting.json['id']}/", {"status": "active"})
    assert (promoted.status, promoted.problem["code"]) == (409, "group_full")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"begins_on": "2026-02-01", "ends_on": "2026-01-01"}, "/ends_on"),
        ({"begins_on": "2026-13-01"}, "/begins_on"),
        ({"status": "completed"}, "/status"),
        ({"student_id": "not-an-id"}, "/student_id"),
        ({"student_id": "0198c0de-0000-7000-8000-000000000000"}, "/student_id"),
    ],
)
def test_an_invalid_enrolment_reports_the_pointer(api, group, student, body, pointer):
    response = enrol(api, group(), student(), **body)

    assert (response.status, response.pointers) == (422, {pointer})


def test_another_organizations_student_cannot_be_enrolled(api, other, group):
    foreign = other.the(Role.ADMIN).made("/api/students/", {"code": "F", "given_name": "A", "family_name": "B"})

    response = enrol(api, group(), foreign)

    assert (response.status, response.pointers) == (422, {"/student_id"})


def test_groups_are_filtered_and_searched(api, tenant, group):
    trainer = tenant.the(Role.TRAINER)
    group(name="Blue 100%", kind="camp", trainer_ids=[str(trainer.user_id)])
    group(name="Red", status="draft")

    def names(query):
        return [item["name"] for item in api.get(f"/api/groups/?{query}").json["items"]]

    assert names("kind=camp") == ["Blue 100%"]
    assert names("status=draft") == ["Red"]
    assert names("q=100%25") == ["Blue 100%"]
    assert names(f"trainer_id={trainer.user_id}") == ["Blue 100%"]
