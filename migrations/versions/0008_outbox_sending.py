"""What sending the outbox must know: what is due, and what is given up.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("died_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("outbox", sa.Column("problem", sa.Text(), nullable=True))
    # Across organizations: whoever sends asks for what is due, whoever owes it.
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["available_at"],
        postgresql_where=sa.text("finished_at IS NULL AND died_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_due", table_name="outbox")
    op.drop_column("outbox", "problem")
    op.drop_column("outbox", "died_at")
