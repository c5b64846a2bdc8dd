"""Foreign keys of tenant tables change no rows: the services clear the references of what they delete.

A key that contains the organization cannot have ON DELETE SET NULL or ON UPDATE CASCADE where tables are distributed by
organization.

Each key is replaced by one statement in a transaction of its own, so it is never missing, and its locks, which exclude
everyone, last for two changes of the catalogue only. Validating reads all rows and excludes no reader and no writer.
If a lock is not free in time, run the migration again: each step can be repeated.

Revision ID: 0032
Revises: 0031
"""

from dataclasses import dataclass

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


@dataclass(frozen=True)
class Key:
    table: str
    columns: str
    references: str
    action: str

    @property
    def name(self) -> str:
        return f"fk_{self.table}_{self.columns.replace(', ', '_')}"


PLACE = "workout_log_ids (organization_id, id, local_date, student_id)"
KEYS = (
    Key("invitations", "role_id", "roles (organization_id, id)", "ON DELETE SET NULL (role_id)"),
    Key("reports", "api_key_id", "api_keys (organization_id, id)", "ON DELETE SET NULL (api_key_id)"),
    Key("reports", "schedule_id", "report_schedules (organization_id, id)", "ON DELETE SET NULL (schedule_id)"),
    Key("workout_logs", "id, local_date, student_id", PLACE, "ON UPDATE CASCADE"),
    Key("workout_log_exercises", "log_id, local_date, student_id", PLACE, "ON UPDATE CASCADE"),
    Key("workout_sets", "log_id, local_date, student_id", PLACE, "ON UPDATE CASCADE"),
)


def replace(key: Key, action: str = "") -> None:
    op.execute(
        f"ALTER TABLE {key.table} DROP CONSTRAINT IF EXISTS {key.name}, ADD CONSTRAINT {key.name}"
        f" FOREIGN KEY (organization_id, {key.columns}) REFERENCES {key.references} {action} NOT VALID"
    )
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner, who would find no row to check
    op.execute(f"ALTER TABLE {key.table} VALIDATE CONSTRAINT {key.name}")
    op.execute("SET ROLE campshub_owner")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for key in KEYS:
            replace(key)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for key in KEYS:
            replace(key, key.action)
