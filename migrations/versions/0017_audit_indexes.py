"""The audit log by what was changed and by whom it is about, security events by user.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INDEXES = (
    ("audit_log", ("entity_id", "recorded_on", "id")),
    ("audit_log", ("person_id", "recorded_on", "id")),
    ("security_events", ("user_id", "id")),
)


def upgrade() -> None:
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, ["organization_id", *columns])


def downgrade() -> None:
    for table, columns in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
