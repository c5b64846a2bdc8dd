"""Slots that are times have two digits for the hour, a cancelled session leaves its slot free, registers have versions,
and deleted logs have an index.

Where a slot such as "9:00" becomes "09:00" and the group has a session there already, it becomes "09:00 (2)": no
session is lost or merged.

Revision ID: 0030
Revises: 0029
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
MEETING = "uq_attendance_sessions_meeting"
COLUMNS = ["organization_id", "group_id", "local_date", "slot"]
# Gives each chosen session the slot that is wanted, or the first free one with a number behind it.
MOVE = """
DO $$
DECLARE
  one record;
  free text;
  number int;
BEGIN
  FOR one IN {chosen} LOOP
    free := one.wanted;
    number := 1;
    WHILE EXISTS (
      SELECT FROM attendance_sessions s
       WHERE s.organization_id = one.organization_id AND s.group_id IS NOT DISTINCT FROM one.group_id
         AND s.local_date = one.local_date AND s.slot IS NOT DISTINCT FROM free AND s.id <> one.id AND {counts})
    LOOP
      number := number + 1;
      free := concat_ws(' ', left(one.wanted, 30), format('(%s)', number));
    END LOOP;
    UPDATE attendance_sessions SET slot = free, version = version + 1, updated_at = now()
     WHERE organization_id = one.organization_id AND id = one.id;
  END LOOP;
END $$
"""
SHORT = r"""
SELECT organization_id, id, group_id, local_date, status, '0' || slot AS wanted FROM attendance_sessions
 WHERE slot ~ '^[0-9]:[0-5][0-9]$' ORDER BY organization_id, id
"""
CANCELLED_IN_USE = """
SELECT c.organization_id, c.id, c.group_id, c.local_date, c.slot AS wanted FROM attendance_sessions c
 WHERE c.status = 'cancelled' AND EXISTS (
       SELECT FROM attendance_sessions s
        WHERE s.organization_id = c.organization_id AND s.group_id IS NOT DISTINCT FROM c.group_id
          AND s.local_date = c.local_date AND s.slot IS NOT DISTINCT FROM c.slot AND s.id <> c.id)
 ORDER BY c.organization_id, c.id
"""


def move(chosen: str, *, counts: str) -> None:
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    op.execute(MOVE.format(chosen=chosen, counts=counts))
    op.execute("SET ROLE campshub_owner")


def upgrade() -> None:
    op.drop_constraint(MEETING, "attendance_sessions")
    move(SHORT, counts="'cancelled' NOT IN (s.status, one.status)")
    op.create_index(
        MEETING,
        "attendance_sessions",
        COLUMNS,
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    op.create_index(
        op.f("ix_attendance_sessions_group_id_local_date_id"),
        "attendance_sessions",
        ["organization_id", "group_id", "local_date", "id"],
    )
    op.create_table(
        "register_versions",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "id"],
            ["attendance_sessions.organization_id", "attendance_sessions.id"],
            name=op.f("fk_register_versions_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_register_versions")),
    )
    ddl.tenant_table("register_versions")
    # Few rows enter it. It locks out the writers of logs while it reads all months once.
    op.create_index(
        "ix_workout_logs_deleted",
        "workout_logs",
        ["organization_id", "local_date", "id"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_workout_logs_deleted", "workout_logs")
    op.drop_table("register_versions")
    op.drop_index(op.f("ix_attendance_sessions_group_id_local_date_id"), "attendance_sessions")
    op.drop_index(MEETING, "attendance_sessions")
    move(CANCELLED_IN_USE, counts="true")
    op.create_unique_constraint(MEETING, "attendance_sessions", COLUMNS, postgresql_nulls_not_distinct=True)
