"""Reports, their schedules, and which of a schedule's times have been seen to.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
FORMAT = "format IN ('csv', 'pdf', 'xlsx')"


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


def of_member(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", "user_id"],
        ["memberships.organization_id", "memberships.user_id"],
        name=op.f(f"fk_{table}_user_id"),
    )


def schedules() -> None:
    op.create_table(
        "report_schedules",
        *columns(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("parameters", pg.JSONB(), nullable=False),
        sa.Column("frequency", sa.Text(), nullable=False),
        sa.Column("weekday", sa.Integer(), nullable=True),
        sa.Column("day", sa.Integer(), nullable=True),
        sa.Column("local_time", sa.Text(), nullable=False),
        sa.Column("recipient_ids", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_paused", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        *versioned(),
        of_member("report_schedules"),
        sa.CheckConstraint(FORMAT, name=op.f("ck_report_schedules_format")),
        sa.CheckConstraint("frequency IN ('daily', 'weekly', 'monthly')", name=op.f("ck_report_schedules_frequency")),
        sa.CheckConstraint(
            "(frequency = 'weekly') = (weekday IS NOT NULL) AND weekday BETWEEN 0 AND 6",
            name=op.f("ck_report_schedules_weekday"),
        ),
        sa.CheckConstraint(
            "(frequency = 'monthly') = (day IS NOT NULL) AND day BETWEEN 1 AND 31",
            name=op.f("ck_report_schedules_day"),
        ),
        sa.CheckConstraint(
            "local_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'", name=op.f("ck_report_schedules_local_time")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_report_schedules")),
    )
    for column in ("user_id", "next_at"):
        op.create_index(op.f(f"ix_report_schedules_{column}"), "report_schedules", ["organization_id", column])


def reports() -> None:
    op.create_table(
        "reports",
        *columns(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("api_key_id", sa.Uuid(), nullable=True),
        sa.Column("with_key", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("parameters", pg.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default="under_way", nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.Integer(), nullable=True),
        sa.Column("notes", pg.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("ready_at", INSTANT, nullable=True),
        sa.Column("expires_at", INSTANT, nullable=False),
        *versioned(),
        of_member("reports"),
        sa.ForeignKeyConstraint(
            ["organization_id", "api_key_id"],
            ["api_keys.organization_id", "api_keys.id"],
            name=op.f("fk_reports_api_key_id"),
            ondelete="SET NULL (api_key_id)",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "schedule_id"],
            ["report_schedules.organization_id", "report_schedules.id"],
            name=op.f("fk_reports_schedule_id"),
            ondelete="SET NULL (schedule_id)",
        ),
        sa.CheckConstraint(FORMAT, name=op.f("ck_reports_format")),
        sa.CheckConstraint("state IN ('under_way', 'ready', 'refused')", name=op.f("ck_reports_state")),
        sa.CheckConstraint("(state = 'ready') = (file IS NOT NULL)", name=op.f("ck_reports_file")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_reports")),
    )
    op.create_index(op.f("ix_reports_user_id_id"), "reports", ["organization_id", "user_id", "id"])
    for column in ("api_key_id", "schedule_id", "expires_at"):
        op.create_index(op.f(f"ix_reports_{column}"), "reports", ["organization_id", column])


def upgrade() -> None:
    schedules()
    reports()
    op.create_table(
        "report_slots",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("slot", INSTANT, nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "schedule_id"],
            ["report_schedules.organization_id", "report_schedules.id"],
            name=op.f("fk_report_slots_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "schedule_id", "slot", name=op.f("pk_report_slots")),
    )
    for table in ("report_schedules", "reports", "report_slots"):
        ddl.tenant_table(table)


def downgrade() -> None:
    for table in ("report_slots", "reports", "report_schedules"):
        op.drop_table(table)
