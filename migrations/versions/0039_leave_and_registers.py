"""A mark has the time at which a device without a connection made it; registers are closed automatically.

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


SETTINGS = {"submit_after_hours": (1, 720), "lock_after_days": (1, 365)}


def upgrade() -> None:
    for name, (least, most) in SETTINGS.items():
        op.add_column("organizations", sa.Column(name, sa.Integer(), nullable=True))
        op.create_check_constraint(op.f(f"ck_organizations_{name}"), "organizations", f"{name} BETWEEN {least} AND {most}")
    op.add_column("attendance_sessions", sa.Column("reopened_at", INSTANT, nullable=True))
    op.add_column("attendance_records", sa.Column("recorded_at", INSTANT, nullable=True))


def downgrade() -> None:
    op.drop_column("attendance_records", "recorded_at")
    op.drop_column("attendance_sessions", "reopened_at")
    for name in SETTINGS:
        op.drop_column("organizations", name)
