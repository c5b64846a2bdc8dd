"""Change sets: which rows of students, groups and attendance each transaction has written, for the change feeds.

Triggers write them, so that no write can be forgotten: neither one that a foreign key cascades, nor one by hand. What
is there already has no change sets; a client's first call reads all rows.

Revision ID: 0038
Revises: 0037
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

# By table: the feed, the column with the id of the feed's row, its date if that selects the partition, and the columns
# that say who may learn of a removed row.
TABLES = {
    "students": ("students", "id", None, {"student_id": "id"}),
    "groups": ("groups", "id", None, {"group_id": "id"}),
    "group_trainers": ("groups", "group_id", None, None),
    "enrolments": ("enrolments", "id", None, {"group_id": "group_id", "student_id": "student_id"}),
    "attendance_sessions": ("sessions", "id", None, {"group_id": "group_id"}),
    "attendance_records": ("records", "id", "local_date", {"group_id": "group_id", "student_id": "student_id"}),
    "attendance_codes": ("codes", "id", None, {}),
    "workout_logs": ("workout_logs", "id", None, {"student_id": "student_id"}),
    "workout_log_exercises": ("workout_logs", "log_id", None, None),
    "workout_sets": ("workout_logs", "log_id", None, None),
}
BODY = """
BEGIN
  IF TG_OP = 'DELETE' THEN
    {removed}
  ELSE
    {added}
  END IF;
  RETURN NULL;
END
"""
INSERT = """
INSERT INTO change_sets (organization_id, entity, transaction_id, is_removed{names})
SELECT organization_id, '{entity}', pg_current_xact_id()::text::bigint, {is_removed}{values}
  FROM {rows} GROUP BY organization_id{keys};
"""


def body(entity: str, key: str, day: str | None, owners: dict[str, str] | None) -> str:
    """Return the text of a table's trigger function: a change set of its statement's rows.

    With ``owners`` a deleted row is one of the feed; without, it is a part of one, which has only changed.
    """

    def insert(rows: str, *, by: dict[str, str], is_removed: bool) -> str:
        columns = ({"local_date": day} if day else {}) | by
        return INSERT.format(
            entity=entity,
            rows=rows,
            is_removed=str(is_removed).lower(),
            names="".join(f", {name}" for name in columns) + ", ids",
            values="".join(f", {column}" for column in columns.values()) + f", array_agg({ids})",
            keys="".join(f", {column}" for column in columns.values()),
        )

    ids = key if key == "id" else f"DISTINCT {key}"
    return BODY.format(
        removed=insert("removed", by=owners or {}, is_removed=owners is not None),
        added=insert("added", by={}, is_removed=False),
    )


def upgrade() -> None:
    op.create_table(
        "change_sets",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=True),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("student_id", sa.Uuid(), nullable=True),
        sa.Column("is_removed", sa.Boolean(), nullable=False),
        sa.Column("ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "entity", "transaction_id", "id", name=op.f("pk_change_sets")),
    )
    op.create_index("ix_change_sets_recorded_at", "change_sets", ["recorded_at"])
    ddl.tenant_table("change_sets", app="SELECT")  # triggers write them
    op.execute("GRANT INSERT ON change_sets TO campshub_definer")
    for table, parts in TABLES.items():
        ddl.trigger_function(f"record_{table}", body(*parts))
        ddl.after_each_statement(table, f"record_{table}")


def downgrade() -> None:
    for table in TABLES:
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER record_{table}_{event} ON {table}")
        op.execute(f"DROP FUNCTION record_{table}()")
    op.drop_table("change_sets")
