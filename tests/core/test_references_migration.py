"""The migration of foreign keys from actions to plain references: complete, repeatable, and never without a key."""

import flask_migrate
import pytest
from sqlalchemy.exc import OperationalError

from campshub.app import create_app
from tests.conftest import ROOT, close, settings_of

FOLDER = str(ROOT / "migrations")
BEFORE, OURS = "0031", "0032"
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


@pytest.fixture
def migrated(stack, scratch):
    """Return a function that migrates a database up to, or down from, the revision under test."""
    app = create_app(settings_of(stack, scratch, postgres_replica_host=""))

    def go(way):
        with app.app_context():
            if way == "up":
                flask_migrate.upgrade(directory=FOLDER, revision=OURS)
            else:
                flask_migrate.downgrade(directory=FOLDER, revision=BEFORE)

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
    migrated("down")
    before = keys(connection)
    assert [name for name, _ in before] == WITH_ACTIONS
    assert all(("ON DELETE SET NULL (" in text) != ("ON UPDATE CASCADE" in text) for _, text in before)
    assert not any("NOT VALID" in text for _, text in before)

    migrated("up")
    assert keys(connection) == []

    migrated("down")
    assert keys(connection) == before


def test_an_upgrade_that_waits_too_long_for_a_lock_changes_nothing_half_and_can_be_repeated(
    stack, scratch, connection, migrated
):
    migrated("down")
    with stack.primary.connect(scratch) as reader, reader.transaction():
        reader.execute("SELECT FROM report_schedules")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrated("up")

        assert [name for name, _ in keys(connection)] == WITH_ACTIONS[2:], "each key is replaced in one transaction"

    migrated("up")
    assert keys(connection) == []


def test_rows_are_checked_again_although_policies_hide_them_from_the_owner(connection, migrated):
    migrated("down")
    connection.execute("SET session_replication_role = replica")  # without triggers, so without foreign keys
    connection.execute(
        "INSERT INTO invitations (organization_id, id, email, email_key, role, role_id, invited_by, token_hash,"
        " expires_at) VALUES (uuidv7(), uuidv7(), 'a', 'a', 'custom', uuidv7(), uuidv7(), '', now())"
    )

    with pytest.raises(Exception, match="fk_invitations_role_id"):
        migrated("up")
