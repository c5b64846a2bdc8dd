"""Enrolments from before end dates were required, migrated up and down."""

from datetime import date

import flask_migrate
import pytest
from alembic.script import ScriptDirectory

from campshub.app import create_app
from campshub.core.db.models import new_id
from tests.conftest import ROOT, settings_of


@pytest.fixture
def database(stack, scratch):
    """A separate database; functions to run statements in it as its superuser, and to migrate it to a revision."""
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    (ours,) = (s for s in scripts.walk_revisions() if s.path.endswith("_enrolment_ends.py"))
    folder = str(ROOT / "migrations")

    def run(statement, *parameters):
        with stack.primary.connect(scratch) as connection:
            return connection.execute(statement, parameters).fetchall()

    def to(revision):
        with create_app(settings_of(stack, scratch)).app_context():
            if revision == "before":
                flask_migrate.downgrade(directory=folder, revision=ours.down_revision)
            else:
                flask_migrate.upgrade(directory=folder, revision="head")

    return run, to


def rows(run, group):
    found = run("SELECT id, status, begins_on, ends_on FROM enrolments WHERE group_id = %s", group)
    return {row[0]: row[1:] for row in found}


def test_rows_survive_both_directions_with_consistent_status_and_dates(database):
    run, to = database
    to("before")
    organization, group = new_id(), new_id()
    run(
        "INSERT INTO organizations (id, name, time_zone, currency, locale)"
        " VALUES (%s, 'Camp', 'Pacific/Kiritimati', 'USD', 'en') RETURNING id",
        organization,
    )
    run(
        "INSERT INTO groups (organization_id, id, code, name, kind) VALUES (%s, %s, 'G', 'G', 'class') RETURNING id",
        *(organization, group),
    )

    def student():
        made = new_id()
        run(
            "INSERT INTO students (organization_id, id, code, given_name, family_name, sort_name, search_text,"
            " emergency_contacts, guardians, tags) VALUES (%s, %s, %s, 'A', 'B', 'b a', 'a b', '[]', '[]', '{}')"
            " RETURNING id",
            *(organization, made, made.hex),
        )
        return made

    def enrolment(of, status, begins_on, ends_on):
        made = new_id()
        run(
            "INSERT INTO enrolments (organization_id, id, student_id, group_id, status, begins_on, ends_on, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, '2026-05-09T12:00Z') RETURNING id",
            *(organization, made, of, group, status, begins_on, ends_on),
        )
        return made

    withdrawn = enrolment(student(), "withdrawn", date(2026, 1, 10), None)
    completed = enrolment(student(), "completed", date(2026, 1, 10), None)
    early = enrolment(student(), "withdrawn", date(2026, 9, 1), None)
    odd = enrolment(student(), "completed", date(2026, 9, 1), None)
    active = enrolment(student(), "active", date(2026, 1, 10), None)
    ended = enrolment(student(), "withdrawn", date(2026, 1, 10), date(2026, 3, 1))
    someone = student()

    to("head")
    assert rows(run, group) == {
        withdrawn: ("withdrawn", date(2026, 1, 10), date(2026, 5, 10)),  # noon in UTC is the next day in Kiritimati
        completed: ("completed", date(2026, 1, 10), date(2026, 5, 10)),
        early: ("withdrawn", date(2026, 9, 1), date(2026, 5, 10)),
        odd: ("completed", date(2026, 9, 1), date(2026, 9, 1)),
        active: ("active", date(2026, 1, 10), None),
        ended: ("withdrawn", date(2026, 1, 10), date(2026, 3, 1)),
    }

    long = enrolment(someone, "completed", date(2026, 1, 1), date(2026, 2, 1))
    second = enrolment(someone, "completed", date(2026, 2, 1), date(2026, 2, 1))
    third = enrolment(someone, "active", date(2026, 2, 1), None)
    to("before")
    back = rows(run, group)
    assert back[early] == ("withdrawn", date(2026, 9, 1), date(2026, 9, 1))
    assert back[long] == ("completed", date(2026, 1, 1), date(2026, 1, 31))
    assert back[second] == ("withdrawn", date(2026, 2, 1), date(2026, 2, 1))
    assert back[third] == ("active", date(2026, 2, 1), None)
    assert len(back) == 9
    to("head")
    assert rows(run, group) == back
