"""Custom fields of students, external ids of groups and members, and indexes of the new filters.

Revision ID: 0036
Revises: 0035
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
TEXTS = ARRAY(sa.Text())
# By table: the columns after the organization.
INDEXES = (
    ("enrolments", ("begins_on", "id")),
    ("enrolments", ("status", "begins_on", "id")),
    ("students", ("email",)),
    ("students", ("phone",)),
)


def upgrade() -> None:
    op.create_table(
        "custom_fields",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("is_required", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("choices", TEXTS, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("visible_to", TEXTS, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("is_personal", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_archived", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "type IN ('text', 'number', 'date', 'boolean', 'choice', 'multiple_choice')",
            name=op.f("ck_custom_fields_type"),
        ),
        sa.CheckConstraint(
            "(type IN ('choice', 'multiple_choice')) = (choices <> '{}')", name=op.f("ck_custom_fields_choices")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_custom_fields")),
        sa.UniqueConstraint(
            "organization_id", "key", name=op.f("uq_custom_fields_key"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_index(
        op.f("ix_custom_fields_position_id"), "custom_fields", ["organization_id", "position", "id"], unique=False
    )
    ddl.tenant_table("custom_fields")
    for table in ("groups", "memberships"):
        op.add_column(table, sa.Column("external_id", sa.Text(), nullable=True))
        op.create_index(f"uq_{table}_external_id", table, ["organization_id", "external_id"], unique=True)
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, ["organization_id", *columns])
    op.add_column("students", sa.Column("custom_fields", JSONB(), server_default=sa.text("'{}'"), nullable=False))


def downgrade() -> None:
    op.drop_column("students", "custom_fields")
    for table, columns in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    for table in ("groups", "memberships"):
        op.drop_column(table, "external_id")
    op.drop_table("custom_fields")
