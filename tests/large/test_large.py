"""What shows only with much data: 100,000 students and 5 million records in one organization (`make test-large`).

The data is made once and kept in `.devstack/large`; `make clean` removes it.
"""

import json
import os
import random
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from campshub.app import create_app
from campshub.core.db.base import new_id
from campshub.core.db.bulk import copy_rows
from campshub.core.db.work import unit_of_work
from campshub.core.security.permissions import Role
from campshub.students import names
from campshub.students.models import Student
from devstack.stack import Stack
from tests.conftest import ROOT, close, migrate, new_place, settings_of

pytestmark = pytest.mark.large

DATABASE = "campshub_large"
STUDENTS = int(os.environ.get("LARGE_STUDENTS", "100000"))
RECORDS = int(os.environ.get("LARGE_RECORDS", "5000000"))
MEMBERS = 10_000  # of one group; each of its sessions has a record for each of them
TYPED = 100
DONE = "large_is_ready"


@pytest.fixture(scope="session")
def large():
    """A stack of its own with the data in it; yields the application and the organization."""
    stack = Stack(Path(os.environ.get("LARGE_STACK_DIR", ROOT / ".devstack" / "large")), replica=False, durable=False)
    stack.start_data()
    try:
        stack.create_database(DATABASE)
        settings = settings_of(stack, DATABASE)
        migrate(settings)
        app = create_app(settings)
        place = _made(stack) or _make(stack, app)
        organization = new_place(app)
        organization.id = uuid.UUID(place)
        yield stack, organization
        close(app)
    finally:
        stack.stop()


def _made(stack: Stack) -> str | None:
    with stack.primary.connect(DATABASE) as connection:
        if connection.execute("SELECT to_regclass(%s)", (DONE,)).fetchone()[0] is None:
            return None
        found = connection.execute(f"SELECT organization_id, students, records FROM {DONE}").fetchone()
        return str(found[0]) if found and (found[1], found[2]) == (STUDENTS, RECORDS) else None


def _make(stack: Stack, app) -> str:
    place = new_place(app)
    dice = random.Random(1)
    ids = [new_id() for _ in range(STUDENTS)]
    columns = ("organization_id", "id", "code", "given_name", "family_name", "sort_name", "search_text")
    columns += ("emergency_contacts", "guardians", "tags", "status")
    with app.app_context(), unit_of_work(system=True, organization_id=place.id) as session:
        session.connection()
        copy_rows(session, Student, columns, _students(place.id, ids, dice))
    _records(stack, place.id)
    with stack.primary.connect(DATABASE) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {DONE}")
        connection.execute(f"CREATE TABLE {DONE} (organization_id uuid, students bigint, records bigint)")
        connection.execute(f"INSERT INTO {DONE} VALUES (%s, %s, %s)", (place.id, STUDENTS, RECORDS))
    with stack.primary.connect(DATABASE) as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
    return str(place.id)


def _students(organization_id, ids, dice):
    for number, student_id in enumerate(ids):
        given, family, code = _name(dice, 2), _name(dice, 3), f"S-{number:06}"
        search = names.search_text(code, given, family, None)
        yield (
            *(organization_id, student_id, code, given, family, names.sort_name(given, family), search),
            *([], [], [], "active"),
        )


def _name(dice: random.Random, syllables: int) -> str:
    return "".join(dice.choice("bcdfghjklmnprstvwz") + dice.choice("aeiou") for _ in range(syllables)).capitalize() + (
        dice.choice(("", "n", "r", "s", "l"))
    )


def _records(stack: Stack, organization_id) -> None:
    """Make sessions backwards from today, a record each for the first students, past the triggers."""
    sessions = max(1, RECORDS // MEMBERS)
    today = datetime.now(UTC).date()
    first = today - timedelta(days=int(sessions * 7 / 5) + 7)
    with stack.primary.connect(DATABASE) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SELECT ensure_partitions('attendance_records', %s, %s)", (first, today))
        connection.execute(
            """
            INSERT INTO attendance_sessions (organization_id, id, local_date, slot, status, submitted_at)
            SELECT %s, uuidv7(), day::date, '09:00', 'submitted', now()
              FROM (SELECT day FROM generate_series(%s::date, %s::date, interval '1 day') AS day
                     WHERE extract(isodow FROM day) < 6 ORDER BY day DESC LIMIT %s) AS days
            """,
            (organization_id, first, today, sessions),
        )
        connection.execute(
            """
            INSERT INTO attendance_records (organization_id, local_date, id, session_id, student_id, code, counts_as,
                                            in_rate, source)
            SELECT m.organization_id, s.local_date, uuidv7(), s.id, m.id, 'present', 'present', true, 'bulk'
              FROM attendance_sessions s,
                   (SELECT organization_id, id FROM students WHERE organization_id = %s ORDER BY code LIMIT %s) AS m
             WHERE s.organization_id = %s
            """,
            (organization_id, MEMBERS, organization_id),
        )


def explained(stack: Stack, organization_id, statement: str, *given) -> str:
    """Return the plan of a statement as the application's role gets it, under the policies."""
    with stack.primary.connect(DATABASE) as connection:
        connection.execute("SET ROLE campshub_app")
        connection.execute("SELECT set_config('app.organization_id', %s, false)", (str(organization_id),))
        rows = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given).fetchone()
        return json.dumps(rows[0])


def typos(dice: random.Random, text: str) -> list[str]:
    """Return a text with one letter wrong, one missing, and two swapped."""
    letters = [i for i, c in enumerate(text) if c.isalpha()]
    wrong, missing = dice.choice(letters), dice.choice(letters)
    swappable = [i for i in letters[:-1] if text[i + 1].isalpha() and text[i] != text[i + 1]]
    swap = dice.choice(swappable)
    return [
        text[:wrong] + dice.choice("bdfgklmnprstvxyz") + text[wrong + 1 :],
        text[:missing] + text[missing + 1 :],
        text[:swap] + text[swap + 1] + text[swap] + text[swap + 2 :],
    ]


def test_a_typo_finds_the_student_among_the_first_ten(large):
    stack, place = large
    api = place.someone(Role.ADMIN)
    dice = random.Random(2)
    with stack.primary.connect(DATABASE) as connection:
        everyone = connection.execute(
            "SELECT id, given_name || ' ' || family_name FROM students WHERE organization_id = %s ORDER BY id",
            (place.id,),
        ).fetchall()
    missed, times = [], []
    for student_id, name in dice.sample(everyone, TYPED):
        for typed in typos(dice, name):
            begun = time.perf_counter()
            answer = api.get("/api/students/", query_string={"q": typed, "limit": 10, "fields": "id"})
            times.append((time.perf_counter() - begun) * 1000)
            if str(student_id) not in {item["id"] for item in answer.json["items"]}:
                missed.append((name, typed))
    print(f"\nsearch among {len(everyone):,}: median {statistics.median(times):.1f} ms, {len(times)} typed")
    assert missed == []


def test_the_search_uses_the_trigram_index(large):
    stack, place = large
    with stack.primary.connect(DATABASE) as connection:
        body = connection.execute("SELECT prosrc FROM pg_proc WHERE proname = 'search_students'").fetchone()[0]
        connection.execute("SELECT set_config('app.organization_id', %s, false)", (str(place.id),))
        connection.execute("SET pg_trgm.word_similarity_threshold = 0.35")
        statement = body.replace("words", "'some nmae'::text").replace("most", "200")
        plan = json.dumps(connection.execute(f"EXPLAIN (FORMAT JSON) {statement}").fetchone()[0])

    assert "ix_students_search" in plan
    assert "Seq Scan" not in plan


def test_a_month_of_records_touches_one_partition(large):
    stack, place = large
    api = place.someone(Role.ADMIN)
    today = datetime.now(UTC).date()
    first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    last = today.replace(day=1) - timedelta(days=1)

    begun = time.perf_counter()
    answer = api.get(f"/api/attendance/records/?from={first}&to={last}&limit=200")
    print(f"\na page of a month of {RECORDS:,}: {(time.perf_counter() - begun) * 1000:.1f} ms")

    assert answer.status == 200
    assert len(answer.json["items"]) == 200
    assert len(answer.asked) == 1
    plan = explained(
        stack,
        place.id,
        "SELECT id FROM attendance_records WHERE organization_id = %s AND local_date BETWEEN %s AND %s"
        " ORDER BY local_date, id LIMIT 201",
        place.id,
        first,
        last,
    )
    touched = {p for p in _partitions(stack) if f'"{p}"' in plan}
    assert touched == {f"attendance_records_p{first:%Y_%m}"}


def _partitions(stack: Stack) -> list[str]:
    with stack.primary.connect(DATABASE) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'attendance_records_p%%' AND relkind = 'r'"
        ).fetchall()
        return [row[0] for row in rows]
