"""Reads go to a replica that has the required position, else to the primary; clients see no error."""

import time

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from campshub.accounts.models import User
from campshub.app import create_app
from campshub.core.db.read_session import ReadSession
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.observe import metrics
from campshub.core.security.permissions import Role
from tests.conftest import close, new_tenant, settings_of
from tests.faults.replicas.conftest import write


def open_breakers() -> set[str]:
    """Return the parts whose circuit breakers are open, from the metrics."""
    samples = [sample for family in metrics.breaker_open.collect() for sample in family.samples]
    return {sample.labels["name"] for sample in samples if sample.value}


def served(reader, url="/api/students/") -> tuple[str, set[str]]:
    """Read; return the server that served it, and the shown ids."""
    before = {name: metrics.reads.labels(name)._value.get() for name in ("replica", "primary")}
    response = reader.get(url)
    assert response.status == 200, response.raw.text
    (server,) = (name for name, count in before.items() if metrics.reads.labels(name)._value.get() > count)
    return server, {item["id"] for item in response.json["items"]}


def until_served_by(reader, server: str, patience_s: float = 60) -> set[str]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found, shown = served(reader)
        if found == server:
            return shown
        time.sleep(0.05)
    raise AssertionError(f"no read was served by the {server}")


def test_a_write_is_seen_while_the_replica_lags_and_reads_return_to_it(stack, writer, reader):
    first = write(writer)
    assert until_served_by(reader, "replica") == {first}

    stack.pause_replay()
    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    assert served(writer) == ("primary", {first, second})

    stack.resume_replay()
    stack.catch_up()
    assert until_served_by(reader, "replica") == {first, second}


def test_an_organization_without_writes_stays_on_the_replica_while_another_writes(stack, apps, tenant, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    other = new_tenant(apps[0])
    others = other.the(Role.ADMIN)
    stack.catch_up()
    stack.pause_replay()

    made = write(others)

    assert served(reader) == ("replica", {first})
    assert served(others) == ("primary", {made})


def test_a_sign_out_takes_effect_at_once_although_the_replica_lags(stack, apps, tenant, writer, reader):
    until_served_by(reader, "replica")
    stack.pause_replay()
    with apps[0].app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        session.get(User, writer.user_id).session_version = 2

    assert reader.get("/api/students/").status == 401


def test_after_redis_is_emptied_reads_use_the_primary_once_and_then_the_replica(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    reader.app.extensions["campshub"].cache.client.flushall()

    assert served(reader) == ("primary", {first})
    assert until_served_by(reader, "replica") == {first}


def test_without_redis_reads_and_writes_use_the_primary(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill("redis-cache")

    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    assert "cache0" in open_breakers()

    stack.part("redis-cache").start()
    assert until_served_by(reader, "replica") == {first, second}


@pytest.mark.parametrize("part", ["replica", "pgbouncer-replica"])
def test_without_the_replica_reads_continue_and_later_return_to_it(stack, writer, reader, part):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill(part)

    assert "replica0" not in open_breakers()
    assert served(reader) == ("primary", {first})
    assert "replica0" in open_breakers(), "the first read opened the breaker, and no other waits for the replica"
    assert [served(reader) for _ in range(4)] == [("primary", {first})] * 4
    second = write(writer)
    assert served(reader) == ("primary", {first, second})
    health = reader.get("/health/")
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert health.json["services"]["replica"]["healthy"] is False

    stack.part(part).start()
    assert until_served_by(reader, "replica", 20) == {first, second}
    assert "replica0" not in open_breakers()


def test_a_query_that_replay_cancels_is_repeated_on_the_primary(writer, reader, monkeypatch):
    first = write(writer)
    until_served_by(reader, "replica")
    round_trip = ReadSession._round_trip
    for conflict in (psycopg.errors.SerializationFailure, psycopg.errors.QueryCanceled):
        met = []

        def ended(session, connection, text, command, met=met, conflict=conflict):
            if session.unit.server == "replica" and "FROM students" in text and not met:
                met.append(text)
                error = conflict("canceling statement due to conflict with recovery")
                raise DBAPIError.instance(text, None, error, psycopg.Error, dialect=session.unit.engine.dialect)
            return round_trip(session, connection, text, command)

        monkeypatch.setattr(ReadSession, "_round_trip", ended)
        assert served(reader) == ("primary", {first})
        monkeypatch.undo()
        assert met
        until_served_by(reader, "replica")


def test_after_the_primarys_pooler_restarts_the_next_requests_succeed(stack, writer, reader):
    first = write(writer)
    served(writer)
    stack.restart("pgbouncer-primary")

    second = write(writer)
    assert until_served_by(reader, "replica") >= {first}
    assert reader.get("/api/students/").status == 200
    assert {item["id"] for item in writer.get("/api/students/").json["items"]} == {first, second}


def test_without_the_primary_writes_are_refused_with_a_retry_time_and_health_reports_it(stack, writer, reader):
    first = write(writer)
    until_served_by(reader, "replica")
    stack.kill("primary")

    response = writer.post("/api/students/", {"code": "x", "given_name": "A", "family_name": "B"})
    assert (response.status, response.problem["code"], response.headers["Retry-After"]) == (503, "unavailable", "1")
    assert served(reader) == ("replica", {first})
    health = reader.get("/health/")
    assert (health.status, health.json["status"], reader.get("/ready/").status) == (503, "unhealthy", 200)

    stack.part("primary").start()
    deadline = time.monotonic() + 60
    while writer.get("/health/").status == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert writer.post("/api/students/", {"code": "y", "given_name": "A", "family_name": "B"}).status == 201


def test_a_request_without_a_free_connection_is_refused_with_a_retry_time(stack):
    app = create_app(
        settings_of(stack, stack.database, db_pool_size=1, db_pool_timeout_s=0.2, postgres_replica_host="")
    )
    api = new_tenant(app).the(Role.ADMIN)
    with app.app_context():
        borrowed = app.extensions["sqlalchemy"].engines[None].connect()
    try:
        for response in (
            api.get("/api/students/"),
            api.post("/api/students/", {"code": "x", "given_name": "A", "family_name": "B"}),
        ):
            assert (response.status, response.problem["code"], response.headers["Retry-After"]) == (
                503,
                "unavailable",
                "1",
            )
    finally:
        borrowed.close()
    assert api.get("/api/students/").status == 200
    close(app)
