"""When an organization was closed, and what became of those that were erased.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

CLOSED_AT = "(status = 'closed') = (closed_at IS NOT NULL)"


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column("organizations", sa.Column("closed_at", instant, nullable=True))
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    op.execute("UPDATE organizations SET closed_at = updated_at WHERE status = 'closed'")
    op.execute("SET ROLE campshub_owner")
    op.create_check_constraint(op.f("ck_organizations_closed_at"), "organizations", CLOSED_AT)
    op.create_table(
        "organization_erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("closed_at", instant, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("finished_at", instant, nullable=True),
        sa.Column("counts", pg.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization_erasures")),
    )
    # The platform's own; no organization sees it.
    op.execute("ALTER TABLE organization_erasures ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON organization_erasures TO campshub_system, campshub_backfill")


def downgrade() -> None:
    op.drop_table("organization_erasures")
    op.drop_constraint(op.f("ck_organizations_closed_at"), "organizations")
    op.drop_column("organizations", "closed_at")
