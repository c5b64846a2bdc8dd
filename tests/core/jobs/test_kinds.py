"""The kinds of job, in one process: what each promises when it fails, or is taken over."""

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
from tests.conftest import close, new_place, settings_of
from tests.core.jobs.conftest import DUE_NOW, GROUPS, a_group, in_steps


def test_a_job_has_its_effect_and_its_end_together(owe, run, rows):
    @job("tests.group")
    def make(session, run, *, size):
        a_group(session)
        assert (run.attempt, size) == (1, "x")

    message_id = owe("tests.group", size="x")

    assert [run(message_id), run(message_id)] == [Outcome.DONE, Outcome.NOTHING]
    assert rows(GROUPS) == [(1,)]
    assert rows("SELECT count(*) FROM outbox WHERE finished_at IS NOT NULL") == [(1,)]


def test_a_job_that_fails_has_no_effect_and_comes_again(owe, run, rows):
    fails = [ValueError()]

    @job("tests.group")
    def make(session, run):
        a_group(session)
        session.flush()
        if fails:
            raise fails.pop()

    message_id = owe("tests.group")

    assert [run(message_id), run(message_id)] == [Outcome.FAILED, Outcome.NOTHING]  # not due again yet
    assert rows(GROUPS) == [(0,)]
    rows(DUE_NOW)
    assert run(message_id) == Outcome.DONE
    assert rows(GROUPS) == [(1,)]


def test_a_job_runs_in_its_organization_for_who_asked(owe, run, place):
    seen = []

    @job("tests.look")
    def look(session, run):
        seen.append((session.unit.organization_id, session.unit.user_id, run.user_id, session.unit.caller_row.role))
        seen.append(session.scalars(select(Organization.id)).all())

    admin = place.the(Role.ADMIN).user_id

    assert run(owe("tests.look", user_id=admin)) == Outcome.DONE
    assert seen == [(place.id, admin, admin, "admin"), [place.id]]  # row-level security binds it


def test_whoever_stood_still_until_the_claim_was_over_writes_nothing(owe, run, rows):
    @job("tests.group")
    def make(session, run):
        a_group(session)

    message_id = owe("tests.group")
    original = runner._SHAPES[registry.JobType.ONE]

    def late(kind, first):
        rows(DUE_NOW)
        assert run(message_id) == Outcome.DONE  # somebody else, meanwhile
        return original(kind, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner._SHAPES, registry.JobType.ONE, lambda kind, first: (patch.undo(), late(kind, first))[1])
        assert run(message_id) == Outcome.LOST
    assert rows(GROUPS) == [(1,)]


def test_a_message_at_work_is_not_begun_again_even_when_its_claim_is_over(owe, run, rows):
    begun, goes_on, outcomes = threading.Event(), threading.Event(), []

    @job("tests.slow")
    def slow(session, run):
        a_group(session)
        begun.set()
        goes_on.wait(30)

    message_id = owe("tests.slow")
    thread = threading.Thread(target=lambda: outcomes.append(run(message_id)))
    thread.start()
    begun.wait(30)
    assert rows("SELECT count(*) FROM outbox WHERE available_at > now()") == [(1,)]
    second = run(message_id)
    goes_on.set()
    thread.join()

    assert (second, outcomes) == (Outcome.NOTHING, [Outcome.DONE])
    assert rows(GROUPS) == [(1,)]


def test_whoever_is_called_while_a_message_is_at_work_does_not_wait_for_it(stack, scratch, place):
    """Its claim is over, but its transaction holds the row; whoever waited for that would do nothing else."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", job_claim_s=1.0))
    services, begun, goes_on, outcomes = own.extensions["campshub"], threading.Event(), threading.Event(), []

    @job("tests.slow")
    def slow(session, run):
        begun.set()
        goes_on.wait(30)

    def at_work():
        with own.app_context():
            outcomes.append(runner.run_one(services, place.id, message_id))

    with own.app_context(), unit_of_work(organization_id=place.id) as session:
        message_id = enqueue(session, "tests.slow")
    thread = threading.Thread(target=at_work)
    thread.start()
    begun.wait(30)
    threading.Event().wait(1.2)
    with own.app_context():
        second = runner.run_one(services, place.id, message_id)
    was_at_work = thread.is_alive()
    goes_on.set()
    thread.join()
    close(own)

    assert (second, was_at_work, outcomes) == (Outcome.NOTHING, True, [Outcome.DONE])


def test_what_is_refused_for_now_does_not_count_as_an_attempt(owe, run, rows):
    reasons = [RetryLater(10), CircuitOpen("mail", 10)] * 4

    @external_job("tests.away")
    def away(run):
        if reasons:
            raise reasons.pop()

    message_id = owe("tests.away")
    outcomes = []
    for _ in range(9):
        outcomes.append(run(message_id))
        rows(DUE_NOW) if outcomes[-1] is Outcome.LATER else None

    assert outcomes == [Outcome.LATER] * 8 + [Outcome.DONE]


def test_those_of_a_resting_organization_wait(owe, run, rows, place):
    job("tests.group")(lambda session, run: a_group(session))
    message_id = owe("tests.group")
    rows("UPDATE organizations SET status = 'suspended' WHERE id = %s RETURNING 1", place.id)
    assert run(message_id) == Outcome.NOTHING
    rows("UPDATE organizations SET status = 'active' WHERE id = %s RETURNING 1", place.id)

    assert run(message_id) == Outcome.DONE


def test_what_was_given_up_can_be_replayed(app, owe, run, rows):
    @job("tests.fails")
    def fails(session, run):
        raise ZeroDivisionError

    message_id = owe("tests.fails")
    outcomes = []
    for _ in range(6):
        outcomes.append(run(message_id))
        rows(DUE_NOW)
    flask = app.test_cli_runner().invoke

    assert outcomes == [Outcome.FAILED] * 4 + [Outcome.DEAD, Outcome.NOTHING]
    assert f"{message_id}" in flask(args=["jobs", "dead"]).output
    assert "ZeroDivisionError" in flask(args=["jobs", "dead"]).output
    job("tests.fails")(lambda session, run: a_group(session))
    assert flask(args=["jobs", "replay", str(message_id)]).output == "1 begin anew.\n"
    assert run(message_id) == Outcome.DONE
    assert flask(args=["jobs", "dead"]).output == "Nothing was given up.\n"
    assert flask(args=["jobs", "replay", str(message_id)]).exit_code == 1


def test_a_claim_is_kept_for_as_long_as_its_job_works(stack, scratch, place):
    """The claim holds for a second, the job works for three."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", job_claim_s=1.0))
    seen = []

    @external_job("tests.long")
    def long(run):
        for _ in range(30):
            with own.app_context():
                seen.append(runner.run_one(own.extensions["campshub"], place.id, run.id))
            threading.Event().wait(0.1)

    with own.app_context():
        with unit_of_work(organization_id=place.id) as session:
            message_id = enqueue(session, "tests.long")
        outcome = runner.run_one(own.extensions["campshub"], place.id, message_id)
    close(own)

    assert outcome == Outcome.DONE
    assert set(seen) == {Outcome.NOTHING}


def test_maintenance_runs_once_at_a_time_outside_a_transaction(app, owe, run, rows):
    outcomes = []

    @maintenance_job("tests.vacuum")
    def vacuum(connection, started):
        connection.execute(text("VACUUM groups"))
        if not outcomes:
            outcomes.append(run(owe("tests.vacuum")))

    outcomes_of_first = run(owe("tests.vacuum"))

    assert (outcomes_of_first, outcomes) == (Outcome.DONE, [Outcome.LATER])


def test_a_run_reads_on_a_replica_what_was_committed_before_it(owe, run, stack, place):
    seen = []

    @job("tests.read")
    def read(session, run):
        with run.reading() as reading:
            seen.append((reading.unit.server, reading.scalars(select(Group.name)).all()))

    for number in range(3):
        place.the(Role.ADMIN).made("/api/groups/", {"code": f"{number}", "name": f"Group {number}"})
        assert run(owe("tests.read")) == Outcome.DONE

    assert [sorted(names) for _, names in seen] == [[f"Group {n}" for n in range(k + 1)] for k in range(3)]
    assert {server for server, _ in seen} == {"replica"}


def test_jobs_are_told_to_nobody_of_another_organization(owe, app, place):
    other = new_place(app)
    in_steps(1)
    message_id = owe("tests.steps", user_id=place.the(Role.ADMIN).user_id)

    assert other.the(Role.ADMIN).get(f"/api/jobs/{message_id}/").status == 404
    assert other.the(Role.SUPERADMIN).get("/api/jobs/").json["items"] == []
