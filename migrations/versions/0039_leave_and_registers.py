"""A mark has the time at which a device without a connection made it.

Revision ID: 0039
Revises: 0033
"""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0033"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("attendance_records", sa.Column("recorded_at", INSTANT, nullable=True))


def downgrade() -> None:
    op.drop_column("attendance_records", "recorded_at")
