"""A slow statement is logged once, with its route, and without its values."""

import io
import json
import logging

import click
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campshub.accounts.queries import organizations as queries
from campshub.app import create_app
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.observe import slow
from campshub.core.observe.logs import JsonLines
from tests.conftest import close, new_tenant

CANARY = "Quetzalcoatlus"
SLEEP = "SELECT pg_sleep(:seconds), :name, 'Quetzalcoatlus 4711'"
ROUTE = "/api/organization/"


@pytest.fixture
def slow_lines():
    """The log lines of slow statements."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    slow.log.addHandler(handler)
    yield lambda: [line for line in map(json.loads, written.getvalue().splitlines()) if "pg_sleep" in line["statement"]]
    slow.log.removeHandler(handler)


@pytest.fixture
def sleepy(monkeypatch):
    """Delay an endpoint by a number of seconds."""
    known = queries.my_organization

    def delay(seconds):
        def slowly(session, principal):
            session.execute(text(SLEEP), {"seconds": seconds, "name": CANARY})
            return known(session, principal)

        monkeypatch.setattr(queries, "my_organization", slowly)

    return delay


def counted(api, route):
    prefix = f'campshub_slow_sql_statements_total{{route="{route}"}} '
    page = api.get("/metrics/").raw.text
    return next((float(line.removeprefix(prefix)) for line in page.splitlines() if line.startswith(prefix)), 0.0)


def test_a_slow_statement_is_logged_once_with_its_route_and_no_value(api, sleepy, slow_lines):
    sleepy(0.15)
    before = counted(api, ROUTE)

    response = api.get(ROUTE, headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})

    assert response.status == 200
    (line,) = slow_lines()
    assert (line["level"], line["route"], line["trace_id"]) == ("WARNING", ROUTE, "ab" * 16)
    assert line["milliseconds"] >= 150
    assert line["statement"] == "SELECT pg_sleep(%(seconds)s), %(name)s, ?"
    assert CANARY not in json.dumps(line)
    assert counted(api, ROUTE) >= before + 1


def test_the_threshold_is_a_setting(settings, sleepy, slow_lines):
    app = create_app(settings.model_copy(update={"slow_statement_ms": 60_000}))
    try:
        sleepy(0.15)
        assert new_tenant(app).someone().get(ROUTE).status == 200
    finally:
        slow.init(settings.slow_statement_ms)
        close(app)

    assert slow_lines() == []


def test_a_statement_cancelled_by_the_server_is_logged_too(context, tenant, slow_lines):
    with pytest.raises(DBAPIError), unit_of_work(organization_id=tenant.id) as session:
        session.execute(text("SET LOCAL statement_timeout = 150"))
        session.execute(text(SLEEP), {"seconds": 5, "name": CANARY})

    (line,) = slow_lines()
    assert CANARY not in json.dumps(line)


def test_a_command_is_logged_with_its_name(context, tenant, slow_lines):
    @context.cli.group("yard")
    def yard():
        """A group of commands."""

    @yard.command("sweep")
    @click.argument("name")
    def sweep(name):
        with unit_of_work(organization_id=tenant.id) as session:
            session.execute(text(SLEEP), {"seconds": 0.15, "name": name})

    result = context.test_cli_runner().invoke(args=["yard", "sweep", CANARY])
    del context.cli.commands["yard"]

    assert result.exception is None
    assert [line["route"].removeprefix("root ").removeprefix("campshub ") for line in slow_lines()] == ["yard sweep"]
    assert CANARY not in json.dumps(slow_lines())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("SELECT * FROM enter('0199-a', NULL, '0/16B3748')", "SELECT * FROM enter(?, NULL, ?)"),
        ("SELECT  a\n  FROM t WHERE n = 'O''Brien' AND d >= 41.5", "SELECT a FROM t WHERE n = ? AND d >= ?"),
        ("SELECT t1.a FROM t1 WHERE t1.a = %(a_1)s LIMIT %(param_1)s", None),
    ],
)
def test_literals_are_removed_and_names_remain(given, shown):
    assert slow.without_values(given) == (shown or given)
