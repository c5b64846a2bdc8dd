"""The relay, an unavailable broker, and the retention of rows."""

from sqlalchemy import text

from campshub.app import create_app
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner, store, worker
from campshub.core.jobs.registry import job
from campshub.core.jobs.runner import Outcome
from campshub.core.jobs.store import enqueue
from tests.conftest import close, settings_of
from tests.core.jobs.conftest import DUE_NOW, a_group


def test_the_relay_sends_due_jobs_that_no_worker_has_taken_and_then_pauses(app, add_job, sql, monkeypatch):
    calls = []
    monkeypatch.setattr(app.extensions["campshub"].sender, "send", lambda sent: calls.extend(sent) or len(calls))
    job("tests.group")(lambda session, run: a_group(session))
    message_id = add_job("tests.group")
    assert [id_ for _, id_, _ in calls] == [message_id]  # at once, after the commit

    def tick():
        calls.clear()
        with app.app_context():
            worker.tick(app.extensions["campshub"])
        return [id_ for _, id_, _ in calls]

    assert tick() == []
    sql(DUE_NOW)
    assert tick() == [message_id]
    assert tick() == []


def test_an_unavailable_broker_does_not_stop_the_write(stack, scratch, tenant):
    """No process listens on the port."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", celery_broker_url="redis://127.0.0.1:1/0"))
    job("tests.group")(lambda session, run: a_group(session))
    with own.app_context():
        for _ in range(3):
            with unit_of_work(organization_id=tenant.id) as session:
                message_id = enqueue(session, "tests.group")
        outcome = runner.run_one(own.extensions["campshub"], tenant.id, message_id)
    close(own)

    assert outcome == Outcome.DONE


def test_only_expired_rows_are_deleted(app, sql, tenant, run, add_job):
    job("tests.group")(lambda session, run: None)
    old, new, dead = (add_job("tests.group") for _ in range(3))
    assert [run(old), run(new)] == [Outcome.DONE, Outcome.DONE]
    long_ago = "now() - INTERVAL '15 days'"
    sql(f"UPDATE outbox SET finished_at = {long_ago} WHERE id = %s RETURNING 1", old)
    sql(f"UPDATE outbox SET died_at = {long_ago} WHERE id = %s RETURNING 1", dead)
    with app.app_context(), unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
        message_id = enqueue(session, "cleanup.expired")
    with app.app_context():
        outcome = runner.run_one(app.extensions["campshub"], PLATFORM_ID, message_id)

    assert outcome == Outcome.DONE
    assert sql("SELECT id FROM outbox WHERE job = 'tests.group' ORDER BY id") == [(new,), (dead,)]
    assert sql("SELECT result FROM jobs") == [({"deleted": 1},)]


def test_every_expiry_condition_has_an_index(app, sql, stack, scratch):
    from campshub.core.db.retention import expiries  # noqa: PLC0415

    for expiry in expiries():
        table = expiry.model.__tablename__
        statement = f"EXPLAIN (FORMAT TEXT) SELECT ctid FROM {table} WHERE {expiry.condition}"
        with stack.primary.connect(scratch) as connection:
            connection.execute("SET enable_seqscan = off")
            plan = "\n".join(row[0] for row in connection.execute(statement).fetchall())
        assert "Index" in plan, f"{table}: {plan}"
        assert "Seq Scan" not in plan, f"{table}: {plan}"


def test_the_outbox_is_read_by_index(app, sql, stack, scratch):
    with app.app_context(), unit_of_work(system=True) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, given in (
            (store._RELAY, {"most": 1, "again_s": 1}),
            (store._CLAIM_NEXT, {"jobs": ["x"], "claim_s": 1}),
        ):
            plan = "\n".join(session.scalars(text(f"EXPLAIN {statement.text}"), given))
            assert "Seq Scan on outbox" not in plan, plan
