"""How far the asker of a report saw, by groups or students; and which key a job was asked for with.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reports", sa.Column("among", ARRAY(sa.Uuid()), nullable=True))
    op.add_column("jobs", sa.Column("api_key_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "api_key_id")
    op.drop_column("reports", "among")
