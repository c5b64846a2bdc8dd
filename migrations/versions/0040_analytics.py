"""Analytics: counts by session, outcomes by student and month, the rules of the at-risk list, and its alerts.

The new rollups share the tables of stale keys of those that exist, so marking writes nothing more. The keys of what is
there already become stale: reads are exact at once, and the worker counts them.

Revision ID: 0040
Revises: 0039
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

COUNTS = ("present", "late", "left_early", "absent", "excused", "rated", "attended")
RULES = {
    "at_risk_rate": "at_risk_rate BETWEEN 1 AND 100",
    "at_risk_weeks": "at_risk_weeks BETWEEN 1 AND 12",
    "at_risk_absences": "at_risk_absences BETWEEN 2 AND 30",
    "at_risk_days_away": "at_risk_days_away BETWEEN 2 AND 90",
}
# Those of months that are detached stay without counts by session: their marks are not in the database.
EXISTING = (
    "INSERT INTO attendance_group_days_stale (organization_id, local_date, group_id)"
    " SELECT organization_id, local_date, group_id FROM attendance_group_days",
    "INSERT INTO attendance_student_months_stale (organization_id, student_id, month)"
    " SELECT DISTINCT organization_id, student_id, month FROM attendance_student_months",
)
# The order of a student's outcomes on a day follows from the sessions' times. This happens rarely: one row at a time.
REORDERED = """
BEGIN
  INSERT INTO attendance_student_months_stale (organization_id, student_id, month)
  SELECT DISTINCT organization_id, student_id, date_trunc('month', local_date::timestamp)::date
    FROM attendance_records
   WHERE organization_id = NEW.organization_id AND session_id = NEW.id AND local_date = NEW.local_date;
  RETURN NULL;
END
"""


def uuids(*names: str, nullable: bool = False) -> list[sa.Column]:
    return [sa.Column(name, sa.Uuid(), nullable=nullable) for name in names]


def rollups() -> None:
    op.create_table(
        "attendance_session_counts",
        *uuids("organization_id"),
        sa.Column("local_date", sa.Date(), nullable=False),
        *uuids("group_id", "session_id"),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "local_date", "group_id", "session_id"),
    )
    op.create_index(
        "ix_attendance_session_counts_group_id_local_date",
        "attendance_session_counts",
        ["organization_id", "group_id", "local_date"],
    )
    op.create_table(
        "attendance_student_outcomes",
        *uuids("organization_id", "student_id"),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("week_ends", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("last_attended_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "student_id", "month"),
    )
    op.create_index(
        "ix_attendance_student_outcomes_month_student_id",
        "attendance_student_outcomes",
        ["organization_id", "month", "student_id"],
    )
    for table in ("attendance_session_counts", "attendance_student_outcomes"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 80)")
        ddl.tenant_table(table, app="SELECT")
    op.execute("GRANT SELECT ON attendance_records TO campshub_definer")
    ddl.trigger_function("note_attendance_session_order", REORDERED)
    op.execute(
        "CREATE TRIGGER note_attendance_session_order AFTER UPDATE ON attendance_sessions FOR EACH ROW"
        " WHEN (OLD.starts_at IS DISTINCT FROM NEW.starts_at OR OLD.slot IS DISTINCT FROM NEW.slot)"
        " EXECUTE FUNCTION note_attendance_session_order()"
    )
    op.create_index(
        "ix_attendance_records_late",
        "attendance_records",
        ["organization_id", "local_date", "group_id"],
        postgresql_where=sa.text("counts_as = 'late'"),
    )


def alerts() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "attendance_alerts",
        *uuids("organization_id", "id", "student_id"),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=True),
        sa.Column("threshold", sa.Integer(), nullable=False),
        sa.Column("raised_at", instant, nullable=False),
        sa.Column("resolved_at", instant, nullable=True),
        sa.Column("acknowledged_at", instant, nullable=True),
        *uuids("acknowledged_by", nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", instant, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", instant, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.ForeignKeyConstraint(
            ["organization_id", "student_id"],
            ["students.organization_id", "students.id"],
            name="fk_attendance_alerts_student_id",
        ),
        sa.CheckConstraint("rule IN ('rate', 'absences', 'days_away')", name=op.f("ck_attendance_alerts_rule")),
        sa.CheckConstraint(
            "(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name=op.f("ck_attendance_alerts_acknowledged")
        ),
        sa.CheckConstraint("resolved_at >= raised_at", name=op.f("ck_attendance_alerts_resolved_after_raised")),
    )
    op.create_index(
        "uq_attendance_alerts_open",
        "attendance_alerts",
        ["organization_id", "student_id", "rule"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index(
        "ix_attendance_alerts_open",
        "attendance_alerts",
        ["organization_id", "raised_at", "id"],
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    for columns in (["raised_at", "id"], ["student_id", "raised_at", "id"], ["rule", "raised_at", "id"]):
        op.create_index(
            f"ix_attendance_alerts_{'_'.join(columns)}", "attendance_alerts", ["organization_id", *columns]
        )
    ddl.tenant_table("attendance_alerts")


def upgrade() -> None:
    for name, condition in RULES.items():
        default = "4" if name == "at_risk_weeks" else None
        op.add_column("organizations", sa.Column(name, sa.Integer(), server_default=default, nullable=default is None))
        op.create_check_constraint(op.f(f"ck_organizations_{name}"), "organizations", condition)
    rollups()
    alerts()
    op.execute("SET ROLE campshub_backfill")
    for statement in EXISTING:
        op.execute(statement)
    op.execute("SET ROLE campshub_owner")


def downgrade() -> None:
    op.drop_table("attendance_alerts")
    op.drop_index("ix_attendance_records_late", "attendance_records")
    op.execute("DROP TRIGGER note_attendance_session_order ON attendance_sessions")
    op.execute("DROP FUNCTION note_attendance_session_order()")
    op.drop_table("attendance_student_outcomes")
    op.drop_table("attendance_session_counts")
    for name in RULES:
        op.drop_column("organizations", name)
