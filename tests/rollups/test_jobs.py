"""The jobs that refresh rollups and warm the cache, with the real runner; and months that are detached meanwhile."""

import pytest

from campshub.core import partitions
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner, schedule
from campshub.core.jobs.runner import Outcome
from campshub.core.jobs.store import enqueue
from campshub.core.partitions import archive
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups
from campshub.core.rollups.refresh import MonthDetached
from campshub.core.security.permissions import Role
from tests.rollups.world import DATES, LAST, TODAY, World, stale_tables

EARLIER = min(DATES)


@pytest.fixture
def app(scratch_app):
    return scratch_app


@pytest.fixture
def sql(scratch_sql):
    return scratch_sql


@pytest.fixture
def world(app, sql):
    return World(app, sql)


@pytest.fixture
def run(app):
    def one(name, **arguments):
        with app.app_context():
            with unit_of_work(organization_id=PLATFORM_ID) as session:
                message_id = enqueue(session, name, **arguments)
            return runner.run_one(app.extensions["campshub"], PLATFORM_ID, message_id)

    return one


def test_the_job_refreshes_stale_rollups_of_all_organizations(world, app, sql, run):
    other = World(app, sql)
    for one in (world, other):
        one.mark(0, 0, TODAY, "present", None)
        one.log(0, TODAY, [(0, "normal", 5, 60_000)])

    assert run("rollups.fold") == Outcome.DONE
    assert [sql(f"SELECT count(*) FROM {name}") for name in stale_tables()] == [[(0,)]] * 3
    assert [sql(f"SELECT count(DISTINCT organization_id) FROM {name}") for name in rollups()] == [[(2,)]] * 5


def test_work_beyond_one_transaction_is_enqueued_again(world, app, sql, run, monkeypatch):
    monkeypatch.setattr(refresh, "MOST_AT_ONCE", 0)
    world.mark(0, 0, TODAY, "present", None)

    assert run("rollups.fold") == Outcome.DONE
    assert sql("SELECT count(*) FROM outbox WHERE job = 'rollups.fold' AND finished_at IS NULL") == [(1,)]


def test_the_job_rebuilds_all_months_step_by_step(world, sql, run):
    for day in (TODAY, EARLIER):
        world.mark(0, 0, day, "present", None)
    for name in stale_tables():
        sql(f"DELETE FROM {name} RETURNING 1")
    assert world.differences() != []

    assert run("rollups.rebuild", first_date=str(EARLIER), last_date=str(LAST)) == Outcome.DONE
    assert world.differences() == []
    ((state, done, total, result),) = sql("SELECT state, done, total, result FROM jobs WHERE job = 'rollups.rebuild'")
    assert (state, done, result["written"]) == ("succeeded", total, 8)


def test_rollups_of_a_detached_month_stay(world, app, stack, scratch, run):
    world.mark(0, 0, EARLIER, "present", None)
    world.mark(0, 0, TODAY, "late", None)
    world.log(0, EARLIER, [(0, "normal", 5, 60_000)])
    world.refresh_stale()
    before = world.reported(Role.ADMIN)
    world.mark(1, 0, EARLIER, "present", None)  # recorded as stale, but no longer counted
    world.log(1, EARLIER, [(0, "normal", 5, 60_000)])
    with stack.primary.connect(scratch) as connection:
        for table in ("attendance_records", "workout_logs"):  # the sets of these logs are still there
            connection.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_p{EARLIER:%Y_%m}")

    with app.app_context():
        with pytest.raises(MonthDetached), unit_of_work(system=True) as session:
            refresh.rebuild(session, rollups()["attendance_group_days"], world.tenant.id, EARLIER.replace(day=1))
        with unit_of_work(system=True, read_only=True) as session:
            steps = refresh.steps(session, organization_id=world.tenant.id, first_date=None, last_date=None)
    world.refresh_stale()

    assert EARLIER.replace(day=1) not in {one.month for one in steps}
    assert run("rollups.rebuild") == Outcome.DONE
    assert world.reported(Role.ADMIN) == before
    assert world.differences() == []


def test_archiving_a_month_first_refreshes_its_stale_rollups(world, app, tmp_path, monkeypatch):
    services = app.extensions["campshub"]
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"archive_url": str(tmp_path)}))
    world.mark(0, 0, EARLIER, "present", None)
    world.mark(0, 0, TODAY, "late", None)
    before = world.reported(Role.ADMIN)
    with app.app_context(), partitions.maintenance(services.settings) as connection:
        archive.archive(services, connection, table="attendance_records", month=EARLIER.replace(day=1))

    assert world.reported(Role.ADMIN) == before


def test_the_jobs_are_on_the_schedule(app):
    assert {"rollups.fold", "cache.warm"} <= {entry.job for entry in schedule.entries()}


def test_the_warming_job_runs(world, run):
    assert run("cache.warm") == Outcome.DONE
