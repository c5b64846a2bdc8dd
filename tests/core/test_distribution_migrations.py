"""Migrations of keys and policies to forms that can be distributed: complete, and repeatable after a lock timeout."""

import flask_migrate
import pytest
from sqlalchemy.exc import OperationalError

from campshub.app import create_app
from tests.conftest import ROOT, close, settings_of

FOLDER = str(ROOT / "migrations")
BEFORE, KEYS_DONE, ALL_DONE = "0031", "0032", "0033"
KEYS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE contype = 'f' AND (confdeltype = 'n' OR confupdtype = 'c' OR NOT convalidated)
   AND conparentid = 0 ORDER BY 1
"""
WITH_ACTIONS = [
    "fk_invitations_role_id",
    "fk_reports_api_key_id",
    "fk_reports_schedule_id",
    "fk_workout_log_exercises_log_id_local_date_student_id",
    "fk_workout_logs_id_local_date_student_id",
    "fk_workout_sets_log_id_local_date_student_id",
]

# Users, and the tables with rows of the platform.
KEPT = {"users", "attendance_codes", "exercises", "exercise_muscles", "muscles"}


@pytest.fixture
def migrated(stack, scratch):
    """Return a function that migrates a database up or down to a revision."""
    app = create_app(settings_of(stack, scratch, postgres_replica_host=""))

    def go(way, revision):
        with app.app_context():
            if way == "up":
                flask_migrate.upgrade(directory=FOLDER, revision=revision)
            else:
                flask_migrate.downgrade(directory=FOLDER, revision=revision)

    yield go
    close(app)


@pytest.fixture
def connection(stack, scratch):
    with stack.primary.connect(scratch) as connection:
        yield connection


def keys(connection):
    """Return the foreign keys that have an action or are not validated."""
    return connection.execute(KEYS).fetchall()


def test_the_downgrade_restores_the_actions_and_the_upgrade_removes_them(connection, migrated):
    migrated("down", BEFORE)
    before = keys(connection)
    assert [name for name, _ in before] == WITH_ACTIONS
    assert all(("ON DELETE SET NULL (" in text) != ("ON UPDATE CASCADE" in text) for _, text in before)
    assert not any("NOT VALID" in text for _, text in before)

    migrated("up", KEYS_DONE)
    assert keys(connection) == []

    migrated("down", BEFORE)
    assert keys(connection) == before


def test_an_upgrade_that_waits_too_long_for_a_lock_changes_nothing_half_and_can_be_repeated(
    stack, scratch, connection, migrated
):
    migrated("down", BEFORE)
    with stack.primary.connect(scratch) as reader, reader.transaction():
        reader.execute("SELECT FROM report_schedules")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrated("up", KEYS_DONE)

        assert [name for name, _ in keys(connection)] == WITH_ACTIONS[2:], "each key is replaced in one transaction"

    migrated("up", KEYS_DONE)
    assert keys(connection) == []


def test_rows_are_checked_again_although_policies_hide_them_from_the_owner(connection, migrated):
    migrated("down", BEFORE)
    connection.execute("SET session_replication_role = replica")  # without triggers, so without foreign keys
    connection.execute(
        "INSERT INTO invitations (organization_id, id, email, email_key, role, role_id, invited_by, token_hash,"
        " expires_at) VALUES (uuidv7(), uuidv7(), 'a', 'a', 'custom', uuidv7(), uuidv7(), '', now())"
    )

    with pytest.raises(Exception, match="fk_invitations_role_id"):
        migrated("up", KEYS_DONE)


def policies(connection):
    """Return the conditions of all policies, those of partitions too."""
    found = "SELECT tablename, policyname, qual, with_check FROM pg_policies WHERE schemaname = 'public' ORDER BY 1, 2"
    return connection.execute(found).fetchall()


def subqueries(rows):
    return {table for table, _, *conditions in rows if "SELECT" in "".join(filter(None, conditions))}


def test_policies_lose_their_subqueries_and_get_them_back(connection, migrated):
    assert subqueries(policies(connection)) == KEPT  # in tables of later migrations too
    migrated("down", ALL_DONE)
    newest = policies(connection)
    assert subqueries(newest) == KEPT

    migrated("down", KEYS_DONE)
    before = policies(connection)
    assert len(before) == len(newest) > 100
    assert subqueries(before) == {table for table, *_ in before}

    migrated("up", ALL_DONE)
    assert policies(connection) == newest
    migrated("down", KEYS_DONE)
    assert policies(connection) == before


def test_policies_that_a_lock_has_kept_are_changed_by_the_next_run(stack, scratch, connection, migrated):
    migrated("down", ALL_DONE)  # later migrations create tables
    newest = policies(connection)
    migrated("down", KEYS_DONE)
    with stack.primary.connect(scratch) as reader, reader.transaction():
        reader.execute("SELECT FROM report_schedules")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrated("up", ALL_DONE)
        assert {"report_schedules", "students"} <= subqueries(policies(connection))

    migrated("up", ALL_DONE)
    assert policies(connection) == newest
