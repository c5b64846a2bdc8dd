import threading
import uuid

import pytest

from campshub.attendance.service import marking
from campshub.core.security.permissions import Role


def outcomes(response):
    assert response.status == 200, response.raw.get_data(as_text=True)
    return [row["outcome"] for row in response.json["results"]]


@pytest.fixture
def run_in_between(monkeypatch):
    """Return a function that runs a change between a call's reading and its writing, as if the call took no lock."""

    def between(happening):
        merge, calls, responses = marking.writes.merge, [], []

        def later(session, *arguments, **options):
            calls.append(session)
            if len(calls) == 1:
                session.commit()
                responses.append(happening())
                session.connection()
            return merge(session, *arguments, **options)

        monkeypatch.setattr(marking.writes, "merge", later)
        return responses

    return between


def test_concurrent_marks_are_all_stored(api, tenant, a_class, sql):
    roster = a_class(40)
    clients = [tenant.someone(Role.ADMIN) for _ in range(6)]
    codes = ["present", "late", "absent", "excused", "left_early", "present"]
    responses = [None] * len(clients)
    gate = threading.Barrier(len(clients))

    def mark(number):
        order = roster.students if number % 2 else roster.students[::-1]
        rows = [{"student_id": student, "code": codes[number]} for student in order]
        gate.wait()
        responses[number] = clients[number].put(roster.records, {"records": rows})

    threads = [threading.Thread(target=mark, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [response.status for response in responses] == [200] * len(clients)
    stored = dict(
        sql(
            "SELECT student_id, max(code) FROM attendance_records WHERE organization_id = %s AND session_id = %s"
            " GROUP BY student_id HAVING count(*) = 1 AND max(version) = 1",
            tenant.id,
            uuid.UUID(roster.session),
        )
    )
    assert {str(student) for student in stored} == set(roster.students)
    made = [row for response in responses for row in response.json["results"] if row["outcome"] == "created"]
    assert {row["student_id"]: row["code"] for row in made} == {str(s): code for s, code in stored.items()}
    assert len(made) == len(roster.students)
    for response in responses:
        for row in response.json["results"]:
            assert row["code"] == stored[uuid.UUID(row["student_id"])]
            if row["outcome"] == "conflict":
                assert row["present"]["code"] == row["code"]


def test_concurrent_overwriting_counts_every_change(api, tenant, a_class, sql):
    roster = a_class(10)
    roster.mark(*["present"] * 10)
    clients = [tenant.someone(Role.ADMIN) for _ in range(4)]
    gate = threading.Barrier(len(clients))
    responses = []

    def mark(client, note):
        rows = [{"student_id": student, "code": "late", "note": note} for student in roster.students]
        gate.wait()
        responses.append(client.put(roster.records, {"records": rows, "overwrite": True}))

    threads = [threading.Thread(target=mark, args=(client, f"by {n}")) for n, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [outcomes(response) for response in responses] == [["updated"] * 10] * 4
    versions = sql("SELECT DISTINCT version FROM attendance_records WHERE organization_id = %s", tenant.id)
    assert versions == [(5,)]
    assert sql(
        "SELECT count(*) FROM audit_log WHERE organization_id = %s AND entity = 'attendance_records'", tenant.id
    ) == [(50,)]


def test_a_mark_made_between_reading_and_writing_is_not_overwritten(tenant, a_class, run_in_between):
    roster = a_class(2)
    other_person = tenant.someone(Role.ADMIN)
    theirs = run_in_between(lambda: roster.mark("absent", "present", api=other_person))

    response = roster.mark("present", "present")

    assert outcomes(theirs[0]) == ["created", "created"]
    assert outcomes(response) == ["conflict", "unchanged"]
    assert response.json["results"][0]["present"]["code"] == "absent"


def test_a_mark_changed_between_reading_and_writing_is_not_overwritten(api, tenant, a_class, run_in_between):
    roster = a_class(1)
    roster.mark("present")
    theirs = run_in_between(lambda: roster.mark("absent", api=tenant.someone(Role.ADMIN), overwrite=True))

    response = api.put(roster.records, {"records": [{"student_id": roster.students[0], "code": "late", "version": 1}]})

    assert outcomes(theirs[0]) == ["updated"]
    assert outcomes(response) == ["conflict"]
    assert response.json["results"][0]["present"]["version"] == 2


def test_overwriting_preserves_fields_written_in_between(api, tenant, a_class, run_in_between):
    roster = a_class(1)
    student = roster.students[0]
    roster.mark("present")
    noted = {"records": [{"student_id": student, "code": "present", "note": "by bus"}], "overwrite": True}
    run_in_between(lambda: api.put(roster.records, noted))

    response = roster.mark("late", overwrite=True)

    assert outcomes(response) == ["updated"]
    assert (response.json["results"][0]["note"], response.json["results"][0]["version"]) == ("by bus", 3)


def test_a_mark_removed_between_reading_and_writing_is_not_restored(api, a_class, run_in_between):
    roster = a_class(1)
    mark = roster.mark("present").json["results"][0]
    on = api.get(roster.url).json["local_date"]
    run_in_between(lambda: api.delete(f"/api/attendance/records/{mark['id']}/?on={on}"))

    response = roster.mark("late", overwrite=True)

    assert (response.status, response.problem["code"]) == (409, "changed_meanwhile")
    assert api.get(roster.records).json["items"][0]["mark"] is None
