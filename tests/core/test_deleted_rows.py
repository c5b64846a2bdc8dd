"""Deleted rows are listed, can be undeleted, and keep their ids and codes."""

import pytest

from campshub.core.security.permissions import OF_KEYS, Role
from tests.core.conftest import new_body
from tests.seeds import seed
from tests.surface import operations


def undeletes(app):
    return [one for one in operations(app) if one.rule.endswith("/undelete/")]


def test_every_deleted_row_is_listed_and_can_be_undeleted(app):
    for operation in undeletes(app):
        seeds = seed(app, "Tapir")
        admin = seeds.tenant.the(Role.ADMIN)
        url = operation.address(seeds.ids).removesuffix("undelete/")
        row_id = url.rstrip("/").rpartition("/")[2]
        listed = url.removesuffix(f"{row_id}/")
        assert admin.delete(url).status == 204

        deleted, living = admin.get(f"{listed}?deleted=true"), admin.get(listed)

        assert [row["id"] for row in deleted.json["items"]] == [row_id], operation.name
        assert deleted.json["items"][0]["deleted_at"] is not None
        assert row_id not in [row["id"] for row in living.json["items"]], operation.name
        assert admin.post(f"{url}undelete/").status == 200
        assert admin.get(f"{listed}?deleted=true").json["items"] == []
        assert admin.get(url).status == 200
    assert len(undeletes(app)) >= 5


def test_deleted_rows_are_listed_for_users_who_can_undelete_them(app):
    seeds = seed(app, "Tapir")
    api, reader = seeds.tenant.the(Role.ADMIN), seeds.tenant.someone(Role.CLIENT)
    reads = [permission for permission in OF_KEYS if permission.endswith(":read")]
    role = api.made("/api/roles/", {"name": "Reader", "permissions": reads, "scope": "all"})
    api.patch(f"/api/users/{reader.user_id}/", {"role_id": role["id"]})
    lists = [o for o in operations(app) if o.endpoint.query_schema and "deleted" in o.endpoint.query_schema.fields]
    assert len(lists) >= 6

    for url in (operation.address(seeds.ids) for operation in lists):
        assert api.get(f"{url}?deleted=true").status == 200
        response = reader.get(f"{url}?deleted=true")
        assert (response.status, response.problem["code"]) == (403, "forbidden"), url
        assert reader.get(url).status == 200


def test_deleted_exercises_are_listed_only_for_users_who_can_change_exercises(tenant):
    api, client = tenant.the(Role.ADMIN), tenant.the(Role.CLIENT)
    common = api.made("/api/exercises/", {"name": "Common", "equipment": "barbell"})
    own = client.made("/api/exercises/", {"name": "Own", "equipment": "barbell", "private": True})
    api.delete(f"/api/exercises/{common['id']}/")
    client.delete(f"/api/exercises/{own['id']}/")

    assert [row["id"] for row in api.get("/api/exercises/?deleted=true").json["items"]] == [common["id"]]
    assert [row["id"] for row in client.get("/api/exercises/?deleted=true").json["items"]] == [own["id"]]


def test_a_create_with_the_id_of_a_deleted_row_explains_how_to_undelete_it(app):
    wrong = []
    for operation in undeletes(app):
        seeds = seed(app, "Tapir")
        admin = seeds.tenant.the(Role.ADMIN)
        listed = operation.address(seeds.ids).removesuffix("undelete/").rstrip("/").rpartition("/")[0] + "/"
        post = next(o for o in operations(app) if o.method == "POST" and o.address(seeds.ids) == listed)
        body = new_body(post, seeds)
        made = admin.made(listed, body)
        assert admin.delete(f"{listed}{made['id']}/").status == 204

        response = admin.post(listed, body)

        present = response.problem.get("present") or {}
        found = (response.status, response.problem["code"], present.get("id"), response.headers.get("Location"))
        if found != (409, "deleted", made["id"], None) or present["version"] <= made["version"]:
            wrong.append((operation.name, response.problem))
        assert present["undelete"] == f"{listed}{made['id']}/undelete/"
        assert admin.post(present["undelete"]).status == 200
        assert admin.post(listed, body).status == 200
    assert wrong == []


@pytest.mark.parametrize(("url", "name"), [("/api/students/", "family_name"), ("/api/groups/", "name")])
def test_a_code_of_a_deleted_row_is_refused_with_how_to_undelete_it(api, url, name):
    body = {"code": "S-1", "given_name": "A"} if url == "/api/students/" else {"code": "S-1"}
    made = api.made(url, {**body, name: "B"})
    api.delete(f"{url}{made['id']}/")

    response = api.post(url, {**body, name: "C"})

    assert (response.status, response.problem["code"], response.pointers) == (409, "code_taken", {"/code"})
    assert "deleted" in response.problem["detail"]
    present = response.problem["present"]
    assert (present["id"], present["undelete"]) == (made["id"], f"{url}{made['id']}/undelete/")
    assert present["deleted_at"] is not None
