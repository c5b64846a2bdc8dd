"""Attendance codes with their defaults, sessions, and records in monthly partitions.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Key, label, what it counts as, whether it enters the rate.
DEFAULTS = (
    ("present", "Present", "present", True),
    ("absent", "Absent", "absent", True),
    ("late", "Late", "late", True),
    ("excused", "Excused", "excused", False),
    ("left_early", "Left early", "left_early", True),
)


def versioned():
    return [
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "attendance_codes",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("counts_as", sa.Text(), nullable=False),
        sa.Column("in_rate", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_archived", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        *versioned(),
        sa.CheckConstraint(
            "counts_as IN ('present', 'late', 'left_early', 'absent', 'excused')",
            name=op.f("ck_attendance_codes_counts_as"),
        ),
        sa.CheckConstraint(
            "(organization_id = '00000000-0000-7000-8000-000000000000')"
            " = (id < '00000000-0001-0000-0000-000000000000')",
            name=op.f("ck_attendance_codes_reserved_ids"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_attendance_codes")),
        sa.UniqueConstraint(
            "organization_id", "key", name=op.f("uq_attendance_codes_key"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_table(
        "attendance_sessions",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="scheduled", nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_by", sa.Uuid(), nullable=True),
        sa.Column("locked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        *versioned(),
        sa.CheckConstraint(
            "status IN ('scheduled', 'open', 'submitted', 'locked', 'cancelled')",
            name=op.f("ck_attendance_sessions_status"),
        ),
        sa.CheckConstraint(
            "ends_at IS NULL OR starts_at IS NULL OR ends_at > starts_at",
            name=op.f("ck_attendance_sessions_ends_after_start"),
        ),
        sa.CheckConstraint(
            "(status = 'locked') = (locked_at IS NOT NULL)", name=op.f("ck_attendance_sessions_locked_at")
        ),
        sa.CheckConstraint(
            "(status IN ('submitted', 'locked')) = (submitted_at IS NOT NULL)",
            name=op.f("ck_attendance_sessions_submitted_at"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "group_id"],
            ["groups.organization_id", "groups.id"],
            name=op.f("fk_attendance_sessions_group_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_attendance_sessions")),
        sa.UniqueConstraint(
            "organization_id",
            "group_id",
            "local_date",
            "slot",
            name="uq_attendance_sessions_meeting",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        op.f("ix_attendance_sessions_local_date_id"), "attendance_sessions", ["organization_id", "local_date", "id"]
    )
    create_records()
    ddl.tenant_table("attendance_codes", shared=True)
    ddl.tenant_table("attendance_sessions")
    ddl.tenant_table("attendance_records")
    ddl.monthly_partitions("attendance_records")
    insert_defaults()


def create_records() -> None:
    op.create_table(
        "attendance_records",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("counts_as", sa.Text(), nullable=False),
        sa.Column("in_rate", sa.Boolean(), nullable=False),
        sa.Column("check_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("check_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("marked_by", sa.Uuid(), nullable=True),
        *versioned(),
        sa.CheckConstraint(
            "counts_as IN ('present', 'late', 'left_early', 'absent', 'excused')",
            name=op.f("ck_attendance_records_counts_as"),
        ),
        sa.CheckConstraint(
            "source IN ('manual', 'bulk', 'kiosk', 'qr', 'import', 'api')", name=op.f("ck_attendance_records_source")
        ),
        sa.CheckConstraint(
            "check_out_at IS NULL OR check_in_at IS NULL OR check_out_at >= check_in_at",
            name=op.f("ck_attendance_records_out_after_in"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "session_id"],
            ["attendance_sessions.organization_id", "attendance_sessions.id"],
            name=op.f("fk_attendance_records_session_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "student_id"],
            ["students.organization_id", "students.id"],
            name=op.f("fk_attendance_records_student_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "local_date", "id", name=op.f("pk_attendance_records")),
        sa.UniqueConstraint(
            "organization_id",
            "local_date",
            "session_id",
            "student_id",
            name="uq_attendance_records_mark",
            postgresql_nulls_not_distinct=True,
        ),
        postgresql_partition_by="RANGE (local_date)",
    )
    for columns in (["student_id", "local_date", "id"], ["group_id", "local_date", "id"], ["session_id"]):
        name = f"ix_attendance_records_{'_'.join(columns)}"
        op.create_index(op.f(name), "attendance_records", ["organization_id", *columns])


def insert_defaults() -> None:
    """Give every organization, those to come too, the default codes: rows of the platform, which all of them read."""
    op.execute("SET ROLE campshub_backfill")  # the policies, forced, would refuse them from the owner
    for number, (key, label, counts_as, in_rate) in enumerate(DEFAULTS, start=1):
        op.execute(
            "INSERT INTO attendance_codes (organization_id, id, key, label, counts_as, in_rate, position)"
            f" VALUES ({ddl.PLATFORM}, '00000000-0000-7000-8000-0000000000{number:02}', '{key}', '{label}',"
            f" '{counts_as}', {in_rate}, {number * 10})"
        )
    op.execute("SET ROLE campshub_owner")


def downgrade() -> None:
    for table in ("attendance_records", "attendance_sessions", "attendance_codes"):
        op.drop_table(table)
