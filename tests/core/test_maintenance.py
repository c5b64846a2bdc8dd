"""Database optimization and threshold checks, on databases of their own."""

import json

import pytest
from sqlalchemy import text

from campshub.app import create_app
from campshub.core import partitions
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.http import slow_requests
from campshub.core.jobs import runner, schedule
from campshub.core.jobs.store import enqueue
from campshub.operations import alerts, checks, optimize
from campshub.operations.checks import Found
from tests.conftest import close, settings_of


@pytest.fixture
def app(scratch_app):
    return scratch_app


@pytest.fixture
def sql(scratch_sql):
    return scratch_sql


@pytest.fixture
def flask(app):
    return lambda *arguments: app.test_cli_runner().invoke(args=arguments)


@pytest.fixture
def bloated(stack, scratch):
    """An index whose pages are nearly empty."""
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        connection.execute(
            "INSERT INTO idempotency_keys (organization_id, id, fingerprint, status, headers, body)"
            " SELECT gen_random_uuid(), gen_random_uuid(), '', 200, '{}', '' FROM generate_series(1, 5000)"
        )
        connection.execute("ALTER INDEX pk_idempotency_keys SET (fillfactor = 10)")
        connection.execute("REINDEX INDEX pk_idempotency_keys")
        connection.execute("ALTER INDEX pk_idempotency_keys RESET (fillfactor)")
    return "pk_idempotency_keys"


def test_only_a_bloated_index_is_rebuilt(app, bloated, sql):
    size = "SELECT pg_relation_size('pk_idempotency_keys')"
    before = sql(size)[0][0]
    with app.app_context(), partitions.maintenance(app.extensions["campshub"].settings) as connection:
        done = list(optimize.reindex(connection, lambda _: None, least_bytes=64 * 1024))
        again = list(optimize.reindex(connection, lambda _: None, least_bytes=64 * 1024))

    after = sql(size)[0][0]
    assert [(one.subject, one.before, one.after) for one in done] == [(bloated, before, after)]
    assert after < before / 2
    assert again == []
    assert sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_remains_of_an_interrupted_rebuild_are_dropped(app, sql, stack, scratch):
    with stack.primary.connect(scratch) as connection:
        connection.execute("CREATE INDEX ix_outbox_due_ccnew ON outbox (id)")
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_outbox_due_ccnew'::regclass RETURNING 1")
    with app.app_context(), partitions.maintenance(app.extensions["campshub"].settings) as connection:
        done = [one.subject for one in optimize.reindex(connection, lambda _: None)]

    assert done == ["ix_outbox_due_ccnew"]
    assert sql("SELECT to_regclass('ix_outbox_due_ccnew')") == [(None,)]


def test_the_command_reports_what_it_did(flask, sql):
    sql("INSERT INTO sign_in_attempts VALUES ('x', 1, now() - INTERVAL '31 days', NULL) RETURNING 1")
    sql("INSERT INTO sign_in_attempts VALUES ('y', 1, now() - INTERVAL '29 days', NULL) RETURNING 1")
    result = flask("optimize-database", "--all")
    facts = json.loads(flask("optimize-database", "--vacuum", "--json").stdout)

    assert result.exit_code == 0, result.output
    assert "sign_in_attempts 1 to 0" in result.stdout
    assert "warmed the cache: 0 responses" in result.stdout
    assert "The slowest statements" in result.stdout
    assert sql("SELECT key FROM sign_in_attempts") == [(b"y",)]
    assert facts["done"][0]["what"] == "vacuumed and analyzed"
    assert facts["after"]["tables"] > 0
    assert len(facts["slowest"]) <= 10
    assert flask("optimize-database").exit_code == 2


def test_the_slowest_statements_contain_no_values(app, sql):
    with app.app_context():
        for _ in range(3):
            with unit_of_work(system=True) as session:
                session.execute(text("SELECT pg_sleep(0.2), 'quokka' WHERE 'quokka' <> 'x'"))
        with partitions.maintenance(app.extensions["campshub"].settings) as connection:
            slow = optimize.slowest(connection)

    assert "pg_sleep" in slow[0].statement
    assert "quokka" not in str(slow)
    assert slow[0].mean_ms > 190


# Thresholds ----------------------------------------------------------------------------------------------------------


def found(value, subject="here", threshold=checks.DISK):
    return Found(threshold, subject, value)


@pytest.fixture
def record(app):
    def recording(*given):
        with app.app_context(), unit_of_work(system=True) as session:
            return [(one.name, one.subject, one.value) for one in alerts.record(session, given)]

    return recording


def test_an_alert_is_raised_once_stays_and_is_cleared(record, sql):
    assert record(found(90.0), found(50.0, "there")) == []
    assert record(found(90.1)) == [("disk", "here", 90.1)]
    assert record(found(95.0), found(91.0, "there")) == [("disk", "here", 95.0), ("disk", "there", 91.0)]
    assert record(found(50.0), found(91.0, "there")) == [("disk", "there", 91.0)]
    assert record(found(50.0), found(50.0, "there")) == []
    assert sql("SELECT count(*), count(cleared_at), count(DISTINCT advice) FROM alerts") == [(2, 2, 1)]
    assert record(found(99.0)) == [("disk", "here", 99.0)]
    assert sql("SELECT count(*) FROM alerts") == [(3,)]


def test_a_check_that_failed_clears_no_alert(record):
    lag = found(20.0, "replica0", checks.REPLICA_LAG)
    record(lag)

    assert ("replica_lag", "replica0", 20.0) in record(found(1.0, "replicas", checks.UNREACHABLE))
    assert record(found(0.0, "replicas", checks.UNREACHABLE)) == []


@pytest.mark.parametrize(
    ("threshold", "fine", "beyond"), [(t, t.limit, t.limit + (-1 if t.is_least else 1)) for t in checks.ALL]
)
def test_a_value_at_the_threshold_is_fine(threshold, fine, beyond):
    assert not threshold.is_crossed(fine)
    assert threshold.is_crossed(beyond)


def test_every_check_runs(app):
    services = app.extensions["campshub"]
    slow_requests.note("/api/students/", 1.5)
    with app.app_context():
        for _ in range(5):
            with unit_of_work(system=True) as session:
                session.execute(text("SELECT pg_sleep(1.05)"))
        looked = checks.run(services)
        again = checks.run(services)

    by_name = {one.threshold.name: one for one in looked}
    assert by_name.keys() >= {"cpu", "memory", "disk", "connections", "replica_lag", "partitions_ahead", "outbox_age"}
    assert [one.is_crossed for one in looked if one.threshold is checks.UNREACHABLE] == [False] * 6
    assert {one.subject for one in looked if one.threshold is checks.PARTITIONS} >= {"attendance_records", "audit_log"}
    assert not any(one.is_crossed for one in looked if one.threshold is checks.PARTITIONS)
    assert any(one.value > 1 for one in looked if one.threshold is checks.STATEMENT)
    assert [(one.subject, one.value) for one in looked if one.threshold is checks.REQUEST] == [("/api/students/", 1.5)]
    assert not [one for one in again if one.threshold is checks.REQUEST]


def test_an_unavailable_part_is_reported_and_the_others_are_checked(stack, scratch):
    own = create_app(settings_of(stack, scratch, log_level="ERROR", celery_broker_url="redis://127.0.0.1:1/0"))
    with own.app_context():
        looked = checks.run(own.extensions["campshub"])
    close(own)

    assert [one.subject for one in looked if one.threshold is checks.UNREACHABLE and one.is_crossed] == ["redis"]
    assert "connections" in {one.threshold.name for one in looked}


MONTHS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_log'::regclass ORDER BY 1"
DIED = """
INSERT INTO outbox (organization_id, id, job, arguments, trace_id, died_at) VALUES (%s, %s, 'x', '{}', '', now())
RETURNING 1
"""


def test_missing_months_and_waiting_rows_are_found(app, sql, stack, scratch):
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        for (name,) in sql(MONTHS)[-5:]:
            connection.execute(f"DROP TABLE {name}")
    with app.app_context(), unit_of_work(organization_id=PLATFORM_ID) as session:
        enqueue(session, "cache.fold")
    sql("UPDATE outbox SET available_at = now() - INTERVAL '6 minutes' RETURNING 1")
    sql(DIED, PLATFORM_ID, new_id())
    with app.app_context():
        looked = checks.run(app.extensions["campshub"])

    crossed = {(one.threshold.name, one.subject) for one in looked if one.is_crossed}
    assert crossed >= {("partitions_ahead", "audit_log"), ("outbox_age", "outbox"), ("dead_jobs", "outbox")}


def test_the_commands_of_alerts(flask, record):
    record(found(95.0))

    assert "disk here: 95.0 % (limit 90), since" in flask("alerts", "list").output
    assert "add disk" in flask("alerts", "list").output
    checked = flask("alerts", "check")
    assert "disk here" not in checked.output
    assert json.loads(flask("alerts", "list", "--cleared", "--json").stdout)


def test_everything_on_the_schedule_runs(app, tmp_path, monkeypatch):
    services = app.extensions["campshub"]
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"archive_url": str(tmp_path)}))
    outcomes = {}
    ours = [entry for entry in schedule.entries() if not entry.job.startswith("tests.")]
    for entry in ours:
        with app.app_context():
            with unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
                message_id = enqueue(session, entry.job, **entry.arguments)
            outcomes[entry.job] = runner.run_one(services, PLATFORM_ID, message_id)

    assert outcomes.keys() >= {"alerts.check", "partitions.ensure", "partitions.archive", "reports.make_due"}
    assert {job: outcome for job, outcome in outcomes.items() if outcome is not runner.Outcome.DONE} == {}
