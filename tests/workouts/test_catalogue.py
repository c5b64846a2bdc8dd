"""The muscles and the public exercises, and the exercises of organizations and users."""

import importlib.util
import json
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue

SQUAT = str(catalogue.exercise_id("back_squat"))
CURL = {
    "name": "Bayesian Curl",
    "aliases": ["Behind-Body Cable Curl"],
    "equipment": "cable",
    "mechanic": "isolation",
    "force": "pull",
    "muscles": [{"muscle": "biceps"}, {"muscle": "forearms", "share": 0.25}],
}


def test_every_role_reads_muscles_with_one_statement(tenant):
    for role in Role:
        response = tenant.the(role).get("/api/muscles/?limit=200")
        assert response.status == 200
        assert len(response.queries) == 1
        found = {muscle["key"]: muscle for muscle in response.json["items"]}
        assert set(found) == set(catalogue.muscle_keys())
        assert (found["quadriceps"]["group"], found["quadriceps"]["side"]) == ("legs", "front")


def test_the_catalogue_is_large_and_each_exercise_names_its_muscles(api):
    items, url = [], "/api/exercises/?limit=50"
    while url:
        page = api.get(url)
        assert len(page.queries) == 1
        items += page.json["items"]
        url = page.headers["Link"].partition(">")[0][1:] if page.json["has_more"] else None

    assert len(items) == len({item["id"] for item in items}) == len(catalogue.exercise_rows()) >= 80
    assert all(item["muscles"] for item in items)
    assert all(0 < muscle["share"] <= 1 for item in items for muscle in item["muscles"])
    assert {(item["licence"], item["attribution"]) for item in items} == {("CC0-1.0", "CampsHub contributors")}
    assert {item["owner_id"] for item in items} == {str(PLATFORM_ID)}
    assert [item["name"].casefold() for item in items] == sorted(item["name"].casefold() for item in items)


def test_one_exercise_is_read_with_one_statement(api):
    response = api.get(f"/api/exercises/{SQUAT}/")

    assert response.json["name"] == "Back Squat"
    assert response.json["muscles"][0] == {"muscle": "quadriceps", "share": 1.0}
    assert len(response.queries) == 1


def test_seeding_again_restores_changed_rows_and_changes_nothing_else(stack, database, sql):
    path = Path(catalogue.__file__).parents[3] / "migrations/versions/0004_workouts.py"
    spec = importlib.util.spec_from_file_location("revision_0004", path)
    revision = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(revision)
    engine = create_engine(stack.primary.dsn(database).replace("postgresql://", "postgresql+psycopg://"))
    sql("UPDATE exercises SET name = 'Squatt' WHERE id = %s RETURNING id", uuid.UUID(SQUAT))

    with engine.begin() as connection:
        first, second = revision.seed(connection), revision.seed(connection)
    engine.dispose()

    assert first == {"muscles": 0, "exercises": 1, "exercise_muscles": 0}
    assert set(second.values()) == {0}
    assert sql("SELECT name FROM exercises WHERE id = %s", uuid.UUID(SQUAT)) == [("Back Squat",)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"q": "bayés"}, {"Bayesian Curl"}),
        ({"q": "curl behind"}, {"Bayesian Curl"}),
        ({"q": "military"}, {"Overhead Press"}),
        ({"q": "100%"}, set()),
        ({"muscle": "tibialis"}, {"Tibialis Raise"}),
        ({"equipment": "trap_bar"}, {"Trap Bar Deadlift"}),
        ({"mine": "true"}, {"My Curl"}),
        ({"muscle": "biceps", "equipment": "cable", "q": "bayesian"}, {"Bayesian Curl"}),
    ],
)
def test_filters_narrow_the_list(api, filters, found):
    api.made("/api/exercises/", CURL)
    api.made("/api/exercises/", {**CURL, "name": "My Curl", "aliases": [], "private": True})

    response = api.get("/api/exercises/", query_string=filters)

    assert {item["name"] for item in response.json["items"]} == found
    assert len(response.queries) == 1


def test_sparse_fields_select_only_their_columns(api):
    response = api.get("/api/exercises/?fields=id,name&limit=1")

    assert set(response.json["items"][0]) == {"id", "name"}
    assert "exercise_muscles" not in response.queries[0]


def test_a_created_exercise_is_read_back(api):
    made = api.post("/api/exercises/", {**CURL, "id": str(new_id())}, headers={"Idempotency-Key": "one"})

    assert made.status == 201
    assert len(made.statements) <= 5, made.statements
    read = api.get(made.headers["Location"])
    assert read.json == made.json
    assert read.json["muscles"] == [{"muscle": "biceps", "share": 1.0}, {"muscle": "forearms", "share": 0.25}]
    assert read.json["metrics"] == ["reps", "load"]


def test_a_retry_returns_the_existing_exercise_and_another_body_is_refused(api):
    body = {**CURL, "id": str(new_id())}
    first = api.post("/api/exercises/", body)

    again = api.post("/api/exercises/", body)
    another = api.post("/api/exercises/", {**body, "name": "Other"})

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert (another.status, another.problem["code"]) == (409, "id_taken")


def test_a_name_is_unique_in_each_list_and_free_after_deletion(api):
    made = api.made("/api/exercises/", CURL)

    taken = api.post("/api/exercises/", {**CURL, "name": "BAYÉSIAN curl"})
    assert (taken.status, taken.problem["code"], taken.pointers) == (409, "name_taken", {"/name"})
    assert api.post("/api/exercises/", {**CURL, "private": True}).status == 201
    assert api.delete(f"/api/exercises/{made['id']}/").status == 204
    assert api.post("/api/exercises/", CURL).status == 201
    back = api.post(f"/api/exercises/{made['id']}/undelete/")
    assert (back.status, back.problem["code"]) == (409, "name_taken")


def test_a_deleted_exercise_leaves_the_list_and_can_be_restored(api):
    made = api.made("/api/exercises/", CURL)
    url = f"/api/exercises/{made['id']}/"

    assert api.delete(url).status == 204

    assert api.get(url).status == 404
    assert api.get("/api/exercises/?q=bayesian").json["items"] == []
    assert [item["id"] for item in api.get("/api/exercises/?deleted=true").json["items"]] == [made["id"]]
    assert api.post(f"{url}undelete/").json["deleted_at"] is None
    assert api.get(url).status == 200


def test_a_change_replaces_the_muscles_and_raises_the_version(api):
    made = api.made("/api/exercises/", CURL)
    url = f"/api/exercises/{made['id']}/"
    tag = api.get(url).headers["ETag"]
    muscles = [{"muscle": "forearms", "share": 0.5}, {"muscle": "lats", "share": 0.1}]

    first = api.patch(url, {"muscles": muscles}, headers={"If-Match": tag})
    second = api.patch(url, {"name": "Other"}, headers={"If-Match": tag})

    assert (first.status, second.status) == (200, 412)
    assert first.json["muscles"] == muscles
    assert first.json["version"] == 2
    assert api.patch(url, {"name": "Drag Curl"}).json["aliases"] == CURL["aliases"]
    assert [item["name"] for item in api.get("/api/exercises/?q=drag").json["items"]] == ["Drag Curl"]


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"muscles": [{"muscle": "brain"}]}, "/muscles/0/muscle"),
        ({"muscles": [{"muscle": "lats", "share": 0}]}, "/muscles/0/share"),
        ({"muscles": [{"muscle": "lats", "share": 1.01}]}, "/muscles/0/share"),
        ({"muscles": [{"muscle": "lats"}, {"muscle": "lats", "share": 0.5}]}, "/muscles"),
        ({"metrics": []}, "/metrics"),
        ({"metrics": ["weight"]}, "/metrics/0"),
        ({"equipment": "hamster wheel"}, "/equipment"),
        ({"name": "a\x00b"}, "/name"),
        ({"name": "  "}, "/name"),
        ({"aliases": ["a\x00b"]}, "/aliases/0"),
        ({"owner_user_id": str(new_id())}, "/owner_user_id"),
        ({"id": str(PLATFORM_ID)}, "/id"),
        ({"id": SQUAT}, "/id"),
    ],
)
def test_invalid_values_are_refused_with_their_pointer(api, wrong, pointer):
    response = api.post("/api/exercises/", {**CURL, **wrong})

    assert (response.status, response.pointers) == (422, {pointer})
    assert api.get("/api/exercises/?q=bayesian").json["items"] == []


def test_a_muscle_named_twice_in_a_change_is_refused(api):
    made = api.made("/api/exercises/", CURL)

    response = api.patch(f"/api/exercises/{made['id']}/", {"muscles": [{"muscle": "lats"}, {"muscle": "lats"}]})

    assert (response.status, response.pointers) == (422, {"/muscles"})


def test_no_role_changes_the_public_exercises(tenant):
    url = f"/api/exercises/{SQUAT}/"
    for role in (Role.SUPERADMIN, Role.ADMIN, Role.TRAINER, Role.CLIENT):
        client = tenant.the(role)
        assert client.patch(url, {"name": "Mine"}).status == 404
        assert client.delete(url).status == 404
        assert client.post(f"{url}undelete/").status == 404
        assert client.get(url).json["name"] == "Back Squat"


def test_sql_of_the_application_role_cannot_change_the_public_rows(stack, database, tenant, sql):
    app_role = f"SET ROLE campshub_app; SELECT set_config('app.organization_id', '{tenant.id}', false)"
    with stack.primary.connect(database) as connection:
        connection.execute(app_role)
        assert connection.execute("SELECT count(*) FROM exercises WHERE id = %s", [SQUAT]).fetchone() == (1,)
        for table in ("muscles", "exercises", "exercise_muscles"):
            assert connection.execute(f"UPDATE {table} SET version = 9").rowcount == 0
            assert connection.execute(f"DELETE FROM {table}").rowcount == 0
            columns = connection.execute(
                "SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND attnum > 0 AND NOT attisdropped", [table]
            ).fetchone()[0]  # fmt: skip
            with pytest.raises(Exception, match="row-level security"):
                connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} LIMIT 1")
        connection.execute("SELECT set_config('app.organization_id', '', false)")
        assert connection.execute(
            "SELECT count(*) FROM exercises WHERE organization_id <> %s", [PLATFORM_ID]
        ).fetchone() == (0,)
        connection.execute("RESET ROLE")


def test_a_muscle_of_another_organization_cannot_be_referred_to(tenant, other, sql):
    made = tenant.the(Role.ADMIN).made("/api/exercises/", CURL)

    with pytest.raises(Exception, match="muscle_owner_id"):
        sql(
            "UPDATE exercise_muscles SET muscle_owner_id = %s WHERE exercise_id = %s RETURNING id", other.id, made["id"]
        )


def test_an_organizations_exercises_are_invisible_to_others(api, other, tenant):
    made = api.made("/api/exercises/", CURL)
    url = f"/api/exercises/{made['id']}/"
    foreign_admin = other.the(Role.ADMIN)

    assert tenant.the(Role.CLIENT).get(url).status == 200
    assert foreign_admin.get(url).status == 404
    assert foreign_admin.patch(url, {"name": "x"}).status == 404
    assert foreign_admin.delete(url).status == 404
    assert foreign_admin.get("/api/exercises/?q=bayesian").json["items"] == []
    assert foreign_admin.post("/api/exercises/", {**CURL, "id": made["id"]}).status == 201, (
        "ids are each organization's own"
    )
    assert api.get(url).json == made


def test_exercises_of_the_organization_need_a_permission_and_private_ones_do_not(tenant):
    client, trainer = tenant.the(Role.CLIENT), tenant.the(Role.TRAINER)
    shared = trainer.made("/api/exercises/", CURL)

    refused = client.post("/api/exercises/", {**CURL, "name": "Other"})
    assert (refused.status, refused.problem["code"]) == (403, "forbidden")
    assert client.patch(f"/api/exercises/{shared['id']}/", {"name": "x"}).status == 403
    assert client.delete(f"/api/exercises/{shared['id']}/").status == 403
    assert tenant.the(Role.NUTRITIONIST).post("/api/exercises/", {**CURL, "private": True}).status == 403

    own = client.made("/api/exercises/", {**CURL, "private": True})
    assert own["owner_user_id"] == str(client.user_id)
    assert client.patch(f"/api/exercises/{own['id']}/", {"level": "advanced"}).json["level"] == "advanced"
    for someone in (tenant.the(Role.ADMIN), trainer, tenant.someone(Role.CLIENT)):
        assert someone.get(f"/api/exercises/{own['id']}/").status == 404
        assert someone.patch(f"/api/exercises/{own['id']}/", {"name": "x"}).status == 404
        assert someone.delete(f"/api/exercises/{own['id']}/").status == 404
        assert someone.post(f"/api/exercises/{own['id']}/undelete/").status == 404
        assert own["id"] not in {item["id"] for item in someone.get("/api/exercises/?q=curl").json["items"]}
    assert client.get(f"/api/exercises/{own['id']}/").json["level"] == "advanced"
    assert client.delete(f"/api/exercises/{own['id']}/").status == 204


def test_the_catalogue_files_have_a_licence_beside_them():
    folder = Path(catalogue.__file__).parent

    assert "CC0 1.0 Universal" in (folder / "LICENCE.md").read_text()
    for name in ("muscles.json", "exercises.json"):
        assert json.loads((folder / name).read_text())["licence"] == "CC0-1.0"
