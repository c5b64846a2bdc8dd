"""Lists of enrolments across groups, and the groups of a student."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role

URL = "/api/enrolments/"


@pytest.fixture
def ids(api):
    """Return a function that returns the ids of a list's items."""
    return lambda url: [item["id"] for item in api.get(url).json["items"]]


def test_enrolments_are_filtered_by_student_group_status_and_date(ids, student, group, enrol, today):
    (ann, bob), (blue, red) = (student(), student()), (group(), group())
    first = enrol(blue, ann, begins_on=today - timedelta(days=30), ends_on=today - timedelta(days=1)).json["id"]
    second = enrol(red, ann, begins_on=today).json["id"]
    third = enrol(red, bob, begins_on=today + timedelta(days=5), status="pending").json["id"]

    assert ids(URL) == [first, second, third]
    assert ids(f"{URL}?sort=-begins_on&limit=2") == [third, second]
    assert ids(f"{URL}?student_id={ann['id']}") == [first, second]
    assert ids(f"{URL}?group_id={red['id']}") == [second, third]
    assert ids(f"{URL}?status=pending") == [third]
    assert ids(f"{URL}?on={today}") == [second]
    assert ids(f"{URL}?on={today - timedelta(days=2)}&student_id={ann['id']}") == [first]
    assert ids(f"{URL}?on={today + timedelta(days=6)}&group_id={red['id']}") == [second]
    assert ids(f"/api/students/{ann['id']}/enrolments/") == [first, second]
    assert ids(f"/api/students/{ann['id']}/enrolments/?status=withdrawn") == []


def test_the_groups_of_a_student_are_those_whose_roster_they_are_on(api, ids, student, group, enrol, today):
    ann, (blue, red, green) = student(), (group(name=name) for name in ("Blue", "Red", "Green"))
    enrol(red, ann, begins_on=today - timedelta(days=5))
    enrol(blue, ann, begins_on=today - timedelta(days=30), ends_on=today - timedelta(days=1))
    later = enrol(blue, ann, begins_on=today).json
    enrol(green, ann, begins_on=today + timedelta(days=5))
    url = f"/api/students/{ann['id']}/groups/"

    assert ids(url) == [blue["id"], red["id"]]
    assert api.get(url).json["items"][0]["enrolment_id"] == later["id"]
    assert ids(f"{url}?on={today - timedelta(days=20)}") == [blue["id"]]
    assert ids(f"{url}?on={today + timedelta(days=6)}") == [blue["id"], green["id"], red["id"]]
    api.patch(f"/api/students/{ann['id']}/", {"left_on": str(today - timedelta(days=2))})
    assert ids(url) == []


def test_each_caller_sees_the_enrolments_of_the_groups_that_they_see(tenant, other, student, group, enrol, today):
    client, trainer = tenant.the(Role.CLIENT), tenant.the(Role.TRAINER)
    own, stranger = student(user_id=str(client.user_id)), student()
    trained, hidden = group(trainer_ids=[str(trainer.user_id)]), group()
    rows = {
        (place["id"], person["id"]): enrol(place, person, begins_on=today).json["id"]
        for place in (trained, hidden)
        for person in (own, stranger)
    }

    def seen(caller, url=URL):
        return {item["id"] for item in caller.get(url).json["items"]}

    assert seen(client) == {rows[trained["id"], own["id"]], rows[hidden["id"], own["id"]]}
    assert seen(trainer) == {rows[trained["id"], own["id"]], rows[trained["id"], stranger["id"]]}
    assert seen(trainer, f"/api/students/{own['id']}/enrolments/") == {rows[trained["id"], own["id"]]}
    assert seen(trainer, f"/api/students/{own['id']}/groups/") == {trained["id"]}
    for part in ("enrolments", "groups"):
        assert client.get(f"/api/students/{stranger['id']}/{part}/").status == 404
        assert other.the(Role.ADMIN).get(f"/api/students/{own['id']}/{part}/").status == 404
    assert seen(other.the(Role.ADMIN)) == set()


def test_students_are_found_by_exact_values_and_by_trainer(tenant, api, student, group, enrol, today):
    trainer = tenant.the(Role.TRAINER)
    ann = student(code="S-1", external_id="E-1", phone="+91 20", email="Ann@example.org")
    bob = student(code="S-10", external_id="E-10")
    trained = group(trainer_ids=[str(trainer.user_id)], external_id="GE-1", code="G-1")
    enrol(trained, bob, begins_on=today)
    enrol(trained, ann, begins_on=today + timedelta(days=9))
    group(external_id="GE-10", code="G-10")

    def found(query, url="/api/students/"):
        return {item["code"] for item in api.get(f"{url}?{query}").json["items"]}

    assert found("code=S-1") == found("external_id=E-1") == found("phone=%2B91%2020") == {"S-1"}
    assert found("email=Ann@example.org") == {"S-1"}
    assert found(f"trainer_id={trainer.user_id}") == {"S-10"}
    assert found(f"trainer_id={api.user_id}") == found("code=s-1") == set()
    assert found("code=G-1", "/api/groups/") == found("external_id=GE-1", "/api/groups/") == {"G-1"}


def test_an_external_id_belongs_to_one_group(api, group):
    first = group(external_id="E")
    body = {"code": "X", "name": "Y", "external_id": "E"}

    refused = api.post("/api/groups/", body)

    assert (refused.status, refused.problem["code"], refused.pointers) == (409, "external_id_taken", {"/external_id"})
    assert api.patch(f"/api/groups/{first['id']}/", {"external_id": None}).json["external_id"] is None
    assert api.post("/api/groups/", body).status == 201
