"""One unit of work: all of it or nothing, and what must survive it either way."""

import threading

import pytest
from sqlalchemy import text, update

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.session import db
from campshub.core.db.unit_of_work import in_separate_transaction, mark_changed, record_audit, unit_of_work
from campshub.core.jobs.store import enqueue
from campshub.core.observe import metrics
from campshub.core.security.audit import Change
from campshub.core.security.permissions import Role
from campshub.students.models import Group
from campshub.students.names import group_keys


def group(**given):
    return Group(code="G", name="Group", kind="class", **group_keys("G", "Group"), **given)


def owed(sql, place):
    return sql("SELECT job, arguments, trace_id FROM outbox WHERE organization_id = %s", place.id)


def noted(place, action="noted"):
    return Change(action, "students", new_id(), None, None, {"a": 1}, frozenset())


def test_a_job_is_owed_with_the_commit(context, place, sql):
    with unit_of_work(organization_id=place.id) as session:
        session.add(group())
        enqueue(session, "students.told", student_id=place.id)

    assert owed(sql, place) == [("students.told", {"student_id": str(place.id)}, "")]


def test_a_job_is_rolled_back_with_its_unit(context, place, sql):
    with pytest.raises(ValueError, match="broken"), unit_of_work(organization_id=place.id) as session:
        session.add(group())
        enqueue(session, "students.told", student_id=place.id)
        session.flush()
        raise ValueError("broken")

    assert owed(sql, place) == []
    assert sql("SELECT 1 FROM groups WHERE organization_id = %s", place.id) == []


def test_a_transaction_that_failed_is_not_taken_for_committed(context, place, sql):
    with pytest.raises(RuntimeError, match="ROLLBACK"), unit_of_work(organization_id=place.id) as session:
        session.add(group())
        session.flush()
        cursor = session.connection().connection.cursor()
        with pytest.raises(Exception, match="division by zero"):
            cursor.execute("SELECT 1 / 0")
        cursor.close()
        session.unit.audit.clear()

    assert sql("SELECT 1 FROM groups WHERE organization_id = %s", place.id) == []


def test_what_is_kept_apart_survives_the_rollback(context, place, sql):
    with pytest.raises(ValueError, match="broken"), unit_of_work(organization_id=place.id) as session:
        in_separate_transaction(session, lambda session: record_audit(session, noted(place)))
        raise ValueError("broken")

    assert sql("SELECT action FROM audit_log WHERE organization_id = %s AND action = 'noted'", place.id) == [("noted",)]


def test_what_is_kept_apart_by_a_refused_request_stays(api, place, sql, monkeypatch):
    from campshub.core.errors import NotFound  # noqa: PLC0415
    from campshub.students.queries import students  # noqa: PLC0415

    def refusing(session, principal, student_id):
        in_separate_transaction(session, lambda session: record_audit(session, noted(place)))
        raise NotFound

    monkeypatch.setattr(students, "get_student", refusing)

    assert api.get(f"/api/students/{new_id()}/").status == 404
    entries = sql("SELECT user_id, address FROM audit_log WHERE organization_id = %s AND action = 'noted'", place.id)
    assert entries == [(api.user_id, "127.0.0.1")]


def test_a_failure_to_keep_something_apart_spoils_no_answer_and_is_counted(api, place, monkeypatch):
    from campshub.students.queries import students  # noqa: PLC0415

    known = students.list_students

    def failing(session, principal, **given):
        in_separate_transaction(session, lambda session: session.execute(text("SELECT 1 / 0")))
        return known(session, principal, **given)

    monkeypatch.setattr(students, "list_students", failing)
    before = metrics.apart_failures._value.get()

    assert api.get("/api/students/").status == 200
    assert metrics.apart_failures._value.get() == before + 1


def test_a_unit_that_only_reads_writes_nothing(context, place):
    for write in (
        lambda session: (session.add(group()), session.flush()),
        lambda session: writes.insert(session, Group, [{"code": "G", "name": "x", "kind": "class"}]),
        lambda session: writes.merge(session, Group, [{"code": "G", "name": "x", "kind": "class"}], key=("code",),
                                     change=("name",), when="true"),
        lambda session: mark_changed(session, Group),
        lambda session: session.execute(text("DELETE FROM groups")),
    ):  # fmt: skip
        with (
            pytest.raises(Exception, match=r"read-only"),
            unit_of_work(organization_id=place.id, read_only=True) as session,
        ):
            write(session)


def test_statements_that_would_change_rows_past_the_log_are_refused(context, place):
    with pytest.raises(RuntimeError, match=r"core\.db\.writes"), unit_of_work(organization_id=place.id) as session:
        session.execute(update(Group).values(name="x"))


def test_a_unit_that_has_written_does_not_let_its_connection_go(context, place):
    with pytest.raises(RuntimeError, match="cannot let"), unit_of_work(organization_id=place.id) as session:
        session.add(group())
        session.release()


def test_connections_come_back_and_the_figures_say_so(app, place):
    api = place.the(Role.ADMIN)
    threads = [threading.Thread(target=lambda: api.get("/api/students/")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    api.get(f"/api/students/{new_id()}/")
    api.post("/api/students/", {"code": "x"})

    with app.app_context():
        assert [engine.pool.checkedout() for engine in db.engines.values()] == [0] * len(db.engines)
    others = {s.labels["engine"]: s.value for m in metrics.pool_in_use.collect() for s in m.samples}
    assert set(others.values()) == {0}


def test_methods_that_a_caller_invents_make_no_counters(api):
    api.call("FROBNICATE", "/api/me/")

    methods = {s.labels["method"] for m in metrics.requests.collect() for s in m.samples}
    assert "other" in methods
    assert "FROBNICATE" not in methods
