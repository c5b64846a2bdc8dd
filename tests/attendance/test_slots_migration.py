"""Sessions from before slots were normalized lose nothing in the migration."""

import uuid

import flask_migrate
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from campshub.app import create_app
from tests.conftest import ROOT, close, settings_of

FOLDER = str(ROOT / "migrations")
ORGANIZATION, OTHER = uuid.UUID(int=1 << 90), uuid.UUID(int=2 << 90)
INSERT = (
    "INSERT INTO attendance_sessions (organization_id, id, local_date, slot, status)"
    " VALUES (%s, uuidv7(), '2026-11-30', %s, %s)"
)


@pytest.fixture
def migrated(stack, scratch):
    """Return a function that migrates to the revision before or after the one under test."""
    config = Config(str(ROOT / "migrations" / "alembic.ini"))
    config.set_main_option("script_location", FOLDER)
    ours = next(r for r in ScriptDirectory.from_config(config).walk_revisions() if "slots_and_registers" in r.path)
    app = create_app(settings_of(stack, scratch))

    def go(way):
        with app.app_context():
            if way == "up":
                flask_migrate.upgrade(directory=FOLDER, revision=ours.revision)
            else:
                flask_migrate.downgrade(directory=FOLDER, revision=ours.down_revision)

    yield go
    close(app)


def slots(connection, organization=ORGANIZATION):
    found = "SELECT slot, status FROM attendance_sessions WHERE organization_id = %s ORDER BY id"
    return connection.execute(found, [organization]).fetchall()


def test_slots_that_are_times_are_normalized_and_none_is_lost(stack, scratch, migrated):
    migrated("down")
    before = ["9:00", "09:00", "09:00 (2)", "8:30", "morning", "9:00 am", None, "10:00", "9:99"]
    with stack.primary.connect(scratch) as connection:
        for slot in before:
            connection.execute(INSERT, (ORGANIZATION, slot, "scheduled"))
        connection.execute(INSERT, (ORGANIZATION, "7:00", "cancelled"))
        connection.execute(INSERT, (ORGANIZATION, "07:00", "scheduled"))
        connection.execute(INSERT, (OTHER, "9:00", "open"))

    migrated("up")

    with stack.primary.connect(scratch) as connection:
        after = [
            "09:00 (3)",
            "09:00",
            "09:00 (2)",
            "08:30",
            "morning",
            "9:00 am",
            None,
            "10:00",
            "9:99",
            "07:00",
            "07:00",
        ]
        assert [slot for slot, _ in slots(connection)] == after
        assert slots(connection, OTHER) == [("09:00", "open")]
        versions = (
            "SELECT slot, version FROM attendance_sessions WHERE organization_id = %s AND version > 1 ORDER BY id"
        )
        assert connection.execute(versions, [ORGANIZATION]).fetchall() == [("09:00 (3)", 2), ("08:30", 2), ("07:00", 2)]


def test_downgrading_preserves_cancelled_sessions_beside_another_in_their_slot(stack, scratch, migrated):
    migrated("down")
    migrated("up")
    with stack.primary.connect(scratch) as connection:
        for slot in ("09:00", None, "x" * 40):
            for status in ("cancelled", "scheduled", "cancelled"):
                connection.execute(INSERT, (ORGANIZATION, slot, status))
        connection.execute(INSERT, (ORGANIZATION, "10:00", "cancelled"))

    migrated("down")

    with stack.primary.connect(scratch) as connection:
        found = slots(connection)
        assert [slot for slot, status in found if status == "scheduled"] == ["09:00", None, "x" * 40]
        cancelled = [slot for slot, status in found if status == "cancelled"]
        assert cancelled == ["09:00 (2)", "09:00 (3)", "(2)", "(3)", "x" * 30 + " (2)", "x" * 30 + " (3)", "10:00"]
    migrated("up")
