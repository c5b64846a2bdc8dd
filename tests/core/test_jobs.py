"""The kinds of job, in one process: what each promises when it fails, is cancelled, or is taken over."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from campshub.accounts.models import Organization
from campshub.app import create_app
from campshub.core.breaker import Away
from campshub.core.db import owed
from campshub.core.db.base import PLATFORM_ID, new_id
from campshub.core.db.work import unit_of_work
from campshub.core.jobs import kinds, running, schedule, worker
from campshub.core.jobs.kinds import Later, Step, job, maintenance_job, outward_job, stepped_job
from campshub.core.jobs.models import Job, OutboxMessage
from campshub.core.jobs.outbox import enqueue
from campshub.core.jobs.running import Outcome
from campshub.core.jobs.schedule import Daily, Every, Weekly
from campshub.core.security.permissions import Role
from campshub.students.models import Group
from tests.conftest import close, new_place, settings_of


@pytest.fixture
def app(stack, scratch):
    app = create_app(settings_of(stack, scratch, log_level="ERROR"))
    yield app
    close(app)


@pytest.fixture(autouse=True)
def own_jobs(app, monkeypatch):
    monkeypatch.setattr(kinds, "_kinds", dict(kinds._kinds))
    monkeypatch.setattr(schedule, "_entries", {})


@pytest.fixture
def place(app):
    return new_place(app)


@pytest.fixture
def owe(app, place):
    def owing(name, *, user_id=None, **arguments):
        with app.app_context(), unit_of_work(organization_id=place.id, user_id=user_id) as session:
            return enqueue(session, name, **arguments)

    return owing


@pytest.fixture
def run(app, place):
    def running_one(message_id):
        with app.app_context():
            return running.run_one(app.extensions["campshub"], place.id, message_id)

    return running_one


@pytest.fixture
def rows(stack, scratch):
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        yield lambda statement, *given: connection.execute(statement, given).fetchall()


GROUPS = "SELECT count(*) FROM groups"
DUE_NOW = "UPDATE outbox SET available_at = now(), resend_at = now() WHERE finished_at IS NULL RETURNING 1"


def a_group(session):
    session.add(Group(code=new_id().hex, name="Early birds", kind="class"))


# One unit of work ----------------------------------------------------------------------------------------------------


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
        seen.append((session.unit.organization_id, session.unit.user_id, run.user_id, session.unit.entered.role))
        seen.append(session.scalars(select(Organization.id)).all())

    admin = place.the(Role.ADMIN).user_id

    assert run(owe("tests.look", user_id=admin)) == Outcome.DONE
    assert seen == [(place.id, admin, admin, "admin"), [place.id]]  # row-level security binds it


def test_whoever_stood_still_until_the_claim_was_over_writes_nothing(owe, run, rows):
    @job("tests.group")
    def make(session, run):
        a_group(session)

    message_id = owe("tests.group")
    original = running._SHAPES[kinds.Shape.ONE]

    def late(kind, first):
        rows(DUE_NOW)
        assert run(message_id) == Outcome.DONE  # somebody else, meanwhile
        return original(kind, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(running._SHAPES, kinds.Shape.ONE, lambda kind, first: (patch.undo(), late(kind, first))[1])
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
    platform, begun, goes_on, outcomes = own.extensions["campshub"], threading.Event(), threading.Event(), []

    @job("tests.slow")
    def slow(session, run):
        begun.set()
        goes_on.wait(30)

    def at_work():
        with own.app_context():
            outcomes.append(running.run_one(platform, place.id, message_id))

    with own.app_context(), unit_of_work(organization_id=place.id) as session:
        message_id = enqueue(session, "tests.slow")
    thread = threading.Thread(target=at_work)
    thread.start()
    begun.wait(30)
    threading.Event().wait(1.2)
    with own.app_context():
        second = running.run_one(platform, place.id, message_id)
    was_at_work = thread.is_alive()
    goes_on.set()
    thread.join()
    close(own)

    assert (second, was_at_work, outcomes) == (Outcome.NOTHING, True, [Outcome.DONE])


def test_what_is_refused_for_now_does_not_count_as_an_attempt(owe, run, rows):
    reasons = [Later(10), Away("mail", 10)] * 4

    @outward_job("tests.away")
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


# Many steps ----------------------------------------------------------------------------------------------------------


def in_steps(number, *, then=lambda step: None):
    """Register a job of some steps, each of which makes a group."""

    @stepped_job("tests.steps")
    def steps(session, run, position):
        step = (position or {"step": 0})["step"]
        a_group(session)
        then(step)
        if step + 1 == number:
            return Step(finished=True, done=number, total=number, result={"made": number})
        return Step({"step": step + 1}, done=step + 1, total=number)


def test_steps_are_saved_one_by_one_and_told(owe, run, rows, place):
    admin = place.the(Role.ADMIN)
    told = []
    in_steps(4, then=lambda _: told.append(admin.get(f"/api/jobs/{message_id}/").json))
    message_id = owe("tests.steps", user_id=admin.user_id)
    queued = admin.get(f"/api/jobs/{message_id}/").json

    assert (queued["state"], queued["total"]) == ("queued", None)
    assert run(message_id) == Outcome.DONE
    assert [(one["state"], one["done"]) for one in told] == [("running", number) for number in range(4)]
    ended = admin.get(f"/api/jobs/{message_id}/").json
    assert (ended["state"], ended["done"], ended["total"], ended["result"]) == ("succeeded", 4, 4, {"made": 4})
    assert rows(GROUPS) == [(4,)]


def test_a_job_that_was_broken_off_goes_on_with_the_step_it_was_at(owe, run, rows):
    fails = [KeyboardInterrupt()]  # it comes like a kill, after the effect and before the commit

    def then(step):
        if step == 2 and fails:
            raise fails.pop()

    in_steps(5, then=then)
    message_id = owe("tests.steps")
    with pytest.raises(KeyboardInterrupt):
        run(message_id)
    assert rows(GROUPS) == [(2,)]
    rows(DUE_NOW)

    assert run(message_id) == Outcome.DONE
    assert rows(GROUPS) == [(5,)]


def test_a_step_of_a_claim_that_was_lost_is_not_saved(owe, run, rows):
    taken = []

    def then(step):
        if step == 1 and not taken:
            taken.append(True)
            rows(DUE_NOW)
            taken.append(run(message_id))  # somebody else takes it over, and ends it

    in_steps(3, then=then)
    message_id = owe("tests.steps")

    assert run(message_id) in {Outcome.LOST, Outcome.DONE}
    assert taken == [True, Outcome.DONE]
    assert rows(GROUPS) == [(3,)]


def test_a_step_is_not_saved_beside_that_of_whoever_has_taken_over(owe, run, rows):
    """Whoever took over is not finished, either: nothing but the number of the claim tells the two apart."""
    others = []

    def then(step):
        if step == 1 and not others:
            others.append(None)
            rows(DUE_NOW)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(running, "SLICE_S", 0.0)
                others.append(run(message_id))  # does this step, and lets others have their turn

    in_steps(3, then=then)
    message_id = owe("tests.steps")

    assert (run(message_id), others) == (Outcome.LOST, [None, Outcome.MORE])
    assert rows(GROUPS) == [(2,)]


def test_a_long_job_lets_others_have_their_turn(owe, run, rows, monkeypatch):
    monkeypatch.setattr(running, "SLICE_S", 0.0)
    in_steps(3)
    message_id = owe("tests.steps")

    assert [run(message_id) for _ in range(4)] == [Outcome.MORE, Outcome.MORE, Outcome.DONE, Outcome.NOTHING]
    assert rows("SELECT attempts, claims FROM outbox") == [(1, 3)]  # only the last one has ended without another step


def test_progress_forgives_earlier_failures(owe, run, rows, monkeypatch):
    fails = dict.fromkeys(range(3), 4)

    def then(step):
        if fails[step]:
            fails[step] -= 1
            raise OSError

    in_steps(3, then=then)
    message_id = owe("tests.steps")
    outcomes = []
    while Outcome.DONE not in outcomes:
        outcomes.append(run(message_id))
        rows(DUE_NOW)
        assert Outcome.DEAD not in outcomes

    assert outcomes.count(Outcome.FAILED) == 12
    assert rows(GROUPS) == [(3,)]


def test_one_may_cancel_ones_own_job_before_and_while_it_runs(owe, run, rows, place):
    admin, trainer = place.the(Role.ADMIN), place.the(Role.TRAINER)
    in_steps(4, then=lambda step: step == 1 and trainer.delete(f"/api/jobs/{message_id}/"))
    message_id = owe("tests.steps", user_id=trainer.user_id)
    of_another = owe("tests.steps", user_id=admin.user_id)

    assert trainer.delete(f"/api/jobs/{of_another}/").status == 404
    assert admin.delete(f"/api/jobs/{of_another}/").status == 204
    assert run(of_another) == Outcome.NOTHING
    assert run(message_id) == Outcome.DONE
    assert [job["state"] for job in admin.get("/api/jobs/").json["items"]] == ["cancelled", "cancelled"]
    assert [job["id"] for job in trainer.get("/api/jobs/").json["items"]] == [str(message_id)]
    assert rows(GROUPS) == [(1,)]  # the step at which it was cancelled is not saved
    assert trainer.delete(f"/api/jobs/{message_id}/").status == 204


def test_a_job_that_has_ended_cannot_be_cancelled(owe, run, place):
    admin = place.the(Role.ADMIN)
    in_steps(1)
    message_id = owe("tests.steps", user_id=admin.user_id)
    run(message_id)

    assert admin.delete(f"/api/jobs/{message_id}/").problem["code"] == "job_ended"


def test_a_job_that_is_given_up_says_so(owe, run, rows, place):
    admin = place.the(Role.ADMIN)

    @stepped_job("tests.steps")
    def steps(session, run, position):
        raise ValueError("what it says is not kept")

    message_id = owe("tests.steps", user_id=admin.user_id)
    for _ in range(5):
        run(message_id)
        rows(DUE_NOW)

    told = admin.get(f"/api/jobs/{message_id}/").json
    assert (told["state"], told["problem"]) == ("failed", "ValueError")


# Outside the database, and maintenance -------------------------------------------------------------------------------


def test_a_claim_is_kept_for_as_long_as_its_job_works(stack, scratch, place):
    """The claim holds for a second, the job works for three."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", job_claim_s=1.0))
    seen = []

    @outward_job("tests.long")
    def long(run):
        for _ in range(30):
            with own.app_context():
                seen.append(running.run_one(own.extensions["campshub"], place.id, run.id))
            threading.Event().wait(0.1)

    with own.app_context():
        with unit_of_work(organization_id=place.id) as session:
            message_id = enqueue(session, "tests.long")
        outcome = running.run_one(own.extensions["campshub"], place.id, message_id)
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


# The schedule --------------------------------------------------------------------------------------------------------


AT = datetime(2026, 11, 21, 14, 37, 12, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("when", "slot"),
    [
        (Every(minutes=5), datetime(2026, 11, 21, 14, 35, tzinfo=UTC)),
        (Every(minutes=60), datetime(2026, 11, 21, 14, tzinfo=UTC)),
        (Daily(hour=14, minute=37), datetime(2026, 11, 21, 14, 37, tzinfo=UTC)),
        (Daily(hour=14, minute=38), datetime(2026, 11, 20, 14, 38, tzinfo=UTC)),
        (Weekly(day=5, hour=3), datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (Weekly(day=5, hour=15), datetime(2026, 11, 14, 15, tzinfo=UTC)),
        (Weekly(day=6, hour=3), datetime(2026, 11, 15, 3, tzinfo=UTC)),
    ],
)
def test_the_slot_that_has_begun_last(when, slot):
    assert when.slot(AT) == slot
    assert when.slot(slot) == slot
    assert when.slot(slot + when.period) == slot + when.period
    assert when.slot(slot - timedelta(microseconds=1)) == slot - when.period


def test_two_beats_owe_a_slot_once(app, rows):
    in_steps(1)
    job("tests.group", system=True)(lambda session, run, *, number: a_group(session))
    schedule.scheduled("tests.group", Every(minutes=1), number=1)
    schedule.scheduled("tests.steps", Every(minutes=1))
    made = []

    def tick():
        with app.app_context(), unit_of_work(system=True) as session:
            made.append(len(schedule.owe_due(session, AT)))

    threads = [threading.Thread(target=tick) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert sorted(made) == [0] * 7 + [2]
    assert rows("SELECT job, arguments, slot FROM outbox ORDER BY job") == [
        ("tests.group", {"number": 1}, AT.replace(second=0)),
        ("tests.steps", {}, AT.replace(second=0)),
    ]
    assert rows("SELECT job, state FROM jobs") == [("tests.steps", "queued")]


def test_a_slot_that_nothing_ran_in_is_made_up_for_while_half_of_its_period_is_left(app, rows):
    job("tests.group", system=True)(lambda session, run: a_group(session))
    schedule.scheduled("tests.group", Daily(hour=3))
    with app.app_context(), unit_of_work(system=True) as session:
        late = schedule.owe_due(session, datetime(2026, 11, 21, 15, 1, tzinfo=UTC))
        in_time = schedule.owe_due(session, datetime(2026, 11, 21, 14, 59, tzinfo=UTC))

    assert (len(late), len(in_time)) == (0, 1)


def test_the_commands_of_the_schedule(app, rows):
    flask = app.test_cli_runner().invoke
    job("tests.group", system=True)(lambda session, run: None)
    schedule.scheduled("tests.group", Every(minutes=5))

    assert "every 5 minutes" in flask(args=["schedule", "list"]).output
    assert ": done (" in flask(args=["schedule", "run", "tests.group", "--here"]).output
    refused = flask(args=["schedule", "run", "tests.unknown"])
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "tests.group" in refused.output


# The relay -----------------------------------------------------------------------------------------------------------


def test_the_relay_calls_for_what_is_due_and_was_not_taken_and_not_at_once_again(app, owe, rows, monkeypatch):
    calls = []
    monkeypatch.setattr(app.extensions["campshub"].sender, "send", lambda sent: calls.extend(sent) or len(calls))
    job("tests.group")(lambda session, run: a_group(session))
    message_id = owe("tests.group")
    assert [id_ for _, id_, _ in calls] == [message_id]  # at once, after the commit

    def tick():
        calls.clear()
        with app.app_context():
            worker.tick(app.extensions["campshub"])
        return [id_ for _, id_, _ in calls]

    assert tick() == []
    rows(DUE_NOW)
    assert tick() == [message_id]
    assert tick() == []


def test_a_broker_that_is_away_does_not_stop_the_write(stack, scratch, place):
    """Nothing listens on the port."""
    own = create_app(settings_of(stack, scratch, log_level="ERROR", celery_broker_url="redis://127.0.0.1:1/0"))
    job("tests.group")(lambda session, run: a_group(session))
    with own.app_context():
        for _ in range(3):
            with unit_of_work(organization_id=place.id) as session:
                message_id = enqueue(session, "tests.group")
        outcome = running.run_one(own.extensions["campshub"], place.id, message_id)
    close(own)

    assert outcome == Outcome.DONE


def test_what_has_had_its_time_is_deleted_and_nothing_else(app, rows, place, run, owe):
    job("tests.group")(lambda session, run: None)
    old, new, dead = (owe("tests.group") for _ in range(3))
    assert [run(old), run(new)] == [Outcome.DONE, Outcome.DONE]
    long_ago = "now() - INTERVAL '15 days'"
    rows(f"UPDATE outbox SET finished_at = {long_ago} WHERE id = %s RETURNING 1", old)
    rows(f"UPDATE outbox SET died_at = {long_ago} WHERE id = %s RETURNING 1", dead)
    with app.app_context(), unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
        message_id = enqueue(session, "cleanup.expired")
    with app.app_context():
        outcome = running.run_one(app.extensions["campshub"], PLATFORM_ID, message_id)

    assert outcome == Outcome.DONE
    assert rows("SELECT id FROM outbox WHERE job = 'tests.group' ORDER BY id") == [(new,), (dead,)]
    assert rows("SELECT result FROM jobs") == [({"deleted": 1},)]


def test_every_condition_of_expiry_is_served_by_an_index(app, rows, stack, scratch):
    from campshub.core.db.expiry import expiries  # noqa: PLC0415

    for expiry in expiries():
        table = expiry.model.__tablename__
        statement = f"EXPLAIN (FORMAT TEXT) SELECT ctid FROM {table} WHERE {expiry.condition}"
        with stack.primary.connect(scratch) as connection:
            connection.execute("SET enable_seqscan = off")
            plan = "\n".join(row[0] for row in connection.execute(statement).fetchall())
        assert "Index" in plan, f"{table}: {plan}"
        assert "Seq Scan" not in plan, f"{table}: {plan}"


def test_the_outbox_is_read_by_index(app, rows, stack, scratch):
    with app.app_context(), unit_of_work(system=True) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, given in (
            (owed._RELAY, {"most": 1, "again_s": 1}),
            (owed._CLAIM_NEXT, {"jobs": ["x"], "claim_s": 1}),
        ):
            plan = "\n".join(session.scalars(text(f"EXPLAIN {statement.text}"), given))
            assert "Seq Scan on outbox" not in plan, plan
    assert OutboxMessage.__table__.indexes


def test_jobs_are_told_to_nobody_of_another_organization(owe, app, place):
    other = new_place(app)
    in_steps(1)
    message_id = owe("tests.steps", user_id=place.the(Role.ADMIN).user_id)

    assert other.the(Role.ADMIN).get(f"/api/jobs/{message_id}/").status == 404
    assert other.the(Role.SUPERADMIN).get("/api/jobs/").json["items"] == []
    assert Job.__tablename__ == "jobs"
