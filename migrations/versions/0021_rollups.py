"""Rollups: attendance by group and day, by student and month; training by student, exercise and week.

What is there already is counted by `flask rollups rebuild`.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

COUNTS = ("present", "late", "left_early", "absent", "excused", "rated", "attended")
# Figures are changed in place, and notes come and go.
ROOM = "fillfactor = 80"
SWEPT = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000"
ROLLUPS = ("attendance_group_days", "attendance_student_months", "workout_weeks")

NOTE = """
BEGIN
  IF TG_OP = 'INSERT' THEN
    {added}
  ELSIF TG_OP = 'DELETE' THEN
    {removed}
  ELSE
    {changed}
  END IF;
  RETURN NULL;
END
"""
# Of an update, only the rows of which something has changed that is counted, as they were and as they are.
CHANGED = """
WITH changed AS MATERIALIZED (
  (SELECT {columns} FROM removed EXCEPT SELECT {columns} FROM added)
  UNION ALL (SELECT {columns} FROM added EXCEPT SELECT {columns} FROM removed))
"""
DAYS = """
INSERT INTO attendance_group_days_stale (organization_id, local_date, group_id)
SELECT DISTINCT organization_id, local_date, coalesce(group_id, '00000000-0000-0000-0000-000000000000') FROM {rows}
"""
MONTHS = """
INSERT INTO {table}_stale (organization_id, student_id, month)
SELECT DISTINCT organization_id, student_id, date_trunc('month', local_date::timestamp)::date FROM {rows}
"""
OF_MARKS = "organization_id, local_date, id, student_id, group_id, counts_as, in_rate, minutes"
OF_SETS = (
    "organization_id, local_date, id, log_id, student_id, exercise_owner_id, exercise_id, type, reps, load_grams,"
    " deleted_at IS NULL"
)
OF_LOGS = "organization_id, local_date, id, student_id, deleted_at IS NULL"


def notes(statements: list[str], columns: str) -> str:
    """Return what a trigger does: one statement after the other, those of an update with its changed rows."""
    parts = {rows: "; ".join(one.format(rows=rows) for one in statements) + ";" for rows in ("added", "removed")}
    *first, last = (one.format(rows="changed") for one in statements)
    beside = "".join(f", noted_{number} AS ({one})" for number, one in enumerate(first))
    changed = f"{CHANGED.format(columns=columns)}{beside} {last};"
    return NOTE.format(**parts, changed=changed)


def identity() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def uuids(*names: str) -> list[sa.Column]:
    return [sa.Column(name, sa.Uuid(), nullable=False) for name in names]


def whole(*names: str, kind=sa.Integer, nullable: bool = False) -> list[sa.Column]:
    return [sa.Column(name, kind(), nullable=nullable) for name in names]


def day(name: str) -> sa.Column:
    return sa.Column(name, sa.Date(), nullable=False)


def make(table: str, columns: list[sa.Column], key: tuple[str, ...]) -> None:
    primary = sa.PrimaryKeyConstraint("organization_id", *key, name=op.f(f"pk_{table}"))
    op.create_table(table, *columns, primary)


def attendance() -> None:
    counts = [*whole(*COUNTS), *whole("minutes", kind=sa.BigInteger)]
    make(
        "attendance_group_days",
        [*uuids("organization_id"), day("local_date"), *uuids("group_id"), *counts],
        ("local_date", "group_id"),
    )
    op.create_index(
        op.f("ix_attendance_group_days_group_id_local_date"),
        "attendance_group_days",
        ["organization_id", "group_id", "local_date"],
    )
    make(
        "attendance_group_days_stale",
        [*uuids("organization_id"), day("local_date"), *uuids("group_id"), identity()],
        ("local_date", "id"),
    )
    counts = [*whole(*COUNTS), *whole("minutes", kind=sa.BigInteger)]
    make(
        "attendance_student_months",
        [*uuids("organization_id", "student_id"), day("month"), *uuids("group_id"), *counts],
        ("student_id", "month", "group_id"),
    )
    by_month("attendance_student_months_stale")


def by_month(table: str) -> None:
    make(table, [*uuids("organization_id", "student_id"), day("month"), identity()], ("student_id", "month", "id"))


def workouts() -> None:
    make(
        "workout_weeks",
        [
            *uuids("organization_id", "student_id"),
            day("week"),
            *uuids("exercise_owner_id", "exercise_id"),
            day("month"),
            *whole("sets", "working_sets"),
            *whole("reps", "volume_grams", kind=sa.BigInteger),
            *whole("heaviest_grams", "most_reps", nullable=True),
            *whole("best_1rm_grams", "best_load_grams", "best_reps", kind=sa.BigInteger, nullable=True),
        ],
        ("student_id", "week", "exercise_owner_id", "exercise_id", "month"),
    )
    for columns in (["week", "student_id", "exercise_id"], ["exercise_id", "week"]):
        op.create_index(
            op.f(f"ix_workout_weeks_{'_'.join(columns)}"), "workout_weeks", ["organization_id", *columns]
        )
    by_month("workout_weeks_stale")


def upgrade() -> None:
    attendance()
    workouts()
    for table in ROLLUPS:
        op.execute(f"ALTER TABLE {table} SET ({ROOM})")
        op.execute(f"ALTER TABLE {table}_stale SET ({SWEPT})")
        for one in (table, f"{table}_stale"):  # figures and notes are written by jobs, and by triggers
            ddl.tenant_table(one, app="SELECT")
        op.execute(f"GRANT INSERT ON {table}_stale TO campshub_definer")
    of_students = MONTHS.replace("{table}", "attendance_student_months")
    ddl.trigger_function("note_attendance_records", notes([DAYS, of_students], OF_MARKS))
    for table, columns in (("workout_sets", OF_SETS), ("workout_logs", OF_LOGS)):
        ddl.trigger_function(f"note_{table}", notes([MONTHS.replace("{table}", "workout_weeks")], columns))
    for table in ("attendance_records", "workout_sets", "workout_logs"):
        ddl.after_each_statement(table, f"note_{table}")


def downgrade() -> None:
    for table in ("attendance_records", "workout_sets", "workout_logs"):
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER note_{table}_{event} ON {table}")
        op.execute(f"DROP FUNCTION note_{table}()")
    for table in ROLLUPS:
        op.drop_table(f"{table}_stale")
        op.drop_table(table)
