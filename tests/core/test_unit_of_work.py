"""One unit of work commits completely or not at all, and separate transactions survive either way."""

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


def pending_jobs(sql, tenant):
    return sql("SELECT job, arguments, trace_id FROM outbox WHERE organization_id = %s", tenant.id)


def noted(tenant, action="noted"):
    return Change(action, "students", new_id(), None, None, {"a": 1}, frozenset())


def test_a_job_is_enqueued_with_the_commit(context, tenant, sql):
    with unit_of_work(organization_id=tenant.id) as session:
        session.add(group())
        enqueue(session, "students.changed", student_id=tenant.id)

    assert pending_jobs(sql, tenant) == [("students.changed", {"student_id": str(tenant.id)}, "")]


def test_a_job_is_rolled_back_with_its_unit_of_work(context, tenant, sql):
    with pytest.raises(ValueError, match="broken"), unit_of_work(organization_id=tenant.id) as session:
        session.add(group())
        enqueue(session, "students.changed", student_id=tenant.id)
        session.flush()
        raise ValueError("broken")

    assert pending_jobs(sql, tenant) == []
    assert sql("SELECT 1 FROM groups WHERE organization_id = %s", tenant.id) == []


def test_a_failed_transaction_is_not_reported_as_committed(context, tenant, sql):
    with pytest.raises(RuntimeError, match="ROLLBACK"), unit_of_work(organization_id=tenant.id) as session:
        session.add(group())
        session.flush()
        cursor = session.connection().connection.cursor()
        with pytest.raises(Exception, match="division by zero"):
            cursor.execute("SELECT 1 / 0")
        cursor.close()
        session.unit.audit.clear()

    assert sql("SELECT 1 FROM groups WHERE organization_id = %s", tenant.id) == []


def test_a_separate_transaction_survives_the_rollback(context, tenant, sql):
    with pytest.raises(ValueError, match="broken"), unit_of_work(organization_id=tenant.id) as session:
        in_separate_transaction(session, lambda session: record_audit(session, noted(tenant)))
        raise ValueError("broken")

    assert sql("SELECT action FROM audit_log WHERE organization_id = %s AND action = 'noted'", tenant.id) == [
        ("noted",)
    ]


def test_a_separate_transaction_of_a_refused_request_is_committed(api, tenant, sql, monkeypatch):
    from campshub.core.errors import NotFound  # noqa: PLC0415
    from campshub.students.queries import students  # noqa: PLC0415

    def refusing(session, principal, student_id):
        in_separate_transaction(session, lambda session: record_audit(session, noted(tenant)))
        raise NotFound

    monkeypatch.setattr(students, "get_student", refusing)

    assert api.get(f"/api/students/{new_id()}/").status == 404
    entries = sql("SELECT user_id, address FROM audit_log WHERE organization_id = %s AND action = 'noted'", tenant.id)
    assert entries == [(api.user_id, "127.0.0.1")]


def test_a_failed_separate_transaction_changes_no_response_and_is_counted(api, tenant, monkeypatch):
    from campshub.students.queries import students  # noqa: PLC0415

    known = students.list_students

    def failing(session, principal, **given):
        in_separate_transaction(session, lambda session: session.execute(text("SELECT 1 / 0")))
        return known(session, principal, **given)

    monkeypatch.setattr(students, "list_students", failing)
    before = metrics.separate_write_failures._value.get()

    assert api.get("/api/students/").status == 200
    assert metrics.separate_write_failures._value.get() == before + 1


def test_a_read_only_unit_writes_nothing(context, tenant):
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
            unit_of_work(organization_id=tenant.id, read_only=True) as session,
        ):
            write(session)


def test_bulk_statements_that_bypass_the_audit_log_are_refused(context, tenant):
    with pytest.raises(RuntimeError, match=r"core\.db\.writes"), unit_of_work(organization_id=tenant.id) as session:
        session.execute(update(Group).values(name="x"))


def test_a_unit_that_has_written_cannot_release_its_connection(context, tenant):
    with pytest.raises(RuntimeError, match="cannot release"), unit_of_work(organization_id=tenant.id) as session:
        session.add(group())
        session.release()


def test_released_connections_are_counted_in_the_metrics(app, tenant):
    api = tenant.the(Role.ADMIN)
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


def test_made_up_methods_create_no_counters(api):
    api.call("FROBNICATE", "/api/me/")

    methods = {s.labels["method"] for m in metrics.requests.collect() for s in m.samples}
    assert "other" in methods
    assert "FROBNICATE" not in methods
