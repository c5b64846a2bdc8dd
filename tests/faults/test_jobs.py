"""Workers, broker and beat are killed at work: every event has its effect once, and none is lost."""

import base64
import json
import random
import time
from collections import Counter
from contextlib import closing

import pytest
import redis

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.celery_app import DELIVER
from campshub.core.jobs.registry import Queue
from campshub.core.jobs.store import enqueue
from campshub.core.security.permissions import Role
from devstack.stack import Stack
from tests.conftest import close, migrate, new_tenant, settings_of
from tests.faults.job_worker import RESTORE_LOCK_S, STEPS, VISIBLE_AFTER_S
from tests.waiting import until

CLAIM_S = 2
FAST = {"job_claim_s": CLAIM_S, "job_retry_s": 0.1, "log_level": "ERROR"}
PATIENCE_S = 180
EFFECTS = """
CREATE TABLE effects (job text NOT NULL, event uuid NOT NULL, step int NOT NULL);
GRANT SELECT, INSERT ON effects TO campshub_app, campshub_system, campshub_owner;
"""


class Background(Stack):
    """A stack whose worker and beat run test jobs, with short claims."""

    def environment(self, database=None):
        fast = {name.upper(): str(value) for name, value in FAST.items()}
        return {**super().environment(database), **fast}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Background(tmp_path_factory.mktemp("jobs"), durable=False, background="tests.faults.job_worker")
    stack.start_data()
    migrate(settings_of(stack, stack.database))
    with stack.primary.connect(stack.database) as connection:
        connection.execute(EFFECTS)
    stack.start_background()
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def app(stack):
    app = create_app(settings_of(stack, stack.database, **FAST))
    yield app
    close(app)


@pytest.fixture
def tenant(app):
    return new_tenant(app)


@pytest.fixture
def sql(stack):
    with stack.primary.connect(stack.database) as connection:
        connection.autocommit = True
        yield lambda statement, *given: connection.execute(statement, given).fetchall()


@pytest.fixture
def add_job(app, tenant):
    def add(name, times=1, **arguments):
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            return [enqueue(session, name, **arguments) for _ in range(times)]

    return add


@pytest.fixture
def ended(sql, tenant):
    """Wait until no job is pending; return how often each event had its effect."""

    def waiting():
        deadline = time.monotonic() + PATIENCE_S
        open_ = "SELECT count(*) FROM outbox WHERE organization_id = %s AND finished_at IS NULL AND died_at IS NULL"
        while (left := sql(open_, tenant.id)[0][0]) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == 0, sql("SELECT job, attempts, claims, problem FROM outbox WHERE finished_at IS NULL LIMIT 5")
        return Counter(event for (event,) in sql("SELECT event FROM effects"))

    return waiting


def children(part):
    return part.process().children() if part.process() else []


def kill_child(stack):
    found = children(stack.part("worker"))
    if found:
        random.choice(found).kill()


def kill_worker(stack):
    stack.kill("worker")
    stack.part("worker").begin()


def kill_broker(stack):
    stack.kill("redis-broker")
    stack.broker.start()


def kill_beat(stack):
    stack.kill("beat")
    stack.part("beat").begin()


KILLS = (kill_child, kill_worker, kill_broker, kill_beat)


def under_kills(stack, add_job, *, events, kills):
    """Enqueue events in bursts while parts are killed one after the other; return the events."""
    sent = []
    for number in range(kills):
        sent += add_job("tests.count", events // kills)
        time.sleep(random.uniform(0.0, 0.5))
        KILLS[number % len(KILLS)](stack)
    return sent


def test_every_event_has_its_effect_once_whatever_is_killed(stack, add_job, ended, record_property):
    sent = under_kills(stack, add_job, events=600, kills=8)

    effects = ended()
    assert {event: effects[event] for event in sent if effects[event] != 1} == {}
    record_property("figure", f"jobs: {len(sent)} events, 8 kills, each had its effect once")


@pytest.mark.large
def test_ten_thousand_events_and_twenty_kills(stack, add_job, ended, monkeypatch, record_property):
    monkeypatch.setattr("tests.faults.test_jobs.PATIENCE_S", 1_800)
    sent = under_kills(stack, add_job, events=10_000, kills=20)
    effects = ended()

    assert len(sent) == 10_000
    assert {event: effects[event] for event in sent if effects[event] != 1} == {}
    record_property("figure", f"jobs: {len(sent)} events, 20 kills, {sum(effects[event] for event in sent)} effects")


def test_workers_and_beat_do_nothing_that_their_user_may_not(stack, add_job, ended):
    with closing(redis.Redis.from_url(stack.broker.url)) as broker:
        broker.acl_log_reset()
        kill_worker(stack)
        sent = add_job("tests.count", 5)
        effects = ended()
        time.sleep(2 * VISIBLE_AFTER_S)  # the worker looks for unacknowledged messages meanwhile
        assert [effects[event] for event in sent] == [1] * 5
        # redis-py gives its name and version, if it may: Redis 6.2 can allow all of CLIENT only.
        assert [one["object"] for one in broker.acl_log() if one["object"] != "client"] == []
        assert {one["user"] for one in broker.client_list()} == {"campshub", "default"}


def test_a_job_longer_than_the_brokers_visibility_timeout_runs_once(stack, add_job, ended, sql):
    (event,) = add_job("tests.slow", seconds=3 * VISIBLE_AFTER_S)

    assert ended()[event] == 1
    assert sql("SELECT attempts FROM outbox WHERE id = %s", event) == [(1,)]


def test_a_job_that_kills_its_workers_is_given_up_and_others_continue(stack, add_job, ended, sql):
    (poison,) = add_job("tests.poison")
    others = add_job("tests.count", 20)

    effects = ended()
    assert [effects[event] for event in others] == [1] * 20
    assert effects[poison] == 0
    assert sql("SELECT died_at IS NOT NULL, problem FROM outbox WHERE id = %s", poison) == [(True, "TimeoutError")]


def test_a_killed_job_of_many_steps_resumes_at_its_step(stack, add_job, ended, sql):
    (event,) = add_job("tests.steps", seconds=0.1)
    steps = "SELECT step FROM effects WHERE event = %s ORDER BY step"
    for least in (5, 15):
        until(lambda least=least: len(sql(steps, event)) >= least)
        (kill_worker if least == 5 else kill_child)(stack)
        kill_child(stack)

    ended()
    assert sql(steps, event) == [(number,) for number in range(STEPS)]
    assert sql("SELECT state, done, total FROM jobs WHERE id = %s", event) == [("succeeded", STEPS, STEPS)]
    assert sql("SELECT claims > 1 FROM outbox WHERE id = %s", event) == [(True,)]


def test_two_beats_enqueue_nothing_twice(stack, sql):
    from devstack.background import Beat  # noqa: PLC0415

    second = Beat(stack.workspace, "beat-2", settings=stack.environment, application="tests.faults.job_worker")
    second.begin()
    try:
        count = "SELECT count(*) FROM outbox WHERE job = 'tests.scheduled'"
        before = sql(count)[0][0]
        until(lambda: sql(count)[0][0] > before, 90)
        time.sleep(8)  # both have ticked in this time
    finally:
        second.stop()

    assert sql("SELECT slot, count(*) FROM outbox WHERE job = 'tests.scheduled' GROUP BY 1 HAVING count(*) > 1") == []
    done = "SELECT count(*) FROM effects WHERE job = 'tests.scheduled' GROUP BY event HAVING count(*) > 1"
    assert sql(done) == []


def test_workers_report_a_heartbeat(stack, app, tenant):
    health = until(lambda: (h := tenant.the(Role.ADMIN).get("/health/").json)["services"]["worker"]["healthy"] and h)

    assert health["services"]["worker"]["last_heartbeat_s"] < 60


def message_of(*, body=None, properties=(), **headers):
    """Return a message like Celery's, with the changes in the arguments."""
    given = json.dumps([[str(new_id()), str(new_id())], {}, {}]) if body is None else body
    message = {
        "body": base64.b64encode(given.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": DELIVER, "id": str(new_id()), "lang": "py", **headers},
        "properties": {
            "delivery_tag": str(new_id()),
            "delivery_info": {"exchange": "", "routing_key": "default"},
            "body_encoding": "base64",
            **dict(properties),
        },
    }
    return json.dumps(message)


@pytest.mark.parametrize(
    "message",
    [
        message_of(body="5"),
        message_of(timelimit="zz"),
        message_of(properties={"body_encoding": "rot13"}),
        message_of(id=["x"]),
        "{{{not json",
        "[1,2]",
        "[" * 100_000,
        b"\xff\xfe",
    ],
    ids=["body", "limit", "encoding", "id", "no json", "a list", "deep", "bytes"],
)
def test_an_invalid_message_does_not_end_a_worker(stack, add_job, ended, message):
    add_job("tests.count")
    ended()  # the worker has started, and has taken its first message
    worker, before = stack.part("worker").process(), len(stack.part("worker").log.read_text())

    with closing(redis.Redis.from_url(stack.broker.url)) as broker:
        for queue in Queue:
            broker.lpush(queue.value, message)
        until(lambda: not any(map(broker.llen, Queue)))
        sent = add_job("tests.count", 5)
        effects = ended()
        assert [effects[event] for event in sent] == [1] * 5
        until(lambda: not broker.hlen("unacked"))

    assert stack.part("worker").process().pid == worker.pid
    assert worker.is_running()
    log = stack.part("worker").log.read_text()[before:]
    size = len(message.encode() if isinstance(message, str) else message)
    assert log.count(f"a message of {size} bytes in the broker is not a valid call; it is dropped") == len(Queue)
    assert "CRITICAL" not in log


def test_invalid_unacknowledged_messages_do_not_end_a_worker(stack, add_job, ended):
    with closing(redis.Redis.from_url(stack.broker.url)) as broker:
        for number, stored in enumerate(
            (
                *("{{{", "5", "[1]", "[1, 2, 3]", json.dumps(["x", "", "default"])),
                json.dumps([json.loads(message_of()), "", "elsewhere"]),  # a key that the worker may not write
                json.dumps([json.loads(message_of()), "", []]),  # no key
            )
        ):
            broker.hset("unacked", f"forged-{number}", stored)
            broker.zadd("unacked_index", {f"forged-{number}": 1})
        # A worker that was killed while it restored messages has left its lock behind.
        broker.set("unacked_mutex", "killed", ex=RESTORE_LOCK_S)
        kill_worker(stack)  # a worker restores unacknowledged messages when it starts
        sent = add_job("tests.count", 5)

        effects = ended()
        assert [effects[event] for event in sent] == [1] * 5
        until(lambda: not [tag for tag in broker.hkeys("unacked") if tag.startswith(b"forged")])


@pytest.mark.parametrize("key", ["critical", "unacked", "_kombu.binding.default"])
def test_a_key_of_another_type_does_not_end_a_worker(stack, add_job, ended, key):
    add_job("tests.count")
    ended()  # the worker has started
    worker = stack.part("worker").process()

    with closing(redis.Redis.from_url(stack.broker.url)) as broker:
        broker.set(key, "foreign")
        if key.startswith("_kombu"):  # it is read when a worker starts
            kill_worker(stack)
            worker = stack.part("worker").process()
        sent = add_job("tests.count", 5)
        effects = ended()

        assert [effects[event] for event in sent] == [1] * 5
        until(lambda: broker.type(key) != b"string")
    assert stack.part("worker").process().pid == worker.pid
    assert worker.is_running()
