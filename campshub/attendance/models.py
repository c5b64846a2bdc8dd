"""Attendance codes, sessions, the records of who came, and what they add up to."""

import uuid
from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    PERSONAL,
    PLATFORM_ID,
    ClientMade,
    MonthlyTenantBase,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.rollups.definition import RollupBase, StaleBase

# What a mark can count as; whoever counts as one of ATTENDED was there.
COUNTS_AS = ("present", "late", "left_early", "absent", "excused")
ATTENDED = ("present", "late", "left_early")
SESSION_STATUSES = ("scheduled", "open", "submitted", "locked", "cancelled")
SOURCES = ("manual", "bulk", "kiosk", "qr", "import", "api")

# The platform's rows stand under ids whose time is zero, which no clock makes and nobody else may use.
FIRST_OWN_ID = uuid.UUID(int=1 << 80)

# Stands for the whole place where a key needs a group: open gym has none.
OPEN_GYM = uuid.UUID(int=0)


class AttendanceCode(TenantBase, ClientMade):
    """What a mark says, and what it counts as.

    The five defaults are rows of the services, which every organization reads: one made before or after has them, and
    none needs a copy. An organization's own row under a default's key stands in its place, so that a default is
    renamed or archived like any other. Records keep a code's key and what it counted as, so that changing or archiving
    a code rewrites no history, marking needs no foreign key into a shared table, and reading a record no join.
    """

    __tablename__ = "attendance_codes"
    __tag__ = "attendance_codes"
    __table_args__ = (
        tenant_unique("key"),
        CheckConstraint(f"counts_as IN {COUNTS_AS}", name="counts_as"),
        CheckConstraint(f"(organization_id = '{PLATFORM_ID}') = (id < '{FIRST_OWN_ID}')", name="reserved_ids"),
    )

    key: Mapped[str]
    label: Mapped[str]
    counts_as: Mapped[str]
    in_rate: Mapped[bool]
    position: Mapped[int] = mapped_column(default=0, server_default="0")
    is_archived: Mapped[bool] = mapped_column(default=False, server_default="false")


class AttendanceSession(TenantBase, ClientMade):
    """A group's meeting, or the whole place's (open gym, no group), on a local date and slot.

    A cancelled session keeps its slot and leaves it free: a person may create another one there.
    """

    __tablename__ = "attendance_sessions"
    __tag__ = "attendance_sessions"  # apart from the marks, which come by the minute and leave lists of sessions true
    __table_args__ = (
        Index(
            "uq_attendance_sessions_meeting",
            "organization_id",
            "group_id",
            "local_date",
            "slot",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("status <> 'cancelled'"),
        ),
        tenant_index("group_id", "local_date", "id"),
        tenant_foreign_key("group_id", "groups"),
        CheckConstraint(f"status IN {SESSION_STATUSES}", name="status"),
        CheckConstraint("ends_at IS NULL OR starts_at IS NULL OR ends_at > starts_at", name="ends_after_start"),
        CheckConstraint("(status = 'locked') = (locked_at IS NOT NULL)", name="locked_at"),
        CheckConstraint("(status IN ('submitted', 'locked')) = (submitted_at IS NOT NULL)", name="submitted_at"),
        tenant_index("local_date", "id"),
        tenant_index("status", "local_date", "id"),
    )

    group_id: Mapped[uuid.UUID | None]
    local_date: Mapped[date]
    slot: Mapped[str | None]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(default="scheduled", server_default="scheduled")
    notes: Mapped[str | None]
    submitted_at: Mapped[datetime | None]
    submitted_by: Mapped[uuid.UUID | None]
    locked_at: Mapped[datetime | None]


class RegisterVersion(TenantBase):
    """How often a session's marks have been changed, under the session's own id; no row: they never were.

    It is separate from the session, so that a mark leaves lists of sessions fresh. Whatever writes marks raises it in
    the same transaction.
    """

    __tablename__ = "register_versions"
    __tag__ = "attendance"
    __audited__: ClassVar[bool] = False  # each mark has its own entry
    __table_args__ = (tenant_foreign_key("id", "attendance_sessions"),)


class AttendanceRecord(MonthlyTenantBase):
    """One student's mark in one session; the date is the session's, which cannot change any more."""

    __tablename__ = "attendance_records"
    __tag__ = "attendance"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_unique("local_date", "session_id", "student_id", name="uq_attendance_records_mark"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        tenant_foreign_key("student_id", "students"),
        CheckConstraint(f"counts_as IN {COUNTS_AS}", name="counts_as"),
        CheckConstraint(f"source IN {SOURCES}", name="source"),
        CheckConstraint(
            "check_out_at IS NULL OR check_in_at IS NULL OR check_out_at >= check_in_at", name="out_after_in"
        ),
        tenant_index("student_id", "local_date", "id"),
        tenant_index("group_id", "local_date", "id"),
        tenant_index("session_id"),
        # Nearly all are present, and are found without it; so marking a roster seldom writes to it.
        tenant_index(
            "code",
            "local_date",
            "id",
            name="ix_attendance_records_code",
            postgresql_where=text("code <> 'present'"),
        ),
        {"postgresql_partition_by": "RANGE (local_date)"},
    )

    session_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    group_id: Mapped[uuid.UUID | None]  # the session's, so that a group's records are found without a join
    code: Mapped[str]
    counts_as: Mapped[str]  # what the code said when the mark was made
    in_rate: Mapped[bool]
    check_in_at: Mapped[datetime | None]
    check_out_at: Mapped[datetime | None]
    minutes: Mapped[int | None]  # between the two
    source: Mapped[str]
    device_id: Mapped[uuid.UUID | None]
    note: Mapped[str | None] = mapped_column(info=PERSONAL)
    marked_by: Mapped[uuid.UUID | None]


class _Counts:
    """What marks add up to."""

    present: Mapped[int]
    late: Mapped[int]
    left_early: Mapped[int]
    absent: Mapped[int]
    excused: Mapped[int]
    rated: Mapped[int]  # those that enter the rate
    attended: Mapped[int]  # those of these who were there
    minutes: Mapped[int] = mapped_column(BigInteger)


class AttendanceGroupDay(RollupBase, _Counts):
    """What the marks of a group, or of open gym, add up to on a day."""

    __tablename__ = "attendance_group_days"
    __tag__ = "attendance"
    __table_args__ = (tenant_index("group_id", "local_date"),)

    local_date: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AttendanceGroupDayStale(StaleBase):
    """A group's day that is to be counted anew."""

    __tablename__ = "attendance_group_days_stale"
    __tag__ = "attendance"

    local_date: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID]


class AttendanceStudentMonth(RollupBase, _Counts):
    """What a student's marks in a group, or in open gym, add up to in a month, which begins on ``month``."""

    __tablename__ = "attendance_student_months"
    __tag__ = "attendance"

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AttendanceStudentMonthStale(StaleBase):
    """A student's month that is to be counted anew."""

    __tablename__ = "attendance_student_months_stale"
    __tag__ = "attendance"

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
