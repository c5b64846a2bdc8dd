"""Exercises and logs.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
