"""Calendars, weekly meetings, the sessions created from them, substitutes of trainers, and waiting lists.

Revision ID: 0034
Revises: 0033
"""

import sqlalchemy as sa
from alembic import op
from migrations import ddl
from sqlalchemy.dialects import postgresql

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
LOCAL_TIME = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
TABLES = ("calendars", "calendar_terms", "calendar_holidays", "group_calendars", "weekly_meetings", "group_substitutes")


def key(name, *, nullable=False):
    return sa.Column(name, sa.Uuid(), nullable=nullable)


def table(name, *columns, by_client=True):
    fingerprint = [sa.Column("fingerprint", sa.LargeBinary(), nullable=True)] if by_client else []
    parts = [part for part in columns if isinstance(part, sa.Column)]
    op.create_table(
        name,
        key("organization_id"),
        key("id"),
        *parts,
        *fingerprint,
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", INSTANT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f(f"pk_{name}")),
        *(part for part in columns if not isinstance(part, sa.Column)),
    )
    ddl.tenant_table(name)


def reference(table, column, other):
    columns = ["organization_id", column], [f"{other}.organization_id", f"{other}.id"]
    return sa.ForeignKeyConstraint(*columns, name=op.f(f"fk_{table}_{column}"))


def check(table, name, condition):
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def index(table, *columns, name=None, **options):
    name = name or op.f(f"ix_{table}_{'_'.join(columns)}")
    op.create_index(name, table, ["organization_id", *columns], **options)


def dates(table):
    yield sa.Column("first_date", sa.Date(), nullable=False)
    yield sa.Column("last_date", sa.Date(), nullable=False)
    yield check(table, "last_after_first", "last_date >= first_date")


def create_calendars():
    table(
        "calendars",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sort_name", sa.Text(collation="C"), nullable=False),
        sa.UniqueConstraint(
            "organization_id", "sort_name", name=op.f("uq_calendars_sort_name"), postgresql_nulls_not_distinct=True
        ),
    )
    for name in ("calendar_terms", "calendar_holidays"):
        columns = (key("calendar_id"), sa.Column("name", sa.Text(), nullable=False), *dates(name))
        table(name, *columns, reference(name, "calendar_id", "calendars"))
        index(name, "calendar_id", "first_date", "id")
    table(
        "group_calendars",
        key("calendar_id"),
        reference("group_calendars", "id", "groups"),
        reference("group_calendars", "calendar_id", "calendars"),
        by_client=False,
    )
    index("group_calendars", "calendar_id")


def create_meetings():
    name = "weekly_meetings"
    texts = (sa.Column(column, sa.Text(), nullable=False) for column in ("slot", "start_time", "end_time"))
    table(
        name,
        key("group_id"),
        key("series_id"),
        *texts,
        sa.Column("weekday", sa.Integer(), nullable=False),
        sa.Column("weeks", sa.Text(), server_default="every", nullable=False),
        sa.Column("anchor_date", sa.Date(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("trainer_ids", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=True),
        reference(name, "group_id", "groups"),
        check(name, "weekday", "weekday BETWEEN 0 AND 6"),
        check(name, "local_times", f"start_time ~ '{LOCAL_TIME}' AND end_time ~ '{LOCAL_TIME}'"),
        check(name, "has_a_length", "start_time <> end_time"),
        check(name, "weeks", "weeks IN ('every', 'second', 'odd', 'even')"),
        check(name, "last_after_first", "last_date >= first_date - 1"),
        postgresql.ExcludeConstraint(
            *((column, "=") for column in ("organization_id", "group_id", "weekday", "slot")),
            (sa.text("daterange(first_date, last_date + 1)"), "&&"),
            using="gist",
            name="ex_weekly_meetings_slot",
        ),
    )
    index(name, "group_id", "weekday", "start_time", "id")
    index(name, "series_id")


def link_sessions():
    op.add_column("organizations", sa.Column("session_days_ahead", sa.Integer(), server_default="14", nullable=False))
    op.create_check_constraint(
        op.f("ck_organizations_session_days_ahead"), "organizations", "session_days_ahead BETWEEN 0 AND 60"
    )
    op.add_column("attendance_sessions", key("meeting_id", nullable=True))
    op.add_column("attendance_sessions", sa.Column("planned_on", sa.Date(), nullable=True))
    op.add_column("attendance_sessions", sa.Column("reason", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_attendance_sessions_meeting_id"),
        "attendance_sessions",
        "weekly_meetings",
        ["organization_id", "meeting_id"],
        ["organization_id", "id"],
    )
    op.create_check_constraint(
        op.f("ck_attendance_sessions_planned"), "attendance_sessions", "(meeting_id IS NULL) = (planned_on IS NULL)"
    )
    index("attendance_sessions", "meeting_id", "planned_on", name="uq_attendance_sessions_planned", unique=True)


def create_substitutes():
    name = "group_substitutes"
    table(
        name,
        key("group_id"),
        key("trainer_id"),
        *dates(name),
        reference(name, "group_id", "groups"),
        sa.ForeignKeyConstraint(
            ["organization_id", "trainer_id"],
            ["memberships.organization_id", "memberships.user_id"],
            name=op.f("fk_group_substitutes_trainer_id"),
            ondelete="CASCADE",
        ),
    )
    index(name, "trainer_id", "last_date", "group_id")
    index(name, "group_id", "first_date", "id")


def upgrade() -> None:
    create_calendars()
    create_meetings()
    link_sessions()
    create_substitutes()
    op.add_column("enrolments", sa.Column("is_waiting", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(
        op.f("ck_enrolments_waits_pending"), "enrolments", "status = 'pending' OR NOT is_waiting"
    )
    waiting = {"postgresql_where": sa.text("is_waiting")}
    index("enrolments", "group_id", "created_at", "id", name="ix_enrolments_waiting", **waiting)


def downgrade() -> None:
    op.drop_column("enrolments", "is_waiting")
    op.drop_column("attendance_sessions", "reason")
    op.drop_column("attendance_sessions", "planned_on")
    op.drop_column("attendance_sessions", "meeting_id")
    op.drop_column("organizations", "session_days_ahead")
    for name in reversed(TABLES):
        op.drop_table(name)
