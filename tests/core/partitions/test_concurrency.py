"""Maintenance beside other work: two runs at once, long transactions, and clients that read and write."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import psycopg
import pytest

from campshub.core import partitions
from campshub.core.dates import add_months
from campshub.core.db.models import new_id
from campshub.core.partitions import archive, locks, months
from campshub.core.security.permissions import Role

TABLE = "attendance_records"
MOST_S = 2
WAITING = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
)

WAITING_LONG = WAITING + " AND locktype = 'relation' AND waitstart < now() - make_interval(secs => %s)"


def ensured(site, ahead=9):
    with site.maintenance() as connection:
        return partitions.ensure(connection, TABLE, site.month, add_months(site.month, ahead + 5))


@contextmanager
def locked(site, statement):
    """Hold the locks of a statement in a transaction that stays open."""
    with site.stack.primary.connect(site.database) as other, other.transaction():
        other.execute(statement)
        yield


def test_two_runs_at_once_create_each_month_once(site):
    with ThreadPoolExecutor(2) as pool:
        made = [one.result() for one in [pool.submit(ensured, site) for _ in range(2)]]

    assert min(map(len, made)) == 0 or not set(made[0]) & set(made[1])
    assert len({*made[0], *made[1]}) == len(made[0]) + len(made[1]) == 3


def test_two_runs_at_once_archive_once(site):
    before = site.contents(TABLE)

    def run():
        try:
            return site.archived(TABLE).rows
        except (archive.NoSuchMonth, partitions.PartitionsBusy) as refused:
            return type(refused).__name__

    with ThreadPoolExecutor(2) as pool:
        found = [one.result() for one in [pool.submit(run) for _ in range(2)]]

    assert found.count(len(before)) == 1
    site.restored(TABLE)
    assert site.contents(TABLE) == before


def test_a_run_that_another_one_excludes_reports_it(site, few_lock_tries):
    with (
        site.maintenance() as connection,
        locks.exclusive(connection, f"partitions.archive {TABLE}"),
        pytest.raises(partitions.PartitionsBusy),
    ):
        site.archived(TABLE)


def test_maintenance_never_waits_long_for_a_lock(site):
    with site.maintenance() as connection, locks.exclusive(connection, "any") as driver:
        set_to = driver.execute("SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'").fetchone()[0]
        detects = driver.execute("SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'").fetchone()[0]

    assert 0 < set_to < detects


def test_a_long_transaction_makes_maintenance_fail_clearly_and_blocks_no_other_client(site, few_lock_tries):
    with locked(site, "UPDATE students SET version = version"):
        for refused in (ensured, lambda site: site.archived(TABLE)):
            with pytest.raises(partitions.TableLocked, match=r"stayed locked in 2 tries") as error:
                refused(site)
            assert "\n" not in str(error.value)
            assert site.sql(WAITING, site.database) == [(0,)]
        result = site.app.test_cli_runner().invoke(args=["partitions", "ensure", "--months", "9"])
        assert (result.exit_code, result.output.count("\n")) == (1, 1)
        assert "stayed locked" in result.output
    assert len(ensured(site)) == 3
    site.archived(TABLE)


def test_maintenance_waits_for_a_short_transaction(site):
    over = Event()

    def on_stage(stage):
        if stage == archive.WAITING:
            over.set()

    def hold():
        with locked(site, f"SELECT count(*) FROM {TABLE}"):
            begun.set()
            over.wait(60)

    begun = Event()
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        begun.wait(60)
        manifest = site.archived(TABLE, on_stage)
        holding.result()

    assert over.is_set()
    assert manifest.rows == 14


def test_clients_can_read_and_write_while_months_are_created_archived_and_restored(site):
    """Count failed responses, and lock waits of over two seconds, while months are created, archived and restored.

    The server's report of waits does not depend on the load of the machine, unlike response times.
    """
    over = Event()
    seen: Counter[str] = Counter()
    admin, other = (tenant.the(Role.ADMIN) for tenant in site.tenants)
    today = add_months(site.day, 5)
    meeting = other.made("/api/attendance/sessions/", {"local_date": str(today), "slot": new_id().hex})["id"]
    students = [one["id"] for one in other.get("/api/students/?fields=id").json["items"]]
    reads = (
        f"/api/attendance/records/?from={today}&to={today}",
        f"/api/attendance/records/?from={site.day}&to={site.day}",
        "/api/students/",
    )

    def repeat(kind, send):
        number = 0
        while not over.is_set():
            seen[kind, send(number).status] += 1
            number += 1

    def watch():
        with site.stack.primary.connect() as watching:
            while not over.wait(0.1):
                seen["late"] += watching.execute(WAITING_LONG, (site.database, MOST_S)).fetchone()[0]

    def read(number):
        return admin.get(reads[number % len(reads)])

    def mark(number):
        code = ("present", "late", "absent")[number % 3]
        marks = [{"student_id": one, "code": code} for one in students]
        return other.put(f"/api/attendance/sessions/{meeting}/records/", {"records": marks, "overwrite": True})

    before = site.contents(TABLE)
    with ThreadPoolExecutor(3) as pool:
        people = [pool.submit(repeat, "read", read), pool.submit(repeat, "write", mark), pool.submit(watch)]
        try:
            ensured(site)
            site.archived(TABLE)
            site.restored(TABLE)
        finally:
            over.set()
        for one in people:
            one.result()

    assert {key for key in seen if key != "late"} == {("read", 200), ("write", 200)}
    assert seen["late"] == 0
    assert site.contents(TABLE) == before


def test_months_ahead_are_counted_up_to_the_first_gap(site):
    with site.maintenance() as connection:
        today = add_months(site.month, 5)
        assert set(partitions.months_ahead(connection, today).values()) == {6}
        site.sql(f"DROP TABLE {months.name_of(TABLE, add_months(today, 3))}")
        assert partitions.months_ahead(connection, today) == {
            table: 2 if table == TABLE else 6 for table in partitions.tables(connection)
        }


def test_commands_archive_list_and_restore(site):
    flask = site.app.test_cli_runner()
    arguments = ("--month", f"{site.month:%Y-%m}", "--table", TABLE)
    before = site.contents(TABLE)

    declined = flask.invoke(args=["partitions", "archive", *arguments], input="n\n")
    assert (declined.exit_code, site.contents(TABLE)) == (1, before)
    archived = flask.invoke(args=["partitions", "archive", *arguments, "--yes", "--json"])
    assert archived.exit_code == 0, archived.output
    (manifest,) = json.loads(archived.stdout)
    assert (manifest["name"], manifest["rows"]) == (site.name(TABLE), len(before))

    lines = {line["name"]: line for line in json.loads(flask.invoke(args=["partitions", "list", "--json"]).stdout)}
    assert lines[site.name(TABLE)]["state"] == "archived"
    assert "archived: attendance_records/" in flask.invoke(args=["partitions", "list"]).output
    ensure = flask.invoke(args=["partitions", "ensure", "--from", str(site.day), "--table", TABLE, "--json"])
    assert json.loads(ensure.stdout) == {"made": [], "archived": [site.name(TABLE)]}
    again = flask.invoke(args=["partitions", "archive", *arguments, "--yes"])
    assert (again.exit_code, "has no month" in again.output) == (1, True)

    restored = flask.invoke(args=["partitions", "restore", *arguments])
    assert f"Restored {len(before)} rows of {site.name(TABLE)}." in restored.output
    assert site.contents(TABLE) == before
    twice = flask.invoke(args=["partitions", "restore", *arguments])
    assert (twice.exit_code, "already exists" in twice.output) == (1, True)


def test_a_write_into_an_archived_month_is_refused_clearly(site):
    session = site.sql("SELECT organization_id, id FROM attendance_sessions")[0]
    tenant = next(tenant for tenant in site.tenants if tenant.id == session[0])
    student = site.sql("SELECT id FROM students WHERE organization_id = %s", tenant.id)[0][0]
    site.archived(TABLE)

    response = tenant.the(Role.ADMIN).put(
        f"/api/attendance/sessions/{session[1]}/records/", {"records": [{"student_id": str(student), "code": "late"}]}
    )

    assert (response.status, response.problem["code"]) == (409, "month_unavailable")


def test_a_detached_table_cannot_be_read_without_its_parent(site):
    seen = []

    def on_stage(stage):
        if stage == archive.DETACHED:
            with (
                psycopg.connect(_as(site, "campshub_app"), autocommit=True) as app,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                app.execute(f"SELECT 1 FROM {site.name(TABLE)}")
            seen.append(stage)

    site.archived(TABLE, on_stage)
    assert seen == [archive.DETACHED]


def _as(site, role):
    url = site.services.settings.database_url("app").set(drivername="postgresql")
    assert url.username == role
    return url.set(port=site.stack.primary.port, query={}).render_as_string(hide_password=False)
