"""Guardians that were entries of their students, after the migration and back."""

import json

import flask_migrate
import pytest
from alembic.script import ScriptDirectory

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.conftest import ROOT, close, new_tenant, settings_of

STUDENT = """
INSERT INTO students (organization_id, id, code, given_name, family_name, sort_name, search_text, emergency_contacts,
                      guardians, tags) VALUES (%s, %s, %s, 'A', 'B', 'b a', 'a b', '[]', %s, '{}')
"""
RAVI = {"name": "Ravi Rao", "phone": "+91 1", "relation": "father"}
SAME = {"name": "ravi  rao", "phone": "0091 1", "email": "ravi@example.org", "relation": ""}
BY_EMAIL = {"name": "Ravi Rao", "email": "Ravi@Example.org"}
NO_CONTACT = {"name": "Ravi Rao"}
OTHER_PHONE = {"name": "Ravi Rao", "phone": "+91 2"}
# The students of one organization, and the number of the person of each entry.
STUDENTS = (
    ([RAVI, NO_CONTACT], [0, 1]),
    ([OTHER_PHONE, SAME, SAME], [2, 0]),
    ([], []),
    ([BY_EMAIL], [0]),
)
LINKS = """
SELECT s.code, l.position, l.guardian_id, l.is_primary, l.relation FROM student_guardians l
  JOIN students s ON s.organization_id = l.organization_id AND s.id = l.student_id
 WHERE l.organization_id = %s ORDER BY 1, 2
"""


@pytest.fixture
def before(stack, scratch):
    """An application whose database is at the revision before guardians; functions to run SQL and to migrate."""
    app = create_app(settings_of(stack, scratch, postgres_replica_host=""))
    folder = str(ROOT / "migrations")
    (ours,) = (s for s in ScriptDirectory(folder).walk_revisions() if s.path.endswith("_guardians.py"))

    def to(revision):
        with app.app_context():
            migrate = flask_migrate.downgrade if revision == "before" else flask_migrate.upgrade
            migrate(directory=folder, revision=ours.down_revision if revision == "before" else "head")

    to("before")
    with stack.primary.connect(scratch) as connection:
        yield app, lambda statement, *values: connection.execute(statement, values), to
    close(app)


def fill(run):
    organization = new_id()
    run(
        "INSERT INTO organizations (id, name, time_zone, currency, locale) VALUES (%s, 'x', 'UTC', 'EUR', 'en')",
        organization,
    )
    for number, (entries, _) in enumerate(STUDENTS):
        run(STUDENT, organization, new_id(), f"S-{number}", json.dumps(entries))
    return organization


def test_each_entry_becomes_a_link_to_one_person_in_the_organization(before):
    _, run, to = before
    organizations = [fill(run), fill(run)]

    to("head")

    people = [{row[2] for row in run(LINKS, one).fetchall()} for one in organizations]
    assert not people[0] & people[1]
    for organization in organizations:
        links = run(LINKS, organization).fetchall()
        numbers: dict = {}
        found = [(code, numbers.setdefault(guardian, len(numbers))) for code, _, guardian, _, _ in links]
        assert found == [(f"S-{n}", person) for n, (_, persons) in enumerate(STUDENTS) for person in persons]
        assert [row[3] for row in links] == [True, False, True, False, True]
        assert [row[4] for row in links] == ["father", None, None, None, None]
    rows = run("SELECT name, phone, email FROM guardians WHERE organization_id = %s ORDER BY id", organizations[0])
    assert rows.fetchall() == [
        ("Ravi Rao", "+91 1", "ravi@example.org"),
        ("Ravi Rao", None, None),
        ("Ravi Rao", "+91 2", None),
    ]


def test_the_entries_come_back_on_the_way_back(before):
    _, run, to = before
    organization = fill(run)
    to("head")

    to("before")

    rows = run("SELECT guardians FROM students WHERE organization_id = %s ORDER BY code", organization).fetchall()
    whole = {"name": "Ravi Rao", "phone": "+91 1", "email": "ravi@example.org"}
    assert [row[0] for row in rows] == [
        [{**whole, "relation": "father"}, NO_CONTACT],
        [OTHER_PHONE, whole],
        [],
        [whole],
    ]


def test_a_migrated_guardian_is_changed_through_the_api(before):
    app, run, to = before
    to("head")
    tenant = new_tenant(app)
    to("before")
    run(STUDENT, tenant.id, new_id(), "S", json.dumps([RAVI]))

    to("head")

    api = tenant.the(Role.ADMIN)
    (found,) = api.get("/api/guardians/?q=ravi&phone=911").json["items"]
    assert api.patch(f"/api/guardians/{found['id']}/", {"email": "r@example.org"}).status == 200
    (student,) = api.get(f"/api/students/?guardian={found['id']}").json["items"]
    assert api.get(f"/api/students/{student['id']}/").json["guardians"][0]["email"] == "r@example.org"
