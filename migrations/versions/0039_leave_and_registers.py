"""Leave requests, registers that are closed automatically, and the time of marks made without a connection.

Revision ID: 0039
Revises: 0038
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql as pg

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


SETTINGS = {"submit_after_hours": (1, 720), "lock_after_days": (1, 365)}

SOURCES = "source IN ('manual', 'bulk', 'kiosk', 'qr', 'import', 'api'{more})"


def columns() -> tuple[sa.Column, ...]:
    return (
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
    )


def versioned() -> tuple[sa.Column, ...]:
    return (
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
    )


def refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint(
        ["organization_id", column], [f"{other}.organization_id", f"{other}.id"], name=name
    )


def indexes(table: str, *each: str) -> None:
    for names in each:
        of = names.split()
        op.create_index(op.f(f"ix_{table}_{'_'.join(of)}"), table, ["organization_id", *of])


def leave_requests() -> None:
    table = "leave_requests"
    op.create_table(
        table,
        *columns(),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", INSTANT, nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("attachment", sa.Text(), nullable=True),
        sa.Column("attachment_name", sa.Text(), nullable=True),
        sa.Column("attachment_type", sa.Text(), nullable=True),
        sa.Column("attachment_bytes", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        *versioned(),
        refers(table, "student_id", "students"),
        refers(table, "group_id", "groups"),
        refers(table, "session_id", "attendance_sessions"),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'cancelled')", name=op.f("ck_leave_requests_status")
        ),
        sa.CheckConstraint("last_date >= first_date", name=op.f("ck_leave_requests_last_after_first")),
        sa.CheckConstraint(
            "(status IN ('approved', 'rejected')) <= (decided_at IS NOT NULL)", name=op.f("ck_leave_requests_decided")
        ),
        sa.CheckConstraint(
            "num_nulls(attachment, attachment_name, attachment_type, attachment_bytes) IN (0, 4)",
            name=op.f("ck_leave_requests_attachment"),
        ),
        sa.CheckConstraint("group_id IS NULL OR session_id IS NULL", name=op.f("ck_leave_requests_one_restriction")),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_leave_requests")),
    )
    indexes(table, "student_id first_date id", "status first_date id", "first_date id", "group_id first_date id")
    indexes(table, "session_id")
    op.create_index(
        "ix_leave_requests_attachment",
        table,
        ["organization_id", "last_date"],
        postgresql_where=sa.text("attachment IS NOT NULL"),
    )
    ddl.tenant_table(table)


def leave_marks() -> None:
    table = "leave_marks"
    op.create_table(
        table,
        *columns(),
        sa.Column("leave_request_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("record_version", sa.Integer(), nullable=False),
        sa.Column("previous", pg.JSONB(), nullable=True),
        *versioned(),
        refers(table, "leave_request_id", "leave_requests"),
        refers(table, "session_id", "attendance_sessions"),
        refers(table, "student_id", "students"),
        sa.UniqueConstraint(
            *("organization_id", "session_id", "student_id"),
            name=op.f("uq_leave_marks_session_id_student_id"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_leave_marks")),
    )
    indexes(table, "leave_request_id", "student_id")
    ddl.tenant_table(table)


def sources(more: str) -> None:
    name = op.f("ck_attendance_records_source")
    op.drop_constraint(name, "attendance_records")
    op.create_check_constraint(name, "attendance_records", SOURCES.format(more=more))


def upgrade() -> None:
    for name, (least, most) in SETTINGS.items():
        op.add_column("organizations", sa.Column(name, sa.Integer(), nullable=True))
        op.create_check_constraint(op.f(f"ck_organizations_{name}"), "organizations", f"{name} BETWEEN {least} AND {most}")
    op.add_column("attendance_sessions", sa.Column("reopened_at", INSTANT, nullable=True))
    op.add_column("attendance_records", sa.Column("recorded_at", INSTANT, nullable=True))
    sources(", 'leave'")
    leave_requests()
    leave_marks()


def downgrade() -> None:
    op.drop_table("leave_marks")
    op.drop_table("leave_requests")
    # Marks of approved leave stay, as marks by the person who approved it.
    op.execute("SET ROLE campshub_backfill")
    op.execute("UPDATE attendance_records SET source = 'manual' WHERE source = 'leave'")
    op.execute("SET ROLE campshub_owner")
    sources("")
    op.drop_column("attendance_records", "recorded_at")
    op.drop_column("attendance_sessions", "reopened_at")
    for name in SETTINGS:
        op.drop_column("organizations", name)
