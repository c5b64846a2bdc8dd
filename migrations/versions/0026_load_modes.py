"""Weeks of training store their figures for every load mode, and count performed work only.

The months whose rows are in the database are noted as stale, so that reads count them at once and the worker writes
them; archived months keep the figures that they have.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

NEW = (
    *("total_1rm_grams", "total_body_grams", "total_load_grams", "total_reps"),
    *("least_grams", "least_reps"),
)
# What is counted, of sets and of logs: before this revision, and from it on.
OF_SETS = (
    "organization_id, local_date, id, log_id, student_id, exercise_owner_id, exercise_id, type, reps, load_grams,"
    " deleted_at IS NULL"
)
OF_LOGS = "organization_id, local_date, id, student_id, deleted_at IS NULL"
BEFORE = {"workout_sets": OF_SETS, "workout_logs": OF_LOGS}
AFTER = {"workout_sets": f"{OF_SETS}, seconds, metres", "workout_logs": f"{OF_LOGS}, body_weight_grams"}

NOTED = """
INSERT INTO workout_weeks_stale (organization_id, student_id, month)
SELECT DISTINCT organization_id, student_id, date_trunc('month', local_date::timestamp)::date FROM {rows}
"""
NOTE = f"""
BEGIN
  IF TG_OP = 'INSERT' THEN
    {NOTED.format(rows="added")};
  ELSIF TG_OP = 'DELETE' THEN
    {NOTED.format(rows="removed")};
  ELSE
    WITH changed AS MATERIALIZED (
      (SELECT {{columns}} FROM removed EXCEPT SELECT {{columns}} FROM added)
      UNION ALL (SELECT {{columns}} FROM added EXCEPT SELECT {{columns}} FROM removed))
    {NOTED.format(rows="changed")};
  END IF;
  RETURN NULL;
END
"""
# A month whose rows lie in the archive cannot be counted; a note would hide its figures.
STALE = """
INSERT INTO workout_weeks_stale (organization_id, student_id, month)
SELECT DISTINCT organization_id, student_id, month FROM workout_weeks
 WHERE 2 = (SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid
             WHERE relname IN ('workout_sets_p' || to_char(month, 'YYYY_MM'),
                               'workout_logs_p' || to_char(month, 'YYYY_MM')))
"""


def count_again(columns: dict[str, str]) -> None:
    """Let the triggers watch the columns that are counted, and note every month as stale."""
    for table, counted in columns.items():
        ddl.trigger_function(f"note_{table}", NOTE.format(columns=counted))
    op.execute("SET ROLE campshub_backfill")
    op.execute(STALE)
    op.execute("SET ROLE campshub_owner")


def upgrade() -> None:
    for name in NEW:
        op.add_column("workout_weeks", sa.Column(name, sa.BigInteger(), nullable=True))
    count_again(AFTER)


def downgrade() -> None:
    for name in NEW:
        op.drop_column("workout_weeks", name)
    count_again(BEFORE)
