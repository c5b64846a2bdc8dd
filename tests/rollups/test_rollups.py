"""Rollups equal the sums of their rows, at every moment, for every caller who may see them."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campshub.attendance.models import AttendanceGroupDayStale
from campshub.attendance.queries.rollups import DAYS
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner
from campshub.core.jobs.runner import Outcome
from campshub.core.rollups import refresh
from campshub.core.security.permissions import Role
from tests.rollups.world import COUNTS_AS, DATES, TODAY, World, stale_tables

ROLES = (Role.ADMIN, Role.TRAINER, Role.CLIENT)
STEPS = 18
NOTES = "SELECT count(*) FROM {} WHERE organization_id = %s"


@pytest.fixture
def world(app, sql) -> World:
    return World(app, sql)


def notes(world) -> int:
    return sum(world.sql(NOTES.format(name), world.tenant.id)[0][0] for name in stale_tables())


def some_sets(rng):
    kinds = ("normal", "warm_up", "drop")
    return [
        (rng.randrange(4), rng.choice(kinds), rng.choice((None, 0, 1, 5, 12, 13)), rng.choice((None, 0, 60_000)))
        for _ in range(rng.randrange(1, 4))
    ]


def step(world, rng):
    """Do one random write or refresh."""
    day, student = rng.choice(DATES), rng.randrange(4)
    kind = rng.choice(
        ("mark", "mark", "unmark", "note", "log", "log", "sets", "logs", "erase", "merge", "refresh", "few")
    )
    if kind == "mark":
        world.mark(student, rng.randrange(3), day, rng.choice(COUNTS_AS), rng.choice((None, 45)))
    elif kind == "unmark":
        world.unmark(student, day)
    elif kind == "note":
        world.note(day)
    elif kind == "log":
        world.log(student, day, some_sets(rng), rng.choice((None, 80)))
    elif kind == "sets":
        world.edit_sets(rng)
    elif kind == "logs":
        world.edit_logs(rng)
    elif kind == "erase":
        world.erase_sets(day)
    elif kind == "merge":
        world.merge(student, (student + 1) % 4)
    elif kind == "refresh":
        world.refresh_stale()
    else:
        world.refresh_stale(most=1)
    return kind, day, student


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_rollups_equal_the_sums_of_the_rows_after_every_step(app, sql, seed):
    world, rng, done = World(app, sql), random.Random(seed), []
    for _ in range(STEPS):
        done.append(step(world, rng))
        for role in ROLES:
            assert world.reported(role) == world.expected(role), (role, done)
    world.refresh_stale()

    assert notes(world) == 0
    assert world.differences() == []
    for role in ROLES:
        assert world.reported(role) == world.expected(role), (role, done)


def test_changes_of_uncounted_columns_make_nothing_stale(world):
    world.mark(0, 0, TODAY, "present", None)
    world.refresh_stale()

    world.note(TODAY)

    assert notes(world) == 0


def test_a_mark_committed_during_a_refresh_of_its_day_stays_recorded_as_stale(world):
    world.mark(0, 0, TODAY, "present", None)
    with world.app.app_context(), unit_of_work(system=True) as session:
        assert refresh.refresh(session, DAYS, world.tenant.id).written == 2  # the group's day, and its session
        world.mark(1, 0, TODAY, "late", None)

    assert world.sql(NOTES.format("attendance_group_days_stale"), world.tenant.id) == [(1,)]
    assert world.reported(Role.ADMIN) == world.expected(Role.ADMIN)


def test_of_two_concurrent_refreshes_the_older_is_not_written_last(world):
    world.mark(0, 0, TODAY, "present", None)
    with world.app.app_context(), unit_of_work(system=True) as session:
        assert refresh.refresh(session, DAYS, world.tenant.id).stale_rows == 1
        world.mark(1, 0, TODAY, "late", None)
        with unit_of_work(system=True) as second:
            assert refresh.refresh(second, DAYS, world.tenant.id) == refresh.RefreshCount()

    assert world.refresh_stale().stale_rows > 0
    assert world.differences() == []
    assert world.reported(Role.ADMIN) == world.expected(Role.ADMIN)


def marks_and_logs(world, stack, database, number):
    """Write for one student, on a separate connection."""
    rng = random.Random(number)
    with stack.primary.connect(database) as connection:
        writer = World.__new__(World)
        writer.__dict__.update(world.__dict__)
        writer.sql = lambda statement, *parameters: connection.execute(statement, parameters).fetchall()
        for _ in range(40):
            writer.mark(number, rng.randrange(3), TODAY, rng.choice(COUNTS_AS), None)
            writer.log(number, TODAY, some_sets(rng))


def test_many_writers_and_two_concurrent_refreshers_end_with_correct_rollups(world, stack, database):
    is_over = threading.Event()

    def refresh_some():
        while not is_over.is_set():
            world.refresh_stale(most=3)

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(marks_and_logs, world, stack, database, number) for number in range(4)]
        refreshers = [pool.submit(refresh_some) for _ in range(2)]
        try:
            for writer in writers:
                writer.result()
        finally:
            is_over.set()
        for refresher in refreshers:
            refresher.result()
    while notes(world):
        world.refresh_stale()

    assert world.differences() == []
    for role in ROLES:
        assert world.reported(role) == world.expected(role)


def test_rebuilding_repairs_changes_that_bypassed_the_triggers(world):
    world.mark(0, 0, TODAY, "present", None)
    world.log(0, TODAY, [(0, "normal", 5, 60_000)])
    world.refresh_stale()
    world.sql("UPDATE attendance_group_days SET present = 9 WHERE organization_id = %s RETURNING 1", world.tenant.id)
    world.sql("DELETE FROM workout_weeks WHERE organization_id = %s RETURNING 1", world.tenant.id)
    broken = {one.rollup: (one.stored, one.counted) for one in world.differences()}

    done = world.rebuild(TODAY)

    assert broken.keys() == {"attendance_group_days", "workout_weeks"}
    assert broken["attendance_group_days"][0]["present"] == 9
    assert broken["workout_weeks"][0] is None
    assert (done.written, done.removed) == (2, 0)
    assert world.differences() == []
    assert world.rebuild(TODAY) == refresh.RefreshCount()


def test_a_register_is_recorded_as_stale_once_for_its_group_and_once_per_student(world):
    for student in range(4):
        world.mark(student, 0, TODAY, "present", None)
    world.refresh_stale()

    changed = world.do("UPDATE attendance_records SET counts_as = 'late' WHERE organization_id = %s", world.tenant.id)

    assert changed == 4
    assert world.sql(NOTES.format("attendance_group_days_stale"), world.tenant.id) == [(1,)]
    assert world.sql(NOTES.format("attendance_student_months_stale"), world.tenant.id) == [(4,)]


def test_the_application_may_only_read_the_tables_of_stale_rows(app, tenant):
    with (
        app.app_context(),
        pytest.raises(Exception, match="permission denied"),
        unit_of_work(organization_id=tenant.id) as session,
    ):
        session.add(AttendanceGroupDayStale(organization_id=tenant.id, local_date=TODAY, group_id=tenant.id))
        session.flush()


# Commands ------------------------------------------------------------------------------------------------------------


def flask(world, *arguments):
    return world.app.test_cli_runner().invoke(args=["rollups", *arguments])


def test_the_commands_refresh_check_and_rebuild(world):
    world.mark(0, 0, TODAY, "present", None)
    one = ("--organization", str(world.tenant.id), "--from", str(TODAY), "--to", str(TODAY))

    assert flask(world, "fold", "--json").exit_code == 0
    assert flask(world, "check", *one).exit_code == 0
    world.sql("UPDATE attendance_group_days SET late = 3 WHERE organization_id = %s RETURNING 1", world.tenant.id)
    result = flask(world, "check", *one)
    assert (result.exit_code, "1 differences" in result.output) == (1, True)
    assert "wrote 1 rows" in flask(world, "rebuild", *one).output
    assert flask(world, "check", *one).exit_code == 0


def test_a_rebuild_can_run_in_a_worker(world):
    world.mark(0, 0, TODAY, "present", None)
    one = ("--organization", str(world.tenant.id), "--from", str(TODAY), "--to", str(TODAY))
    assert flask(world, "fold").exit_code == 0
    world.sql("UPDATE attendance_group_days SET late = 3 WHERE organization_id = %s RETURNING 1", world.tenant.id)
    assert flask(world, "check", *one).exit_code == 1

    started = json.loads(flask(world, "rebuild", "--by-worker", "--json", *one).output)
    with world.app.app_context():
        outcome = Outcome.MORE
        while outcome is Outcome.MORE:
            outcome = runner.run_one(world.app.extensions["campshub"], PLATFORM_ID, UUID(started["job_id"]))

    assert outcome is Outcome.DONE
    assert flask(world, "check", *one).exit_code == 0


def test_a_deleted_student_is_not_reported(world):
    world.log(0, TODAY, [(0, "normal", 5, 60_000)])
    assert world.reported(Role.ADMIN)["weeks"]

    world.do("UPDATE students SET deleted_at = now() WHERE organization_id = %s", world.tenant.id)

    assert world.reported(Role.ADMIN)["weeks"] == {}
