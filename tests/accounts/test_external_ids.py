"""The ids of users in another system."""

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

URL = "/api/users/"


def body(**fields):
    return {
        "email": f"{new_id().hex}@example.org",
        "name": "A",
        "role": "trainer",
        "password": "wrong donkey charger",
    } | fields


def test_a_user_is_found_by_their_external_id(api, other):
    made = api.made(URL, body(external_id="E-1"))
    api.made(URL, body(external_id="E-10"))

    assert made["external_id"] == "E-1"
    assert [row["id"] for row in api.get(f"{URL}?external_id=E-1").json["items"]] == [made["id"]]
    assert other.the(Role.ADMIN).get(f"{URL}?external_id=E-1").json["items"] == []
    assert other.the(Role.ADMIN).post(URL, body(external_id="E-1")).status == 201


def test_an_external_id_belongs_to_one_user_of_the_organization(api):
    first, second = api.made(URL, body(external_id="E-1")), api.made(URL, body())

    created = api.post(URL, body(external_id="E-1"))
    changed = api.patch(f"{URL}{second['id']}/", {"external_id": "E-1"})

    for refused in (created, changed):
        assert (refused.status, refused.problem["code"], refused.pointers) == (
            409,
            "external_id_taken",
            {"/external_id"},
        )
        assert refused.problem["present"] == {"id": first["id"], "version": first["version"]}
    assert api.patch(f"{URL}{first['id']}/", {"external_id": None}).json["external_id"] is None
    assert api.patch(f"{URL}{second['id']}/", {"external_id": "E-1", "role": "admin"}).json["external_id"] == "E-1"
    same = api.patch(f"{URL}{second['id']}/", {"external_id": "E-1"})
    assert (same.status, same.json["role"]) == (200, "admin")
