"""Rows from before names had search keys, after the migration."""

import flask_migrate

from campshub.app import create_app
from campshub.core.db.models import new_id
from tests.conftest import ROOT, close, settings_of

BEFORE = "0028"


STUDENT = """
INSERT INTO students (organization_id, id, code, given_name, family_name, preferred_name, sort_name, search_text,
                      emergency_contacts, guardians, tags)
VALUES (%s, uuidv7(), %s, %s, %s, %s, 'old', 'old', '[]', '[]', '{}')
"""
GROUP = "INSERT INTO groups (organization_id, id, code, name, kind) VALUES (%s, uuidv7(), 'G', 'École', 'class')"
EXERCISE = """
INSERT INTO exercises (organization_id, id, name, sort_name, search_text, aliases, equipment, load_mode, side, metrics,
                       deleted_at)
VALUES (%s, uuidv7(), %s, %s, 'old', '{Wade}', 'other', 'external', 'both', '{reps}', %s)
"""
EXERCISES = """
SELECT name, sort_name, search_text, deleted_at IS NOT NULL, count(*) FROM exercises
 WHERE organization_id = ANY(%s) GROUP BY 1, 2, 3, 4 ORDER BY 1
"""


def fill(connection, organization):
    connection.execute(
        "INSERT INTO organizations (id, name, time_zone, currency, locale) VALUES (%s, 'x', 'UTC', 'EUR', 'en')",
        [organization],
    )
    for number, names in enumerate((("Elif", "Y\u0131ld\u0131z", None), ("Al", "Łoś", "Æsa"))):
        connection.execute(STUDENT, [organization, f"S-{number}", *names])
    connection.execute(GROUP, [organization])
    for name, deleted in (("Łydka", None), ("Lydka", None), ("lydka (2)", None), ("Łýdka", "2026-01-01")):
        connection.execute(EXERCISE, [organization, name, name, deleted])


def test_existing_names_get_their_keys_and_no_exercise_is_lost(stack, scratch):
    app = create_app(settings_of(stack, scratch, postgres_replica_host=""))
    organizations = [new_id(), new_id()]
    with app.app_context():
        flask_migrate.downgrade(directory=str(ROOT / "migrations"), revision=BEFORE)
    with stack.primary.connect(scratch) as connection:
        for organization in organizations:
            fill(connection, organization)
        connection.execute("INSERT INTO users (id, email, email_key, name) VALUES (uuidv7(), 'x', 'x', 'Ágota')")

        with app.app_context():
            flask_migrate.upgrade(directory=str(ROOT / "migrations"))

        def found(statement, *parameters):
            return connection.execute(statement, parameters).fetchall()

        assert found("SELECT sort_name, search_text, count(*) FROM students GROUP BY 1, 2 ORDER BY 1") == [
            ("los al", " s-1 al los aesa", 2),
            ("yildiz elif", " s-0 elif yildiz", 2),
        ]
        assert found("SELECT DISTINCT sort_name, search_text FROM groups") == [("ecole", "g ecole")]
        assert found("SELECT sort_name FROM users") == [("agota",)]
        assert found(EXERCISES, organizations) == [
            ("Lydka (2)", "lydka (2)", "lydka (2) wade", False, 2),
            ("lydka (2) (2)", "lydka (2) (2)", "lydka (2) (2) wade", False, 2),
            ("Łydka", "lydka", "lydka wade", False, 2),
            ("Łýdka", "lydka", "lydka wade", True, 2),
        ]
    close(app)
