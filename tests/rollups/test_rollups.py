"""Figures that are kept are what their rows add up to, at every moment, for everyone who may see them."""

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
from campshub.core.rollups.definition import rollups
from campshub.core.security.permissions import Role
from tests.rollups.world import COUNTS_AS, DATES, TODAY, World

ROLES = (Role.ADMIN, Role.TRAINER, Role.CLIENT)
STEPS = 18
NOTES = "SELECT count(*) FROM {} WHERE organization_id = %s"


@pytest.fixture
def world(app, sql) -> World:
    return World(app, sql)


def notes(world) -> int:
    return sum(world.sql(NOTES.format(f"{name}_stale"), world.place.id)[0][0] for name in rollups())


def some_sets(dice):
    kinds = ("normal", "warm_up", "drop")
    return [
        (dice.randrange(4), dice.choice(kinds), dice.choice((None, 0, 1, 5, 12, 13)), dice.choice((None, 0, 60_000)))
        for _ in range(dice.randrange(1, 4))
    ]


def step(world, dice):
    """Do something, as likely a write as a counting."""
    day, student = dice.choice(DATES), dice.randrange(4)
    kind = dice.choice(
        ("mark", "mark", "unmark", "note", "log", "log", "sets", "logs", "erase", "merge", "fold", "few")
    )
    if kind == "mark":
        world.mark(student, dice.randrange(3), day, dice.choice(COUNTS_AS), dice.choice((None, 45)))
    elif kind == "unmark":
        world.unmark(student, day)
    elif kind == "note":
        world.note(day)
    elif kind == "log":
        world.log(student, day, some_sets(dice), dice.choice((None, 80)))
    elif kind == "sets":
        world.edit_sets(dice)
    elif kind == "logs":
        world.edit_logs(dice)
    elif kind == "erase":
        world.erase_sets(day)
    elif kind == "merge":
        world.merge(student, (student + 1) % 4)
    elif kind == "fold":
        world.fold()
    else:
        world.fold(most=1)
    return kind, day, student


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_figures_are_what_the_rows_add_up_to_after_every_step(app, sql, seed):
    world, dice, done = World(app, sql), random.Random(seed), []
    for _ in range(STEPS):
        done.append(step(world, dice))
        for role in ROLES:
            assert world.told(role) == world.expected(role), (role, done)
    world.fold()

    assert notes(world) == 0
    assert world.differences() == []
    for role in ROLES:
        assert world.told(role) == world.expected(role), (role, done)


def test_what_is_not_counted_makes_nothing_stale(world):
    world.mark(0, 0, TODAY, "present", None)
    world.fold()

    world.note(TODAY)

    assert notes(world) == 0


def test_a_mark_that_is_committed_while_its_day_is_counted_stays_noted(world):
    world.mark(0, 0, TODAY, "present", None)
    with world.app.app_context(), unit_of_work(system=True) as session:
        assert refresh.refresh(session, DAYS, world.place.id).written == 1
        world.mark(1, 0, TODAY, "late", None)

    assert world.sql(NOTES.format("attendance_group_days_stale"), world.place.id) == [(1,)]
    assert world.told(Role.ADMIN) == world.expected(Role.ADMIN)


def test_of_two_countings_at_once_the_older_is_not_written_last(world):
    world.mark(0, 0, TODAY, "present", None)
    with world.app.app_context(), unit_of_work(system=True) as session:
        assert refresh.refresh(session, DAYS, world.place.id).notes == 1
        world.mark(1, 0, TODAY, "late", None)
        with unit_of_work(system=True) as second:
            assert refresh.refresh(second, DAYS, world.place.id) == refresh.RefreshCount()

    assert world.fold().notes > 0
    assert world.differences() == []
    assert world.told(Role.ADMIN) == world.expected(Role.ADMIN)


def marks_and_logs(world, stack, database, number):
    """Write for one student, on a connection of its own."""
    dice = random.Random(number)
    with stack.primary.connect(database) as connection:
        own = World.__new__(World)
        own.__dict__.update(world.__dict__)
        own.sql = lambda statement, *given: connection.execute(statement, given).fetchall()
        for _ in range(40):
            own.mark(number, dice.randrange(3), TODAY, dice.choice(COUNTS_AS), None)
            own.log(number, TODAY, some_sets(dice))


def test_many_writers_and_two_folders_at_once_end_in_the_right_figures(world, stack, database):
    is_over = threading.Event()

    def fold():
        while not is_over.is_set():
            world.fold(most=3)

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(marks_and_logs, world, stack, database, number) for number in range(4)]
        folders = [pool.submit(fold) for _ in range(2)]
        try:
            for writer in writers:
                writer.result()
        finally:
            is_over.set()
        for folder in folders:
            folder.result()
    while notes(world):
        world.fold()

    assert world.differences() == []
    for role in ROLES:
        assert world.told(role) == world.expected(role)


def test_rebuilding_repairs_what_was_changed_past_the_triggers(world):
    world.mark(0, 0, TODAY, "present", None)
    world.log(0, TODAY, [(0, "normal", 5, 60_000)])
    world.fold()
    world.sql("UPDATE attendance_group_days SET present = 9 WHERE organization_id = %s RETURNING 1", world.place.id)
    world.sql("DELETE FROM workout_weeks WHERE organization_id = %s RETURNING 1", world.place.id)
    broken = {one.rollup: (one.kept, one.counted) for one in world.differences()}

    done = world.rebuild(TODAY)

    assert broken.keys() == {"attendance_group_days", "workout_weeks"}
    assert broken["attendance_group_days"][0]["present"] == 9
    assert broken["workout_weeks"][0] is None
    assert (done.written, done.removed) == (2, 0)
    assert world.differences() == []
    assert world.rebuild(TODAY) == refresh.RefreshCount()


def test_a_register_is_noted_once_for_its_group_and_once_a_student(world):
    for student in range(4):
        world.mark(student, 0, TODAY, "present", None)
    world.fold()

    changed = world.do("UPDATE attendance_records SET counts_as = 'late' WHERE organization_id = %s", world.place.id)

    assert changed == 4
    assert world.sql(NOTES.format("attendance_group_days_stale"), world.place.id) == [(1,)]
    assert world.sql(NOTES.format("attendance_student_months_stale"), world.place.id) == [(4,)]


def test_notes_are_for_the_application_to_read_alone(app, place):
    with (
        app.app_context(),
        pytest.raises(Exception, match="permission denied"),
        unit_of_work(organization_id=place.id) as session,
    ):
        session.add(AttendanceGroupDayStale(organization_id=place.id, local_date=TODAY, group_id=place.id))
        session.flush()


# Commands ------------------------------------------------------------------------------------------------------------


def flask(world, *words):
    return world.app.test_cli_runner().invoke(args=["rollups", *words])


def test_the_commands_fold_check_and_rebuild(world):
    world.mark(0, 0, TODAY, "present", None)
    one = ("--organization", str(world.place.id), "--from", str(TODAY), "--to", str(TODAY))

    assert flask(world, "fold", "--json").exit_code == 0
    assert flask(world, "check", *one).exit_code == 0
    world.sql("UPDATE attendance_group_days SET late = 3 WHERE organization_id = %s RETURNING 1", world.place.id)
    told = flask(world, "check", *one)
    assert (told.exit_code, "1 differences" in told.output) == (1, True)
    assert "wrote 1 rows" in flask(world, "rebuild", *one).output
    assert flask(world, "check", *one).exit_code == 0


def test_a_rebuild_can_be_left_to_a_worker(world):
    world.mark(0, 0, TODAY, "present", None)
    one = ("--organization", str(world.place.id), "--from", str(TODAY), "--to", str(TODAY))
    assert flask(world, "fold").exit_code == 0
    world.sql("UPDATE attendance_group_days SET late = 3 WHERE organization_id = %s RETURNING 1", world.place.id)
    assert flask(world, "check", *one).exit_code == 1

    told = json.loads(flask(world, "rebuild", "--by-worker", "--json", *one).output)
    with world.app.app_context():
        outcome = Outcome.MORE
        while outcome is Outcome.MORE:
            outcome = runner.run_one(world.app.extensions["campshub"], PLATFORM_ID, UUID(told["job_id"]))

    assert outcome is Outcome.DONE
    assert flask(world, "check", *one).exit_code == 0


def test_whoever_was_deleted_is_not_told_of(world):
    world.log(0, TODAY, [(0, "normal", 5, 60_000)])
    assert world.told(Role.ADMIN)["weeks"]

    world.do("UPDATE students SET deleted_at = now() WHERE organization_id = %s", world.place.id)

    assert world.told(Role.ADMIN)["weeks"] == {}
