"""Who reads and writes whose workouts."""

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue
from tests.rollups.world import MOVE_LOGS

SQUAT = str(catalogue.exercise_id("back_squat"))
LOGS = "/api/workout-logs/"
PRIVATE = {"name": "Garage Squat", "equipment": "other", "private": True}


def _all_ways(client, made):
    """Try every URL of a log; return the statuses."""
    url = f"{LOGS}{made['id']}/"
    one = f"{url}sets/{made['exercises'][0]['sets'][0]['id']}/"
    return {
        client.get(url).status,
        client.patch(url, {"title": "x"}).status,
        client.delete(url).status,
        client.post(f"{url}undelete/").status,
        client.post(f"{url}sets/", {"exercise_id": SQUAT, "reps": 1}).status,
        client.post(f"{url}sets/", {"log_exercise_id": made["exercises"][0]["id"], "reps": 1}).status,
        client.get(one).status,
        client.patch(one, {"reps": 1}).status,
        client.delete(one).status,
        client.post(f"{one}undelete/").status,
    }


def _listed(client):
    return [item["id"] for item in client.get(LOGS).json["items"]]


def test_a_client_logs_for_themselves_and_sees_only_their_own_logs(api, tenant, trainee, log):
    client, person = trainee
    own = log(client)
    of_coach = log(student_id=person["id"])
    foreign = log()

    assert own["student_id"] == person["id"]
    assert set(_listed(client)) == {own["id"], of_coach["id"]}
    assert client.get(f"{LOGS}{own['id']}/").json == own
    assert client.post(f"{LOGS}{own['id']}/sets/", {"exercise_id": SQUAT, "reps": 1}).status == 201
    assert client.patch(f"{LOGS}{of_coach['id']}/", {"title": "x"}).status == 200
    assert _all_ways(client, foreign) == {404}
    assert client.get(f"/api/students/{person['id']}/workouts/").status == 200
    assert client.get(f"/api/students/{foreign['student_id']}/workouts/").status == 404
    assert client.get(f"{LOGS}?student_id={foreign['student_id']}").json["items"] == []


def test_a_client_cannot_log_for_another(tenant, trainee, student, ago):
    client, _ = trainee
    body = {"started_at": ago(hours=1)}

    for_other = client.post(LOGS, {**body, "student_id": student()["id"]})
    unlinked = tenant.the(Role.CLIENT).post(LOGS, body)

    assert (for_other.status, for_other.problem["code"], for_other.pointers) == (
        422,
        "unknown_reference",
        {"/student_id"},
    )
    assert (unlinked.status, unlinked.problem["code"], unlinked.pointers) == (422, "required", {"/student_id"})


def test_a_trainer_sees_only_the_logs_of_their_groups(tenant, student, log, coach, ago):
    person, unrelated = student()["id"], student()["id"]
    trainer = coach(person)
    made, hidden = log(student_id=person), log(student_id=unrelated)

    assert _listed(trainer) == [made["id"]]
    assert trainer.get(f"/api/students/{person}/workouts/").json["items"][0]["id"] == made["id"]
    assert trainer.get(f"/api/students/{unrelated}/workouts/").status == 404
    assert trainer.post(LOGS, {"student_id": person, "started_at": ago(hours=1)}).status == 201
    assert trainer.post(LOGS, {"student_id": unrelated, "started_at": ago(hours=1)}).pointers == {"/student_id"}
    assert _all_ways(trainer, hidden) == {404}
    assert _all_ways(coach(), made) == {404}
    assert trainer.post(f"{LOGS}{made['id']}/sets/", {"exercise_id": SQUAT, "reps": 1}).status == 201


def test_a_nutritionist_reads_all_logs_and_writes_none(tenant, log, ago):
    made = log()
    nutritionist = tenant.the(Role.NUTRITIONIST)

    assert _listed(nutritionist) == [made["id"]]
    assert nutritionist.get(f"{LOGS}{made['id']}/").status == 200
    assert nutritionist.post(LOGS, {"student_id": made["student_id"], "started_at": ago(hours=1)}).status == 403
    assert nutritionist.patch(f"{LOGS}{made['id']}/", {"title": "x"}).status == 403
    assert nutritionist.delete(f"{LOGS}{made['id']}/").status == 403
    assert nutritionist.post(f"{LOGS}{made['id']}/sets/", {"exercise_id": SQUAT, "reps": 1}).status == 403


@pytest.mark.parametrize("role", [Role.ADMIN, Role.SUPERADMIN, Role.TRAINER, Role.CLIENT])
def test_another_organization_sees_and_changes_nothing(api, other, log, role):
    made = log()
    unrelated = other.the(role)

    assert _all_ways(unrelated, made) == {404}
    assert _listed(unrelated) == []
    for filters in (f"student_id={made['student_id']}", f"exercise_id={SQUAT}"):
        assert unrelated.get(f"{LOGS}?{filters}").json["items"] == []
    assert api.get(f"{LOGS}{made['id']}/").json == made


def test_another_organizations_ids_in_a_body_are_unknown(api, other, log, student, ago):
    unrelated = other.the(Role.ADMIN)
    exercise = unrelated.made("/api/exercises/", {**PRIVATE, "private": False})["id"]
    foreign = unrelated.made("/api/students/", {"code": "S-1", "given_name": "A", "family_name": "B"})["id"]
    body = {"started_at": ago(hours=1), "student_id": student()["id"]}
    made = log()

    by_student = api.post(LOGS, {**body, "student_id": foreign})
    by_exercise = api.post(LOGS, {**body, "exercises": [{"exercise_id": SQUAT}, {"exercise_id": exercise}]})
    by_set = api.post(f"{LOGS}{made['id']}/sets/", {"exercise_id": exercise, "reps": 1})

    assert (by_student.status, by_student.pointers) == (422, {"/student_id"})
    assert (by_exercise.status, by_exercise.pointers) == (422, {"/exercises/1/exercise_id"})
    assert (by_set.status, by_set.pointers) == (422, {"/exercise_id"})
    same_id = unrelated.post(LOGS, {**body, "id": made["id"], "student_id": foreign})
    assert same_id.status == 201, "an id that another organization has is free here"
    assert api.get(f"{LOGS}{made['id']}/").json == made


def test_a_private_exercise_is_for_its_owner_and_for_users_who_log_for_them(api, tenant, trainee, log, coach, ago):
    client, person = trainee
    own = client.made("/api/exercises/", PRIVATE)["id"]
    trainer = coach(person["id"])
    sets = [{"reps": 1}]
    entry = [{"exercise_id": own, "sets": sets}]

    made = log(client, exercises=entry)
    by_trainer = trainer.post(LOGS, {"student_id": person["id"], "started_at": ago(hours=1), "exercises": entry})
    for_other = api.post(f"{LOGS}{log()['id']}/sets/", {"exercise_id": own, "reps": 1})

    assert made["exercises"][0]["name"] == "Garage Squat"
    assert by_trainer.status == 201
    assert trainer.get(f"{LOGS}{made['id']}/").json["exercises"][0]["name"] == "Garage Squat"
    assert (for_other.status, for_other.pointers) == (422, {"/exercise_id"})


def test_a_workout_is_logged_with_an_exercise_that_was_deleted_meanwhile(api, student, log, ago):
    exercise = api.made("/api/exercises/", {**PRIVATE, "private": False})["id"]
    body = {"id": str(new_id()), "started_at": ago(hours=1), "student_id": student()["id"]}
    body["exercises"] = [{"exercise_id": exercise, "sets": [{"reps": 1}]}]
    made = api.made(LOGS, body)
    api.delete(f"/api/exercises/{exercise}/")

    assert api.get(f"{LOGS}{made['id']}/").json["exercises"][0]["name"] == "Garage Squat"
    assert api.post(LOGS, body).status == 200
    offline = api.made(LOGS, {**body, "id": str(new_id())})
    assert [(one["exercise_id"], one["name"]) for one in offline["exercises"]] == [(exercise, "Garage Squat")]
    for other in (log()["id"], made["id"], offline["id"]):
        assert api.post(f"{LOGS}{other}/sets/", {"exercise_id": exercise, "reps": 1}).status == 201
    assert api.get(f"/api/exercises/{exercise}/").status == 404, "it stays deleted"


def test_a_deleted_student_gets_no_new_logs(api, student, ago):
    person = student()["id"]
    api.delete(f"/api/students/{person}/")

    assert api.post(LOGS, {"student_id": person, "started_at": ago(hours=1)}).pointers == {"/student_id"}
    assert api.get(f"/api/students/{person}/workouts/").status == 404


def test_sql_of_the_application_role_cannot_read_another_organizations_workouts(tenant, other, log, stack, database):
    made = log()
    tables = ("workout_log_ids", "workout_logs", "workout_log_exercises", "workout_sets")
    with stack.primary.connect(database) as connection:
        connection.execute("SET ROLE campshub_app")
        for owner, expected in ((tenant.id, 1), (other.id, 0)):
            connection.execute("SELECT set_config('app.organization_id', %s, false)", [str(owner)])
            for table in tables:
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (expected,), table
        columns = "organization_id, local_date, id, student_id, started_at, time_zone, source"
        values = [tenant.id, made["local_date"], new_id(), made["student_id"], made["started_at"], "UTC", "api"]
        with pytest.raises(Exception, match="row-level security"):
            connection.execute(f"INSERT INTO workout_logs ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s)", values)


def test_the_date_and_person_of_a_set_are_those_of_its_log(tenant, log, student, sql):
    made = log()
    someone = student()["id"]

    for change in (f"student_id = '{someone}'", "local_date = local_date - 40"):
        with pytest.raises(Exception, match="fk_workout_sets"):
            sql(f"UPDATE workout_sets SET {change} WHERE log_id = %s RETURNING id", made["id"])
    with pytest.raises(Exception, match="fk_workout_"):
        sql("UPDATE workout_log_ids SET student_id = %s WHERE id = %s RETURNING id", someone, made["id"])

    sql(f"{MOVE_LOGS} RETURNING id", *(someone, tenant.id, made["student_id"]) * 4)

    for table in ("workout_logs", "workout_log_exercises", "workout_sets"):
        assert sql(f"SELECT count(*) FROM {table} WHERE student_id = %s", someone) == [(1,)]
