"""Large amounts of data, by COPY and by PostgreSQL itself: many organizations, 100,000s of students, years of marks.

``make`` fills a migrated database once; ``made`` finds the existing data. All measurements use the same data.
"""

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups
from campshub.students import names

READY = "large_is_ready"
MEMBERS = 100  # of each group; the first of an organization has ten times as many
LARGE_GROUP = 1_000
TRAINED = 10  # groups of the first trainer; the second trains all
SETS_OF_A_LOG = 10
MONTHLY = ("attendance_records", "workout_logs", "workout_log_exercises", "workout_sets")
TEMPORARY = ("wanted", "numbered", "places", "trained", "placed")
TAGS = {"scholar": 10, "team": 100, "rare": 5_000}  # which student, counted, has it
FILLED = (
    "students",
    "groups",
    "group_trainers",
    "enrolments",
    "attendance_sessions",
    "workout_log_ids",
    *MONTHLY,
)


@dataclass(frozen=True)
class Scale:
    """The amount of data.

    :param organizations: number of organizations.
    :param students: number of students of all organizations together.
    :param largest: number of students of the first one; the others share the remaining students.
    :param records: approximate number of attendance records.
    :param months: how far back they reach.
    :param sets: approximate number of sets, ten in a log.
    :param share: the first organization's share of records and sets.
    """

    organizations: int = 20
    students: int = 1_000_000
    largest: int = 100_000
    records: int = 5_000_000
    months: int = 24
    sets: int = 1_000_000
    share: float = 0.8


@dataclass(frozen=True)
class Made:
    """What was created: the first organization, and some of its users and rows."""

    organization_id: uuid.UUID
    trainer_id: uuid.UUID  # of a few groups
    head_trainer_id: uuid.UUID  # of all
    client_id: uuid.UUID
    student_id: uuid.UUID  # the client
    group_id: uuid.UUID
    large_group_id: uuid.UUID
    session_id: uuid.UUID  # the latest of the large group
    exercise_id: uuid.UUID
    log_id: uuid.UUID
    first: date
    last: date


def made(connection: psycopg.Connection[Any], scale: Scale) -> Made | None:
    """Return what a database has been filled with; None if it is empty or has another scale."""
    if connection.execute("SELECT to_regclass(%s)", (READY,)).fetchone() == (None,):
        return None
    row = connection.execute(f"SELECT scale, made FROM {READY}").fetchone()
    if row is None or row[0] != asdict(scale):
        return None
    dates = {name: date.fromisoformat(row[1].pop(name)) for name in ("first", "last")}
    return Made(**{name: uuid.UUID(value) for name, value in row[1].items()}, **dates)


def make(connection: psycopg.Connection[Any], scale: Scale) -> Made:
    """Fill an empty migrated database; the connection is a superuser's, in autocommit mode."""
    today = datetime.now(UTC).date()
    first = (today - timedelta(days=30 * scale.months)).replace(day=1)
    with connection.transaction():
        # Foreign keys are correct by construction; checking each would take most of the time.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL ROLE campshub_owner")
        for table in MONTHLY:
            connection.execute("SELECT ensure_partitions(%s::regclass, %s, %s)", (table, first, today))
        connection.execute("RESET ROLE")
        with _without_indexes(connection):
            _organizations(connection, scale)
            _students(connection, random.Random(1))
            _groups(connection, first)
            _attendance(connection, scale, first, today)
            _workouts(connection, scale, first, today)
        found = _found(connection, first, today)
        connection.execute(f"DROP TABLE IF EXISTS {READY}")
        connection.execute(f"CREATE TABLE {READY} (scale jsonb, made jsonb)")
        content = json.dumps({name: str(value) for name, value in asdict(found).items()})
        connection.execute(f"INSERT INTO {READY} VALUES (%s, %s)", (json.dumps(asdict(scale)), content))
        for table in TEMPORARY:
            connection.execute(f"DROP TABLE {table}")
    connection.execute("VACUUM ANALYZE")
    return found


def refresh_rollups(connection: psycopg.Connection[Any], app: Any) -> None:
    """Let the application compute its rollups, unless that is done: the rows created here are not recorded as stale."""
    tables = [f"SELECT 1 FROM {name}" for name in rollups()]
    if connection.execute(" UNION ALL ".join(tables) + " LIMIT 1").fetchone():
        return
    with app.app_context():
        with unit_of_work(system=True, read_only=True) as session:
            steps = refresh.steps(session, organization_id=None, first_date=None, last_date=None)
        for step in steps:
            with unit_of_work(system=True) as session:
                refresh.rebuild(session, rollups()[step.rollup], step.organization_id, step.month)
    connection.execute(f"VACUUM ANALYZE {', '.join(rollups())}")


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Drop the indexes without a constraint while the tables are filled: building them afterwards is faster."""
    rows = connection.execute(
        """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
         WHERE i.indrelid = ANY(%s::regclass[]) AND NOT i.indisunique AND NOT i.indisexclusion
        """,
        (list(FILLED),),
    ).fetchall()
    for name, _ in rows:
        connection.execute(f"DROP INDEX {name}")
    yield
    connection.execute("SET LOCAL ROLE campshub_owner")
    for _, definition in rows:
        connection.execute(definition.replace(" ON ONLY ", " ON "))
    connection.execute("RESET ROLE")


def _organizations(connection: psycopg.Connection[Any], scale: Scale) -> None:
    """Create the organizations, each with two trainers and a client, and store how much data each is to have."""
    connection.execute(
        "CREATE TEMP TABLE wanted (organization_id uuid, number int, students int, share float,"
        " trainer_id uuid, head_trainer_id uuid, client_id uuid)"
    )
    others = max(1, scale.organizations - 1)
    for number in range(scale.organizations):
        students = scale.largest if number == 0 else (scale.students - scale.largest) // others
        share = scale.share if number == 0 else (1 - scale.share) / others
        ids = [new_id() for _ in range(4)]
        row = (ids[0], number, students, share, *ids[1:])
        connection.execute("INSERT INTO wanted VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
    connection.execute(
        """
        INSERT INTO organizations (id, name, status, time_zone, currency, locale)
        SELECT organization_id, 'Camp ' || number, 'active', 'Asia/Kolkata', 'INR', 'en' FROM wanted
        """
    )
    for column, role in (("trainer_id", "trainer"), ("head_trainer_id", "trainer"), ("client_id", "client")):
        connection.execute(
            f"""
            INSERT INTO users (id, email, email_key, name, sort_name, status)
            SELECT {column}, mail, mail, 'A {role}', 'a {role}', 'active'
              FROM wanted, LATERAL (SELECT {column} || '@example.org' AS mail) AS m
            """
        )
        connection.execute(
            f"""
            INSERT INTO memberships (organization_id, id, user_id, role, status)
            SELECT organization_id, uuidv7(), {column}, %s, 'active' FROM wanted
            """,
            (role,),
        )


def _students(connection: psycopg.Connection[Any], rng: random.Random) -> None:
    """Copy the students in; names have two and three syllables."""
    wanted = connection.execute("SELECT organization_id, students, client_id FROM wanted ORDER BY number").fetchall()
    today = datetime.now(UTC).date()
    with connection.cursor().copy(
        "COPY students (organization_id, id, code, external_id, user_id, given_name, family_name, sort_name,"
        " search_text, emergency_contacts, tags, status, joined_on, deleted_at) FROM STDIN"
    ) as copy:
        for organization_id, students, client_id in wanted:
            for number in range(students):
                given_name, family, code = _name(rng, 2), _name(rng, 3), f"S-{number:06}"
                copy.write_row(
                    (
                        organization_id,
                        new_id(),
                        code,
                        f"x{number}" if number % 2 else None,
                        client_id if number == 0 else None,
                        given_name,
                        family,
                        names.sort_name(given_name, family),
                        names.search_text(code, given_name, family, None),
                        "[]",
                        [
                            tag
                            for tag, every in (("scholar", 10), ("team", 100), ("rare", 5_000))
                            if number % every == 0
                        ],
                        "alumni" if number % 20 == 19 else "lead" if number % 500 == 17 else "active",
                        today - timedelta(days=rng.randrange(1_200)),
                        datetime.now(UTC) if number % 200 == 77 else None,
                    )
                )


def _name(rng: random.Random, syllables: int) -> str:
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(syllables)).capitalize() + (
        rng.choice(("", "n", "r", "s", "l"))
    )


def _groups(connection: psycopg.Connection[Any], first: date) -> None:
    """Create a group for each hundred students and one for a thousand; its trainers; its enrolments."""
    connection.execute(
        """
        CREATE TEMP TABLE numbered AS
        SELECT w.organization_id, g AS number, uuidv7() AS group_id
          FROM wanted w, generate_series(0, greatest(1, w.students / %s)) AS g
        """,
        (MEMBERS,),
    )
    connection.execute(
        """
        INSERT INTO groups (organization_id, id, code, name, sort_name, search_text, kind, status)
        SELECT organization_id, group_id, 'G-' || number, 'Group ' || number, 'group ' || number,
               'g-' || number || ' group ' || number,
               (ARRAY['class', 'batch', 'camp', 'course'])[1 + number % 4],
               CASE WHEN number % 50 = 49 THEN 'archived' ELSE 'active' END
          FROM numbered
        """
    )
    connection.execute(
        """
        INSERT INTO group_trainers (organization_id, id, group_id, user_id)
        SELECT n.organization_id, uuidv7(), n.group_id, w.head_trainer_id FROM numbered n JOIN wanted w
         USING (organization_id)
        UNION ALL
        SELECT n.organization_id, uuidv7(), n.group_id, w.trainer_id FROM numbered n JOIN wanted w
         USING (organization_id) WHERE n.number BETWEEN 1 AND %s
        """,
        (TRAINED,),
    )
    connection.execute(
        """
        CREATE TEMP TABLE places AS
        SELECT s.organization_id, s.id AS student_id, right(s.code, 6)::int AS number, s.deleted_at
          FROM students s JOIN wanted USING (organization_id)
        """
    )
    connection.execute(
        """
        INSERT INTO enrolments (organization_id, id, student_id, group_id, begins_on, ends_on, status)
        SELECT p.organization_id, uuidv7(), p.student_id, n.group_id, %(first)s::date + p.number %% 100,
               CASE WHEN p.number %% 25 = 3 THEN current_date - 40 END,
               CASE WHEN p.number %% 25 = 3 THEN 'withdrawn' ELSE 'active' END
          FROM places p JOIN wanted w USING (organization_id)
          JOIN numbered n ON n.organization_id = p.organization_id
                         AND n.number = 1 + p.number %% greatest(1, w.students / %(members)s)
        UNION ALL
        SELECT p.organization_id, uuidv7(), p.student_id, n.group_id, %(first)s::date, NULL, 'active'
          FROM places p JOIN numbered n ON n.organization_id = p.organization_id AND n.number = 0
         WHERE p.number < %(large)s AND p.deleted_at IS NULL
        """,
        {"first": first, "members": MEMBERS, "large": LARGE_GROUP},
    )


def _attendance(connection: psycopg.Connection[Any], scale: Scale, first: date, today: date) -> None:
    """Create sessions evenly over the days, today's last, and a record in each for each member of its group."""
    connection.execute(
        """
        INSERT INTO attendance_sessions (organization_id, id, group_id, local_date, slot, status, submitted_at)
        SELECT n.organization_id, uuidv7(), n.group_id, %(today)s::date - (turn * %(days)s / turns)::int,
               lpad((turn %% 24)::text, 2, '0') || ':00-' || turn, 'submitted', now()
          FROM wanted w
          CROSS JOIN LATERAL (SELECT greatest(1, (%(records)s * w.share / %(members)s)::int) AS turns) AS t
          CROSS JOIN LATERAL generate_series(0, t.turns - 1) AS turn
          JOIN numbered n ON n.organization_id = w.organization_id
                         AND n.number = turn %% (1 + greatest(1, w.students / %(members)s))
        """,
        {"today": today, "days": (today - first).days, "records": scale.records, "members": MEMBERS},
    )
    connection.execute(
        """
        INSERT INTO attendance_records (organization_id, local_date, id, session_id, student_id, group_id, code,
                                        counts_as, in_rate, source)
        SELECT s.organization_id, s.local_date, uuidv7(), s.id, e.student_id, s.group_id, k, k, k <> 'excused', 'bulk'
          FROM attendance_sessions s
          JOIN wanted w USING (organization_id)
          JOIN enrolments e ON e.organization_id = s.organization_id AND e.group_id = s.group_id
          CROSS JOIN LATERAL (SELECT (get_byte(uuid_send(e.student_id), 15) + get_byte(uuid_send(s.id), 15)) % 25 AS d)
          CROSS JOIN LATERAL (SELECT CASE d WHEN 0 THEN 'absent' WHEN 1 THEN 'late' WHEN 2 THEN 'excused'
                                     ELSE 'present' END AS k)
        """
    )


def _workouts(connection: psycopg.Connection[Any], scale: Scale, first: date, today: date) -> None:
    """Create logs of two exercises and ten sets for one student in a hundred, evenly over the days."""
    exercises = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM exercises WHERE organization_id = %s ORDER BY id LIMIT 20", (PLATFORM_ID,)
        ).fetchall()
    ]
    connection.execute(
        """
        CREATE TEMP TABLE trained AS
        SELECT w.organization_id, uuidv7() AS log_id, p.student_id, turn,
               %(today)s::date - (turn * %(days)s / turns)::int AS local_date
          FROM wanted w
          CROSS JOIN LATERAL (SELECT greatest(1, (%(sets)s * w.share / %(each)s)::int) AS turns) AS t
          CROSS JOIN LATERAL generate_series(0, t.turns - 1) AS turn
          JOIN places p ON p.organization_id = w.organization_id
                       AND p.number = (turn %% greatest(1, w.students / 100)) * 100
        """,
        {"today": today, "days": (today - first).days, "sets": scale.sets, "each": SETS_OF_A_LOG},
    )
    connection.execute(
        """
        INSERT INTO workout_log_ids (organization_id, id, local_date, student_id, source)
        SELECT organization_id, log_id, local_date, student_id, 'app' FROM trained
        """
    )
    connection.execute(
        """
        INSERT INTO workout_logs (organization_id, local_date, id, student_id, started_at, time_zone, title, source)
        SELECT organization_id, local_date, log_id, student_id, local_date + time '06:00', 'Asia/Kolkata', 'Legs', 'app'
          FROM trained
        """
    )
    connection.execute(
        """
        CREATE TEMP TABLE placed AS
        SELECT t.*, uuidv7() AS id, position, (%(exercises)s::uuid[])[1 + (turn + 7 * position) %% 20] AS exercise_id
          FROM trained t, generate_series(1, 2) AS position
        """,
        {"exercises": exercises},
    )
    connection.execute(
        """
        INSERT INTO workout_log_exercises (organization_id, local_date, id, log_id, student_id, exercise_owner_id,
                                           exercise_id, position)
        SELECT organization_id, local_date, id, log_id, student_id, %s, exercise_id, position FROM placed
        """,
        (PLATFORM_ID,),
    )
    connection.execute(
        """
        INSERT INTO workout_sets (organization_id, local_date, id, log_id, log_exercise_id, student_id,
                                  exercise_owner_id, exercise_id, position, reps, load, load_unit, load_grams)
        SELECT organization_id, local_date, uuidv7(), log_id, id, student_id, %s, exercise_id, n, 5, '60', 'kg', 60000
          FROM placed, generate_series(1, %s) AS n
        """,
        (PLATFORM_ID, SETS_OF_A_LOG // 2),
    )


def _found(connection: psycopg.Connection[Any], first: date, last: date) -> Made:
    """Look up in the first organization what reads will name."""
    row = connection.execute(
        """
        SELECT w.organization_id, w.trainer_id, w.head_trainer_id, w.client_id,
               (SELECT student_id FROM places p WHERE p.organization_id = w.organization_id AND p.number = 0),
               (SELECT group_id FROM numbered n WHERE n.organization_id = w.organization_id AND n.number = 1),
               (SELECT group_id FROM numbered n WHERE n.organization_id = w.organization_id AND n.number = 0),
               (SELECT s.id FROM attendance_sessions s JOIN numbered n USING (organization_id, group_id)
                 WHERE s.organization_id = w.organization_id AND n.number = 0
                 ORDER BY s.local_date DESC, s.id LIMIT 1),
               (SELECT exercise_id FROM placed LIMIT 1),
               (SELECT log_id FROM trained t WHERE t.organization_id = w.organization_id ORDER BY turn LIMIT 1)
          FROM wanted w WHERE w.number = 0
        """
    ).fetchone()
    if row is None:
        raise RuntimeError("nothing was made")
    return Made(*row, first=first, last=last)
