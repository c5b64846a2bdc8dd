"""A standby at the primary's endpoint is not taken for the primary."""

import time

import pytest

from campshub.app import create_app
from campshub.core.security.permissions import Role
from tests.conftest import Client, close, settings_of
from tests.faults.replicas.conftest import write
from tests.memoized import COUNTS, STATISTICS, read
from tests.waiting import until


def misled_app(stack, **more):
    """Create an application whose primary endpoint leads to a standby, as during a change of roles."""
    wrong = {"postgres_port": stack.part("pgbouncer-replica").port, "postgres_direct_port": stack.part("replica").port}
    return create_app(settings_of(stack, stack.database, log_level="ERROR", cache_ttl_data=0, **wrong, **more))


@pytest.fixture
def misled(stack, whole):
    """A misled application without a replica."""
    made = misled_app(stack, postgres_replica_host="")
    yield made
    close(made)


def test_a_standby_at_the_primarys_address_serves_no_read_as_the_primary(stack, misled, writer, monkeypatch):
    write(writer)
    stack.catch_up()
    reader = Client(misled, writer.headers)
    monkeypatch.setattr(
        misled.extensions["campshub"].lease, "primary_is_unavailable", lambda: False
    )  # not detected yet

    refused = reader.get("/api/students/")
    assert (refused.status, refused.problem["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"


def test_a_known_replica_serves_instead_and_marks_the_response(stack, writer, monkeypatch):
    first = write(writer)
    stack.catch_up()
    app = misled_app(stack)
    lease = app.extensions["campshub"].lease
    lease.granted()  # the first call starts the watch
    until(lambda: lease.replayed(0) is not None)
    monkeypatch.setattr(lease, "primary_is_unavailable", lambda: False)  # not detected yet

    response = Client(app, writer.headers).get("/api/students/")
    close(app)
    assert response.status == 200, response.raw.text
    assert [item["id"] for item in response.json["items"]] == [first]
    assert response.headers["Campshub-Freshness"] == "unverified"


def test_a_value_from_a_lagging_replica_is_not_stored_under_newer_stamps(stack, apps, tenant, writer):
    write(writer)
    stack.catch_up()
    stack.pause_replay()
    write(writer)
    colleague, url = tenant.the(Role.NUTRITIONIST), STATISTICS
    until(lambda: read(Client(apps[0], writer.headers), COUNTS)[1] != "")  # the lookup is trusted
    write(writer)
    Client(apps[0], writer.headers).get("/api/groups/")  # Redis has the state of the caller
    # Its lease is the primary's, but its pooler leads to the standby, which lacks two students.
    app = create_app(
        settings_of(stack, stack.database, log_level="ERROR", postgres_port=stack.part("pgbouncer-replica").port)
    )
    lease = app.extensions["campshub"].lease
    until(lambda: lease.granted() is not None and lease.replayed(0) is not None)

    response = Client(app, writer.headers).get(url)
    assert response.headers["Campshub-Freshness"] == "unverified"
    assert response.json["total"] == 1
    close(app)
    for client in (writer, colleague):
        for process in apps:
            assert Client(process, client.headers).get(url).json["total"] == 3


def test_a_value_from_a_standby_without_the_primary_is_not_stored_under_newer_stamps(stack, apps, writer):
    write(writer)
    until(lambda: read(writer, COUNTS)[1] != "")  # the lookup is trusted
    stack.catch_up()
    stack.pause_replay()
    write(writer)
    until(lambda: read(writer, COUNTS, "/api/groups/")[0].status == 200)  # Redis has the state of the caller
    wrong = {"postgres_port": stack.part("pgbouncer-replica").port, "postgres_replica_host": ""}
    app = create_app(settings_of(stack, stack.database, log_level="ERROR", **wrong))
    lease = app.extensions["campshub"].lease
    until(lambda: lease.granted() is not None)
    stack.kill("primary")
    until(lease.primary_is_unavailable)

    response = Client(app, writer.headers).get(STATISTICS)
    assert (response.headers["Campshub-Freshness"], response.json["total"]) == ("unverified", 1)
    close(app)
    stack.part("primary").start()
    for process in apps:
        reader = Client(process, writer.headers)
        deadline = time.monotonic() + 60
        while "Campshub-Freshness" in (response := reader.get(STATISTICS)).headers:
            assert time.monotonic() < deadline
        assert response.json["total"] == 2


def test_a_standby_at_the_primarys_address_is_detected_and_its_responses_are_marked(stack, misled, writer):
    first = write(writer)
    stack.catch_up()
    reader, lease = Client(misled, writer.headers), misled.extensions["campshub"].lease
    lease.granted()  # the first call starts the watch
    until = time.monotonic() + 60
    while not lease.primary_is_unavailable() and time.monotonic() < until:
        time.sleep(0.01)

    response = reader.get("/api/students/")
    assert response.status == 200, response.raw.text
    assert [item["id"] for item in response.json["items"]] == [first]
    assert response.headers["Campshub-Freshness"] == "unverified"


def test_a_write_to_a_standby_is_refused_as_without_a_primary(stack, misled, writer):
    stack.catch_up()
    refused = Client(misled, writer.headers).post(
        "/api/students/", {"code": "S", "given_name": "A", "family_name": "B"}
    )
    assert (refused.status, refused.problem["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"
