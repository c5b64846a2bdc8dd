"""The types of job, in one process: their guarantees on failure and on takeover."""

import threading

import pytest
from sqlalchemy import select, text

from campshub.accounts.models import Organization
from campshub.app import create_app
from campshub.core.circuit_breaker import CircuitOpen
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import registry, runner
from campshub.core.jobs.registry import RetryLater, external_job, job, maintenance_job
from campshub.core.jobs.runner import Outcome
from campshub.core.jobs.store import enqueue
from campshub.core.security.permissions import Role
from campshub.students.models import Group
from tests.conftest import close, new_tenant, settings_of
from tests.core.jobs.conftest import DUE_NOW, GROUPS, a_group, in_steps


def test_the_effect_of_a_job_and_its_end_are_committed_together(add_job, run, sql):
    @job("tests.group")
    def make(session, run, *, size):
        a_group(session)
        assert (run.attempt, size) == (1, "x")

    message_id = add_job("tests.group", size="x")

    assert [run(message_id), run(message_id)] == [Outcome.DONE, Outcome.NOTHING]
    assert sql(GROUPS) == [(1,)]
    assert sql("SELECT count(*) FROM outbox WHERE finished_at IS NOT NULL") == [(1,)]


def test_a_failed_job_has_no_effect_and_is_retried(add_job, run, sql):
    fails = [ValueError()]

    @job("tests.group")
    def make(session, run):
        a_group(session)
        session.flush()
        if fails:
            raise fails.pop()

    message_id = add_job("tests.group")

    assert [run(message_id), run(message_id)] == [Outcome.FAILED, Outcome.NOTHING]  # not due again yet
    assert sql(GROUPS) == [(0,)]
    sql(DUE_NOW)
    assert run(message_id) == Outcome.DONE
    assert sql(GROUPS) == [(1,)]


def test_a_job_runs_in_its_organization_for_the_user_who_requested_it(add_job, run, tenant):
    seen = []

    @job("tests.look")
    def look(session, run):
        seen.append((session.unit.organization_id, session.unit.user_id, run.user_id, session.unit.caller_row.role))
        seen.append(session.scalars(select(Organization.id)).all())

    admin = tenant.the(Role.ADMIN).user_id

    assert run(add_job("tests.look", user_id=admin)) == Outcome.DONE
    assert seen == [(tenant.id, admin, admin, "admin"), [tenant.id]]  # row-level security restricts it


def test_a_worker_whose_claim_has_expired_writes_nothing(add_job, run, sql):
    @job("tests.group")
    def make(session, run):
        a_group(session)

    message_id = add_job("tests.group")
    original = runner._RUNNERS[registry.JobType.SINGLE]

    def late(kind, first):
        sql(DUE_NOW)
        assert run(message_id) == Outcome.DONE  # another worker, meanwhile
        return original(kind, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            runner._RUNNERS, registry.JobType.SINGLE, lambda kind, first: (patch.undo(), late(kind, first))[1]
        )
        assert run(message_id) == Outcome.LOST
    assert sql(GROUPS) == [(1,)]


def test_a_running_job_is_not_started_again_even_after_its_claim_has_expired(add_job, run, sql):
    begun, goes_on, outcomes = threading.Event(), threading.Event(), []

    @job("tests.slow")
    def slow(session, run):
        a_group(session)
        begun.set()
        goes_on.wait(30)

    message_id = add_job("tests.slow")
    thread = threading.Thread(target=lambda: outcomes.append(run(message_id)))
    thread.start()
    begun.wait(30)
    assert sql("SELECT count(*) FROM outbox WHERE available_at > now()") == [(1,)]
    second = run(message_id)
    goes_on.set()
    thread.join()

    assert (second, outcomes) == (Outcome.NOTHING, [Outcome.DONE])
    assert sql(GROUPS) == [(1,)]


def test_a_worker_does_not_wait_for_a_job_that_another_one_runs(stack, scratch, tenant):
    """The claim has expired, but the transaction still locks the row; a waiting worker could do nothing else."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", job_claim_s=1.0))
    services, begun, goes_on, outcomes = own.extensions["campshub"], threading.Event(), threading.Event(), []

    @job("tests.slow")
    def slow(session, run):
        begun.set()
        goes_on.wait(30)

    def run_first():
        with own.app_context():
            outcomes.append(runner.run_one(services, tenant.id, message_id))

    with own.app_context(), unit_of_work(organization_id=tenant.id) as session:
        message_id = enqueue(session, "tests.slow")
    thread = threading.Thread(target=run_first)
    thread.start()
    begun.wait(30)
    threading.Event().wait(1.2)
    with own.app_context():
        second = runner.run_one(services, tenant.id, message_id)
    was_running = thread.is_alive()
    goes_on.set()
    thread.join()
    close(own)

    assert (second, was_running, outcomes) == (Outcome.NOTHING, True, [Outcome.DONE])


def test_a_retry_later_does_not_count_as_an_attempt(add_job, run, sql):
    reasons = [RetryLater(10), CircuitOpen("mail", 10)] * 4

    @external_job("tests.away")
    def away(run):
        if reasons:
            raise reasons.pop()

    message_id = add_job("tests.away")
    outcomes = []
    for _ in range(9):
        outcomes.append(run(message_id))
        sql(DUE_NOW) if outcomes[-1] is Outcome.LATER else None

    assert outcomes == [Outcome.LATER] * 8 + [Outcome.DONE]


def test_jobs_of_a_suspended_organization_wait(add_job, run, sql, tenant):
    job("tests.group")(lambda session, run: a_group(session))
    message_id = add_job("tests.group")
    sql("UPDATE organizations SET status = 'suspended' WHERE id = %s RETURNING 1", tenant.id)
    assert run(message_id) == Outcome.NOTHING
    sql("UPDATE organizations SET status = 'active' WHERE id = %s RETURNING 1", tenant.id)

    assert run(message_id) == Outcome.DONE


def test_a_failed_job_can_be_replayed(app, add_job, run, sql):
    @job("tests.fails")
    def fails(session, run):
        raise ZeroDivisionError

    message_id = add_job("tests.fails")
    outcomes = []
    for _ in range(6):
        outcomes.append(run(message_id))
        sql(DUE_NOW)
    flask = app.test_cli_runner().invoke

    assert outcomes == [Outcome.FAILED] * 4 + [Outcome.DEAD, Outcome.NOTHING]
    assert f"{message_id}" in flask(args=["jobs", "dead"]).output
    assert "ZeroDivisionError" in flask(args=["jobs", "dead"]).output
    job("tests.fails")(lambda session, run: a_group(session))
    assert flask(args=["jobs", "replay", str(message_id)]).output == "Enqueued again: 1.\n"
    assert run(message_id) == Outcome.DONE
    assert flask(args=["jobs", "dead"]).output == "No job was given up.\n"
    assert flask(args=["jobs", "replay", str(message_id)]).exit_code == 1


def test_a_claim_is_extended_while_its_job_runs(stack, scratch, tenant):
    """The claim lasts a second, the job takes three."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", job_claim_s=1.0))
    seen = []

    @external_job("tests.long")
    def long(run):
        for _ in range(30):
            with own.app_context():
                seen.append(runner.run_one(own.extensions["campshub"], tenant.id, run.id))
            threading.Event().wait(0.1)

    with own.app_context():
        with unit_of_work(organization_id=tenant.id) as session:
            message_id = enqueue(session, "tests.long")
        outcome = runner.run_one(own.extensions["campshub"], tenant.id, message_id)
    close(own)

    assert outcome == Outcome.DONE
    assert set(seen) == {Outcome.NOTHING}


def test_a_maintenance_job_runs_once_at_a_time_outside_a_transaction(app, add_job, run, sql):
    outcomes = []

    @maintenance_job("tests.vacuum")
    def vacuum(connection, started):
        connection.execute(text("VACUUM groups"))
        if not outcomes:
            outcomes.append(run(add_job("tests.vacuum")))

    outcomes_of_first = run(add_job("tests.vacuum"))

    assert (outcomes_of_first, outcomes) == (Outcome.DONE, [Outcome.LATER])


def test_a_job_reads_on_a_replica_what_was_committed_before_it(add_job, run, stack, tenant):
    seen = []

    @job("tests.read")
    def read(session, run):
        with run.reading() as reading:
            seen.append((reading.unit.server, reading.scalars(select(Group.name)).all()))

    for number in range(3):
        tenant.the(Role.ADMIN).made("/api/groups/", {"code": f"{number}", "name": f"Group {number}"})
        assert run(add_job("tests.read")) == Outcome.DONE

    assert [sorted(names) for _, names in seen] == [[f"Group {n}" for n in range(k + 1)] for k in range(3)]
    assert {server for server, _ in seen} == {"replica"}


def test_jobs_are_invisible_to_other_organizations(add_job, app, tenant):
    other = new_tenant(app)
    in_steps(1)
    message_id = add_job("tests.steps", user_id=tenant.the(Role.ADMIN).user_id)

    assert other.the(Role.ADMIN).get(f"/api/jobs/{message_id}/").status == 404
    assert other.the(Role.SUPERADMIN).get("/api/jobs/").json["items"] == []
