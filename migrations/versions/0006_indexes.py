"""Indexes for the filters that had none, and what the planner must know of organizations to choose among them.

``CREATE INDEX`` on a partitioned table cannot be concurrent: it locks out the writers of all months while it builds.
It may here, since no installation has data yet and the months are empty. The next one makes it on the parent alone
(``ON ONLY``), builds each month's concurrently outside the transaction, and attaches them.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_students_deleted", "students", ("sort_name", "id"), "deleted_at IS NOT NULL"),
    ("ix_groups_kind_name_id", "groups", ("kind", "name", "id"), None),
    ("ix_attendance_sessions_status_local_date_id", "attendance_sessions", ("status", "local_date", "id"), None),
    ("ix_attendance_records_code", "attendance_records", ("code", "local_date", "id"), "code <> 'present'"),
    ("ix_workout_sets_exercise_id_local_date_log_id", "workout_sets", ("exercise_id", "local_date", "log_id"), None),
)
# A group is one organization's, and so is a trainer (nearly always). Without knowing it the planner multiplies how
# rare each is, takes a trainer of a thousand groups for one of a few, and sorts all of their students for one page.
STATISTICS = (
    ("st_group_trainers_user_id", "group_trainers", ("organization_id", "user_id")),
    ("st_enrolments_group_id", "enrolments", ("organization_id", "group_id", "student_id")),
)


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        options = {"postgresql_where": sa.text(where)} if where else {}
        op.create_index(name, table, ["organization_id", *columns], **options)
    for name, table, columns in STATISTICS:
        op.execute(f"CREATE STATISTICS {name} (dependencies) ON {', '.join(columns)} FROM {table}")
        op.execute(f"ANALYZE {table}")  # autovacuum waits for changes


def downgrade() -> None:
    for name, _, _ in STATISTICS:
        op.execute(f"DROP STATISTICS {name}")
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table_name=table)
