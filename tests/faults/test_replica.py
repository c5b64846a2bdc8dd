"""Reads go to a replica when it has all that they need, and nobody notices when it has not, or is gone."""

import itertools
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from campshub.accounts.models import User
from campshub.app import create_app
from campshub.core.db import replicas
from campshub.core.db.base import new_id
from campshub.core.db.freshness import comparable
from campshub.core.db.reading import ReadSession
from campshub.core.db.session import begin, commit, db
from campshub.core.db.unit import Position, Unit
from campshub.core.db.work import unit_of_work
from campshub.core.observe import metrics
from campshub.core.security.permissions import Role
from campshub.students.models import Group
from devstack import keys
from devstack.ports import LOOPBACK
from devstack.stack import Stack
from tests.conftest import Client, close, migrate, new_place, settings_of
from tests.freshness.servers import until

PGBOUNCERS = ("pgbouncer-primary", "pgbouncer-replica")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack of this module's own: its parts are paused and killed."""
    stack = Stack(tmp_path_factory.mktemp("faults"), replica=True, pgbouncer=True, durable=False)
    stack.start()
    migrate(settings_of(stack, stack.database))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def apps(stack):
    """Two processes, as far as the database and Redis can tell."""
    made = [create_app(settings_of(stack, stack.database, log_level="ERROR", cache_ttl_data=0)) for _ in range(2)]
    yield made
    for app in made:
        close(app)


@pytest.fixture(autouse=True)
def whole(stack):
    """Begin with all parts running and the replica level with the primary."""
    for name in ("primary", "replica", "redis-cache", *PGBOUNCERS):
        stack.part(name).start()
    stack.resume_replay()
    stack.catch_up()
    until(lambda: all(answers(stack, *way) for way in itertools.product(PGBOUNCERS, ("app", "system"))))


def answers(stack, name, role) -> bool:
    """Tell whether a PgBouncer reaches its server for a role: it remembers for a second that it did not."""
    try:
        with psycopg.connect(
            host=LOOPBACK,
            port=stack.part(name).port,
            dbname=stack.database,
            user=keys.role(role),
            password=keys.load(stack.place)[role],
        ) as connection:
            return bool(connection.execute("SELECT true").fetchone())
    except psycopg.OperationalError:
        return False


@pytest.fixture
def place(apps, whole):
    return new_place(apps[0])


@pytest.fixture
def writer(place):
    return place.the(Role.ADMIN)


@pytest.fixture
def reader(apps, writer):
    return Client(apps[1], writer.headers)


def left_alone() -> set[str]:
    """Return the parts whose breakers are open, as the figures say."""
    samples = [sample for family in metrics.breaker_open.collect() for sample in family.samples]
    return {sample.labels["name"] for sample in samples if sample.value}


def write(writer) -> str:
    return writer.made("/api/students/", {"code": new_id().hex, "given_name": "A", "family_name": "B"})["id"]


def served(reader, address="/api/students/") -> tuple[str, set[str]]:
    """Read, and tell by which server and what was shown."""
    before = {name: metrics.reads.labels(name)._value.get() for name in ("replica", "primary")}
    answer = reader.get(address)
    assert answer.status == 200, answer.response.text
    (server,) = (name for name, count in before.items() if metrics.reads.labels(name)._value.get() > count)
    return server, {item["id"] for item in answer.json["items"]}


def until_served_by(reader, server: str, patience_s: float = 25) -> set[str]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found, shown = served(reader)
        if found == server:
            return shown
        time.sleep(0.05)
    raise AssertionError(f"no read was served by the {server}")


def test_a_write_is_seen_while_the_replica_is_behind_and_reads_return_to_it(stack, writer, reader):
    first = write(writer)
    assert until_served_by(reader, "replica") == {first}

    stack.pause_replay()
    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    assert served(writer) == ("primary", {first, second})

    stack.resume_replay()
    stack.catch_up()
    assert until_served_by(reader, "replica") == {first, second}


def test_an_organization_that_wrote_nothing_stays_on_the_replica_while_another_writes(
    stack, apps, place, writer, reader
):
    first = write(writer)
    until_served_by(reader, "replica")
    other = new_place(apps[0])
    others = other.the(Role.ADMIN)
    stack.catch_up()
    stack.pause_replay()

    made = write(others)

    assert served(reader) == ("replica", {first})
    assert served(others) == ("primary", {made})


def test_a_sign_out_counts_at_once_although_the_replica_has_not_heard_of_it(stack, apps, place, writer, reader):
    until_served_by(reader, "replica")
    stack.pause_replay()
    with apps[0].app_context(), unit_of_work(system=True, organization_id=place.id) as session:
        session.get(User, writer.user_id).session_version = 2

    assert reader.get("/api/students/").status == 401


def test_when_redis_is_emptied_reads_go_to_the_primary_once_and_then_return(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    reader.app.extensions["campshub"].cache.client.flushall()

    assert served(reader) == ("primary", {first})
    assert until_served_by(reader, "replica") == {first}


def test_without_redis_reads_and_writes_go_on_at_the_primary(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill("redis-cache")

    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    assert "cache0" in left_alone()

    stack.part("redis-cache").start()
    assert until_served_by(reader, "replica") == {first, second}


@pytest.mark.parametrize("part", ["replica", "pgbouncer-replica"])
def test_without_the_replica_reads_go_on_and_return_to_it(stack, writer, reader, part):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill(part)

    assert "replica0" not in left_alone()
    began = time.monotonic()
    assert [served(reader) for _ in range(5)] == [("primary", {first})] * 5
    assert time.monotonic() - began < 8
    assert "replica0" in left_alone()
    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    health = reader.get("/health/")
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert health.json["services"]["replica"]["healthy"] is False

    stack.part(part).start()
    assert until_served_by(reader, "replica", 20) == {first, second}
    assert "replica0" not in left_alone()


def test_a_query_that_replay_must_end_is_asked_again_at_the_primary(writer, reader, monkeypatch):
    first = write(writer)
    until_served_by(reader, "replica")
    round_trip = ReadSession._round_trip
    for conflict in (psycopg.errors.SerializationFailure, psycopg.errors.QueryCanceled):
        met = []

        def ended(session, connection, text, words, met=met, conflict=conflict):
            if session.unit.server == "replica" and "FROM students" in text and not met:
                met.append(text)
                error = conflict("canceling statement due to conflict with recovery")
                raise DBAPIError.instance(text, None, error, psycopg.Error, dialect=session.unit.engine.dialect)
            return round_trip(session, connection, text, words)

        monkeypatch.setattr(ReadSession, "_round_trip", ended)
        assert served(reader) == ("primary", {first})
        monkeypatch.undo()
        assert met
        until_served_by(reader, "replica")


def test_when_the_primarys_pooler_restarts_the_next_requests_succeed(stack, writer, reader):
    first = write(writer)
    served(writer)
    stack.restart("pgbouncer-primary")

    second = write(writer)
    assert until_served_by(reader, "replica") >= {first}
    assert reader.get("/api/students/").status == 200
    assert {item["id"] for item in writer.get("/api/students/").json["items"]} == {first, second}


def test_without_the_primary_writes_are_told_to_come_back_and_it_is_said_who_is_away(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill("primary")

    answer = writer.post("/api/students/", {"code": "x", "given_name": "A", "family_name": "B"})
    assert (answer.status, answer.problem["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
    assert served(reader) == ("replica", {first})
    health = reader.get("/health/")
    assert (health.status, health.json["status"], reader.get("/ready/").status) == (503, "unhealthy", 200)

    stack.part("primary").start()
    deadline = time.monotonic() + 20
    while writer.get("/health/").status == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert writer.post("/api/students/", {"code": "y", "given_name": "A", "family_name": "B"}).status == 201


def test_when_all_connections_are_at_work_a_request_is_told_to_come_back(stack):
    app = create_app(
        settings_of(stack, stack.database, db_pool_size=1, db_pool_timeout_s=0.2, postgres_replica_host="")
    )
    api = new_place(app).the(Role.ADMIN)
    with app.app_context():
        held = app.extensions["sqlalchemy"].engines[None].connect()
    try:
        for answer in (
            api.get("/api/students/"),
            api.post("/api/students/", {"code": "x", "given_name": "A", "family_name": "B"}),
        ):
            assert (answer.status, answer.problem["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
    finally:
        held.close()
    assert api.get("/api/students/").status == 200
    close(app)


# Jobs ----------------------------------------------------------------------------------------------------------------


def position_of(app, place) -> Position:
    """Write something, and return where its commit has ended."""
    with app.app_context(), unit_of_work(organization_id=place.id) as session:
        session.add(Group(code=new_id().hex, name="Group", kind="class"))
    return session.unit.ended_at


def groups_at(app, place, position: Position) -> tuple[str, int]:
    """Read as a job does; return which server answered, and how many groups there are."""
    with app.app_context():
        unit = Unit(engine=db.engines[None], organization_id=place.id, checks_caller=False)
        replica = app.extensions["campshub"].replicas.wait_for(unit, position)
        with replica.reading(unit, comparable(position.lsn)) if replica else nullcontext(unit) as lent:
            session = begin(lent)
            count = session.scalar(select(func.count()).select_from(Group))
            commit(session)
            session.close()
        return lent.server, count


@pytest.fixture
def waiting(monkeypatch):
    """Tell for how long jobs wait, and do something the first time that one does."""

    def wait(app, seconds, meanwhile=lambda: None):
        waits: list[float] = []

        def sleep(asked):
            if not waits:
                meanwhile()
            waits.append(asked)
            time.sleep(asked)

        monkeypatch.setattr(app.extensions["campshub"].replicas, "_wait_s", seconds)
        monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        return waits

    return wait


def test_a_unit_tells_where_its_commit_has_ended(stack, apps, place):
    before = position_of(apps[0], place)
    after = position_of(apps[0], place)

    asked = "SELECT server_identity(), %s::pg_lsn < %s::pg_lsn"
    (told,) = stack.primary.query(asked, before.lsn, after.lsn, database=stack.database)
    assert told == (after.primary, True)
    with apps[0].app_context(), unit_of_work(organization_id=place.id, read_only=True) as session:
        session.scalar(select(func.count()).select_from(Group))
    assert session.unit.ended_at is None


def test_a_job_waits_for_the_replica_to_have_what_it_needs(stack, apps, place, waiting):
    stack.pause_replay()
    position = position_of(apps[0], place)
    waits = waiting(apps[1], 30, stack.resume_replay)

    assert groups_at(apps[1], place, position) == ("replica", 1)
    assert waits


def test_a_job_that_has_waited_long_enough_reads_from_the_primary(stack, apps, place, waiting):
    groups_at(apps[1], place, position_of(apps[0], place))
    stack.pause_replay()
    position = position_of(apps[0], place)
    waits = waiting(apps[1], 0.3)

    assert groups_at(apps[1], place, position) == ("primary", 2)
    assert waits


def test_a_position_of_another_primary_is_not_waited_for(apps, place, waiting):
    position = position_of(apps[0], place)
    apps[1].extensions["campshub"].lease.wait()
    waits = waiting(apps[1], 30)

    assert groups_at(apps[1], place, replace(position, primary="another")) == ("primary", 1)
    assert waits == []


@pytest.fixture
def misled(stack, apps):
    """A process for which the primary's address leads to a standby, as it may while roles are changed."""
    wrong, direct = stack.part("pgbouncer-replica").port, stack.part("replica").port
    made = create_app(
        settings_of(
            stack,
            stack.database,
            log_level="ERROR",
            cache_ttl_data=0,
            postgres_port=wrong,
            postgres_direct_port=direct,
            postgres_replica_host="",
        )
    )
    yield made
    close(made)


def test_a_standby_at_the_primarys_address_answers_no_read_as_if_it_were_the_primary(
    stack, misled, writer, monkeypatch
):
    write(writer)
    stack.catch_up()
    reader = Client(misled, writer.headers)
    monkeypatch.setattr(misled.extensions["campshub"].lease, "primary_is_away", lambda: False)  # not noticed yet

    refused = reader.get("/api/students/")
    assert (refused.status, refused.problem["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"


def test_a_standby_at_the_primarys_address_is_noticed_and_its_answers_are_marked(stack, misled, writer):
    first = write(writer)
    stack.catch_up()
    reader, lease = Client(misled, writer.headers), misled.extensions["campshub"].lease
    lease.granted()  # the first question starts the watch
    until = time.monotonic() + 10
    while not lease.primary_is_away() and time.monotonic() < until:
        time.sleep(0.01)

    answer = reader.get("/api/students/")
    assert answer.status == 200, answer.response.text
    assert [item["id"] for item in answer.json["items"]] == [first]
    assert answer.headers["Campshub-Freshness"] == "unverified"


def test_a_write_to_a_standby_is_refused_as_one_without_a_primary(stack, misled, writer):
    stack.catch_up()
    refused = Client(misled, writer.headers).post(
        "/api/students/", {"code": "S", "given_name": "A", "family_name": "B"}
    )
    assert (refused.status, refused.problem["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"
