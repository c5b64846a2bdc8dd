import pytest

from campshub.core.security.permissions import Role

SESSIONS = "/api/attendance/sessions/"
RECORDS = "/api/attendance/records/"


def ids(response, name="id"):
    assert response.status == 200, response.raw.get_data(as_text=True)
    return [item[name] for item in response.json["items"]]


def test_trainers_see_and_mark_only_their_groups(tenant, a_class, today):
    trainer = tenant.the(Role.TRAINER)
    mine, another = a_class(2, trainer=trainer), a_class(2)
    mine.mark("present", "late", api=trainer)
    another.mark("present", "late")

    assert ids(trainer.get(SESSIONS)) == [mine.session]
    assert set(ids(trainer.get(RECORDS), "session_id")) == {mine.session}
    assert ids(trainer.get(mine.records), "student_id") == mine.students
    assert trainer.get(another.url).status == 404
    assert trainer.get(another.records).status == 404
    assert another.mark("absent", api=trainer, overwrite=True).status == 404
    assert trainer.patch(another.url, {"notes": "x"}).status == 404
    for way, status in (("submit", 404), ("lock", 403), ("reopen", 403)):
        assert trainer.post(f"{another.url}{way}/").status == status
    record = another.api.get(f"{RECORDS}?session_id={another.session}").json["items"][0]
    where = f"{RECORDS}{record['id']}/?on={record['local_date']}"
    for response in (trainer.get(where), trainer.patch(where, {"code": "late"}), trainer.delete(where)):
        assert response.status == 404
    assert ids(trainer.get(f"{RECORDS}?group_id={another.group}")) == []
    assert trainer.get(f"/api/students/{another.students[0]}/attendance/").status == 404
    assert trainer.get(f"/api/groups/{another.group}/sessions/").status == 404
    assert trainer.get(f"/api/groups/{mine.group}/sessions/").status == 200
    assert trainer.post(SESSIONS, {"group_id": mine.group, "local_date": str(today), "slot": "17:00"}).status == 201


def test_each_trainer_sees_only_their_groups_records_of_a_shared_student(tenant, a_class, enrol):
    trainer = tenant.the(Role.TRAINER)
    mine, another = a_class(1, trainer=trainer), a_class(0)
    enrol(another.group, mine.students)
    mine.mark("present")
    another.api.put(another.records, {"rest": "absent"})

    history = trainer.get(f"/api/students/{mine.students[0]}/attendance/").json

    assert (history["total"], history["counts"]["absent"]) == (1, 0)
    assert [item["session_id"] for item in history["items"]] == [mine.session]


def test_trainers_mark_their_students_at_open_gym_but_cannot_change_it(api, tenant, a_class, today):
    trainer = tenant.the(Role.TRAINER)
    mine, another = a_class(1, trainer=trainer), a_class(1)
    gym = api.made(SESSIONS, {"local_date": str(today)})
    url = f"{SESSIONS}{gym['id']}/"
    rows = [{"student_id": roster.students[0], "code": "present"} for roster in (mine, another)]

    response = trainer.put(f"{url}records/", {"records": rows})
    api.put(f"{url}records/", {"records": rows})

    assert [row["outcome"] for row in response.json["results"]] == ["created", "error"]
    assert ids(trainer.get(RECORDS), "student_id") == mine.students
    assert ids(trainer.get(f"{url}records/"), "student_id") == mine.students
    assert trainer.patch(url, {"notes": "x"}).status == 403
    assert trainer.post(f"{url}submit/").status == 403
    assert trainer.post(SESSIONS, {"local_date": str(today), "slot": "x"}).pointers == {"/group_id"}


def test_clients_see_their_own_records_and_their_groups_sessions(api, tenant, student, a_class, enrol, today):
    client = tenant.the(Role.CLIENT)
    me = student(user_id=str(client.user_id))["id"]
    mine, another = a_class(1), a_class(1)
    enrol(mine.group, [me])
    for roster in (mine, another):
        api.put(roster.records, {"rest": "present"})

    assert ids(client.get(SESSIONS)) == [mine.session]
    assert ids(client.get(f"/api/groups/{mine.group}/sessions/")) == [mine.session]
    assert ids(client.get(RECORDS), "student_id") == [me]
    assert ids(client.get(mine.records), "student_id") == [me]
    assert client.get(f"/api/students/{me}/attendance/").json["counts"]["present"] == 1
    assert client.get(f"/api/students/{mine.students[0]}/attendance/").status == 404
    assert client.get(another.url).status == 404
    assert client.get(f"/api/groups/{another.group}/sessions/").status == 404
    theirs = api.get(f"{RECORDS}?student_id={mine.students[0]}").json["items"][0]
    assert client.get(f"{RECORDS}{theirs['id']}/?on={theirs['local_date']}").status == 404


@pytest.mark.parametrize("role", [Role.CLIENT, Role.NUTRITIONIST])
def test_clients_and_nutritionists_cannot_mark_or_change_sessions(api, tenant, a_class, role):
    roster = a_class(1)
    roster.mark("present")
    record = api.get(RECORDS).json["items"][0]
    where = f"{RECORDS}{record['id']}/?on={record['local_date']}"
    client = tenant.the(role)

    assert roster.mark("late", api=client).status == 403
    assert client.post(SESSIONS, {"local_date": record["local_date"]}).status == 403
    assert client.patch(roster.url, {"notes": "x"}).status == 403
    assert client.patch(where, {"code": "late"}).status == 403
    assert client.delete(where).status == 403
    for way in ("submit", "lock", "reopen"):
        assert client.post(f"{roster.url}{way}/").status == 403


def test_nutritionists_have_no_access_to_attendance(tenant, a_class):
    roster = a_class(1)
    nutritionist = tenant.the(Role.NUTRITIONIST)

    for url in (SESSIONS, RECORDS, roster.url, roster.records, f"/api/groups/{roster.group}/sessions/"):
        assert nutritionist.get(url).status == 403
