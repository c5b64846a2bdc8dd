"""Check-in events, the organization's rules for them, and the permission to send them.

Callers who may mark attendance may also send check-ins: own roles and keys with the one permission get the other.
Keys of devices that were made before have one permission, and new ones have two; both are allowed.

Revision ID: 0035
Revises: 0034
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
DEVICE = "ck_api_keys_device"
RULES = {
    "late_after_minutes": (sa.Integer(), "10", True, "BETWEEN 0 AND 240"),
    "left_early_before_minutes": (sa.Integer(), "10", True, "BETWEEN 0 AND 240"),
    "check_in_days_back": (sa.Integer(), "7", False, "BETWEEN 1 AND 60"),
}
LISTS = {"check_in_networks": "{}", "check_in_ways": "{card,personal_code}"}
KIOSK_WAYS = "check_in_ways <@ ARRAY['card', 'code', 'personal_code', 'search']"


def on_api_keys(condition: str) -> None:
    op.drop_constraint(op.f(DEVICE), "api_keys")
    op.create_check_constraint(op.f(DEVICE), "api_keys", condition)


def set_permissions(expression: str, condition: str) -> None:
    op.execute("SET ROLE campshub_backfill")  # policies bind the owner
    for table in ("roles", "api_keys"):
        op.execute(
            f"UPDATE {table} SET permissions = {expression}, version = version + 1, updated_at = now() WHERE {condition}"
        )
    op.execute("SET ROLE campshub_owner")


def tenant_columns(*columns: sa.Column) -> list[sa.Column]:
    return [
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        *columns,
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
    ]


def reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column], [f"{to}.organization_id", f"{to}.id"], name=op.f(f"fk_{table}_{column}")
    )


def index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, ["organization_id", *columns])


def events() -> None:
    table = "check_in_events"
    op.create_table(
        table,
        *tenant_columns(
            sa.Column("student_id", sa.Uuid(), nullable=False),
            sa.Column("session_id", sa.Uuid(), nullable=False),
            sa.Column("local_date", sa.Date(), nullable=False),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("way", sa.Text(), nullable=False),
            sa.Column("at", INSTANT, nullable=False),
            sa.Column("device_id", sa.Uuid(), nullable=True),
            sa.Column("user_id", sa.Uuid(), nullable=False),
            sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        ),
        sa.CheckConstraint("kind IN ('in', 'out')", name=op.f("ck_check_in_events_kind")),
        sa.CheckConstraint("way IN ('student_id', 'code', 'card', 'personal_code', 'qr')", name=op.f("ck_check_in_events_way")),
        reference(table, "student_id", "students"),
        reference(table, "session_id", "attendance_sessions"),
        reference(table, "device_id", "api_keys"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_check_in_events")),
    )
    for columns in (("session_id", "student_id"), ("student_id", "at"), ("device_id",)):
        index(table, *columns)
    op.create_index(op.f("ix_check_in_events_created_at"), table, ["created_at"])
    ddl.tenant_table(table)


def unique(table: str, column: str) -> sa.UniqueConstraint:
    name = op.f(f"uq_{table}_{column}")
    return sa.UniqueConstraint("organization_id", column, name=name, postgresql_nulls_not_distinct=True)


def codes_and_cards() -> None:
    table = "check_in_codes"
    op.create_table(
        table,
        *tenant_columns(
            sa.Column("student_id", sa.Uuid(), nullable=False),
            sa.Column("code_hash", sa.LargeBinary(), nullable=False),
            sa.Column("expires_at", INSTANT, nullable=False),
            sa.Column("used_at", INSTANT, nullable=True),
        ),
        reference(table, "student_id", "students"),
        unique(table, "student_id"),
        unique(table, "code_hash"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_check_in_codes")),
    )
    op.create_index(op.f("ix_check_in_codes_expires_at"), table, ["expires_at"])
    ddl.tenant_table(table)
    table = "student_cards"
    op.create_table(
        table,
        *tenant_columns(
            sa.Column("student_id", sa.Uuid(), nullable=False),
            sa.Column("number", sa.Text(), nullable=False),
            sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        ),
        reference(table, "student_id", "students"),
        unique(table, "number"),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_student_cards")),
    )
    index(table, "student_id", "id")
    ddl.tenant_table(table)


def upgrade() -> None:
    for name, (type_, default, nullable, _) in RULES.items():
        op.add_column("organizations", sa.Column(name, type_, server_default=default, nullable=nullable))
    for name, (*_, bounds) in RULES.items():
        op.create_check_constraint(op.f(f"ck_organizations_{name}"), "organizations", f"{name} {bounds}")
    for name, default in LISTS.items():
        column = sa.Column(name, pg.ARRAY(sa.Text()), server_default=sa.text(f"'{default}'"), nullable=False)
        op.add_column("organizations", column)
    op.create_check_constraint(op.f("ck_organizations_check_in_ways"), "organizations", KIOSK_WAYS)
    on_api_keys("kind <> 'device' OR permissions <@ ARRAY['attendance:check_in', 'attendance:mark']")
    set_permissions(
        "ARRAY['attendance:check_in'] || permissions",
        "'attendance:mark' = ANY (permissions) AND 'attendance:check_in' <> ALL (permissions)",
    )
    events()
    codes_and_cards()


def downgrade() -> None:
    op.drop_table("student_cards")
    op.drop_table("check_in_codes")
    op.drop_table("check_in_events")
    set_permissions("array_remove(permissions, 'attendance:check_in')", "'attendance:check_in' = ANY (permissions)")
    on_api_keys("kind <> 'device' OR permissions = ARRAY['attendance:mark']")
    op.drop_constraint(op.f("ck_organizations_check_in_ways"), "organizations")
    for name in LISTS:
        op.drop_column("organizations", name)
    for name in RULES:
        op.drop_constraint(op.f(f"ck_organizations_{name}"), "organizations")
        op.drop_column("organizations", name)
