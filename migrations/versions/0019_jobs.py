"""What running jobs in workers must know: who asked, claims, resending, slots of the schedule, and progress.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

OPEN = "finished_at IS NULL AND died_at IS NULL"
NEW = ("user_id", "api_key_id", "slot", "resend_at", "claims")
# Columns by which what has had its time is found.
EXPIRING = (
    ("idempotency_keys", "created_at"),
    ("password_resets", "expires_at"),
    ("sign_in_attempts", "last_at"),
    ("sign_in_sessions", "expires_at"),
)
STATES = "'queued', 'running', 'succeeded', 'failed', 'cancelled'"
ENDED = "'succeeded', 'failed', 'cancelled'"


def upgrade() -> None:
    for column in (
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("api_key_id", sa.Uuid(), nullable=True),
        sa.Column("slot", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "resend_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now() + INTERVAL '15 seconds'"),
            nullable=False,
        ),
        sa.Column("claims", sa.Integer(), server_default="0", nullable=False),
    ):
        op.add_column("outbox", column)
    op.create_index("ix_outbox_resend", "outbox", ["resend_at"], postgresql_where=sa.text(OPEN))
    op.create_index("ix_outbox_died", "outbox", ["died_at"], postgresql_where=sa.text("died_at IS NOT NULL"))
    op.create_index(
        "ix_outbox_finished", "outbox", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_index(
        "uq_outbox_slot",
        "outbox",
        ["organization_id", "job", "slot"],
        unique=True,
        postgresql_where=sa.text("slot IS NOT NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("position", pg.JSONB(), nullable=True),
        sa.Column("result", pg.JSONB(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_jobs_state")),
        sa.CheckConstraint("done >= 0 AND total >= 0", name=op.f("ck_jobs_progress")),
        sa.CheckConstraint(f"(state IN ({ENDED})) = (finished_at IS NOT NULL)", name=op.f("ck_jobs_finished_at")),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["memberships.organization_id", "memberships.user_id"],
            name=op.f("fk_jobs_user_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_user_id_id"), "jobs", ["organization_id", "user_id", "id"])
    op.create_index("ix_jobs_finished", "jobs", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL"))
    ddl.tenant_table("jobs")
    for table, column in EXPIRING:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    for table, column in EXPIRING:
        op.drop_index(op.f(f"ix_{table}_{column}"), table_name=table)
    op.drop_table("jobs")
    for name in ("uq_outbox_slot", "ix_outbox_finished", "ix_outbox_died", "ix_outbox_resend"):
        op.drop_index(name, table_name="outbox")
    for name in NEW:
        op.drop_column("outbox", name)
