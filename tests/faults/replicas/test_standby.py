"""A standby behind the primary's address is not taken for the primary."""

import time

import pytest

from campshub.app import create_app
from tests.conftest import Client, close, settings_of
from tests.faults.replicas.conftest import write


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
