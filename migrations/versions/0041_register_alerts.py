"""Alerts to registers that are not taken in time, and notices of absences to guardians.

Revision ID: 0041
Revises: 0040
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
SETTINGS = ("register_alert_after_minutes", "register_alert_admins_after_minutes", "absence_notice_after_minutes")


def columns() -> tuple[sa.Column, ...]:
    return (
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
    )


def versioned() -> tuple[sa.Column, ...]:
    return (
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
    )


def refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint(
        ["organization_id", column], [f"{other}.organization_id", f"{other}.id"], name=name
    )


def indexes(table: str, *each: str) -> None:
    for names in each:
        of = names.split()
        op.create_index(op.f(f"ix_{table}_{'_'.join(of)}"), table, ["organization_id", *of])


def register_alerts() -> None:
    table = "register_alerts"
    op.create_table(
        table,
        *columns(),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("trainers_at", INSTANT, nullable=False),
        sa.Column("admins_at", INSTANT, nullable=True),
        sa.Column("resolved_at", INSTANT, nullable=True),
        *versioned(),
        refers(table, "session_id", "attendance_sessions"),
        sa.UniqueConstraint(
            *("organization_id", "session_id"),
            name=op.f("uq_register_alerts_session_id"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_register_alerts")),
    )
    op.create_index(
        "ix_register_alerts_active", table, ["organization_id", "id"], postgresql_where=sa.text("resolved_at IS NULL")
    )
    ddl.tenant_table(table)


def absence_notices() -> None:
    table = "absence_notices"
    op.create_table(
        table,
        *columns(),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        *versioned(),
        refers(table, "session_id", "attendance_sessions"),
        refers(table, "student_id", "students"),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'corrected', 'dropped')", name=op.f("ck_absence_notices_status")
        ),
        sa.UniqueConstraint(
            *("organization_id", "session_id", "student_id"),
            name=op.f("uq_absence_notices_session_id_student_id"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_absence_notices")),
    )
    indexes(table, "student_id", "status local_date id")
    ddl.tenant_table(table)


def upgrade() -> None:
    for name in SETTINGS:
        op.add_column("organizations", sa.Column(name, sa.Integer(), nullable=True))
    register_alerts()
    absence_notices()


def downgrade() -> None:
    op.drop_table("absence_notices")
    op.drop_table("register_alerts")
    for name in SETTINGS:
        op.drop_column("organizations", name)
