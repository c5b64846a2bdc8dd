"""Visits of open gym, the events that make them, and when forgotten ones end.

Revision ID: 0042
Revises: 0041
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
HOURS = "open_gym_hours BETWEEN 1 AND 24"
CLOSES_AT = "open_gym_closes_at ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'"


def reference(column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column], [f"{to}.organization_id", f"{to}.id"], name=op.f(f"fk_visits_{column}")
    )


def visits() -> None:
    op.create_table(
        "visits",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("checked_in_at", INSTANT, nullable=False),
        sa.Column("checked_out_at", INSTANT, nullable=True),
        sa.Column("is_automatic", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("checked_out_at >= checked_in_at", name=op.f("ck_visits_out_after_in")),
        sa.CheckConstraint(
            "checked_out_at IS NOT NULL OR NOT is_automatic", name=op.f("ck_visits_ended_automatically")
        ),
        sa.CheckConstraint(
            "source IN ('manual', 'bulk', 'kiosk', 'qr', 'import', 'api')", name=op.f("ck_visits_source")
        ),
        reference("student_id", "students"),
        reference("device_id", "api_keys"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_visits")),
    )
    is_open = sa.text("checked_out_at IS NULL")
    owner = "organization_id"
    op.create_index("uq_visits_open", "visits", [owner, "student_id"], unique=True, postgresql_where=is_open)
    op.create_index("ix_visits_open_since", "visits", ["checked_in_at"], postgresql_where=is_open)
    for columns in (["student_id", "checked_in_at"], ["checked_in_at"], ["device_id"]):
        op.create_index(op.f(f"ix_visits_{'_'.join(columns)}"), "visits", [owner, *columns])
    ddl.tenant_table("visits")


def upgrade() -> None:
    op.add_column("organizations", sa.Column("open_gym_hours", sa.Integer(), server_default="4", nullable=False))
    op.add_column("organizations", sa.Column("open_gym_closes_at", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_organizations_open_gym_hours"), "organizations", HOURS)
    op.create_check_constraint(op.f("ck_organizations_open_gym_closes_at"), "organizations", CLOSES_AT)
    op.alter_column("check_in_events", "session_id", nullable=True)
    visits()


def downgrade() -> None:
    op.drop_table("visits")
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    op.execute("DELETE FROM check_in_events WHERE session_id IS NULL")
    op.execute("SET ROLE campshub_owner")
    op.alter_column("check_in_events", "session_id", nullable=False)
    for name in ("open_gym_closes_at", "open_gym_hours"):
        op.drop_constraint(op.f(f"ck_organizations_{name}"), "organizations")
        op.drop_column("organizations", name)
