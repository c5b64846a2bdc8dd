"""Attendance codes, sessions, records and rollups."""

import uuid
from collections.abc import Mapping
from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    PERSONAL,
    PLATFORM_ID,
    CreatedByClient,
    MonthlyTenantBase,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.rollups.definition import RollupBase, StaleBase

# What a mark can count as; those in ATTENDED count as attended.
COUNTS_AS = ("present", "late", "left_early", "absent", "excused")
ATTENDED = ("present", "late", "left_early")
SESSION_STATUSES = ("scheduled", "open", "submitted", "locked", "cancelled")
SOURCES = ("manual", "bulk", "kiosk", "qr", "import", "api", "leave")
NOTICE_STATUSES = ("pending", "sent", "corrected", "dropped")

# The platform's rows have ids with a timestamp of zero, which no clock makes and other rows may not use.
FIRST_OWN_ID = uuid.UUID(int=1 << 80)

# The group id of open gym, which has no group, in keys that need one.
OPEN_GYM = uuid.UUID(int=0)


class AttendanceCode(TenantBase, CreatedByClient):
    """An attendance code: its label, and what a mark with it counts as.

    The five defaults are rows of the platform that every organization reads, so no organization needs a copy. An
    organization's own row with a default's key replaces the default, so that a default can be renamed or archived.
    Records store a code's key and what it counted as: changing or archiving a code rewrites no history, marking needs
    no foreign key to a shared table, and reading a record needs no join.
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


class AttendanceSession(TenantBase, CreatedByClient):
    """A meeting of a group, or of open gym (no group), on a local date and slot.

    A cancelled session does not occupy its slot: a person may create another one in it.
    """

    __tablename__ = "attendance_sessions"
    __tag__ = "attendance_sessions"  # not the marks' tag: marks change often, and do not change lists of sessions
    # The order of a day's marks follows from these, so the months of the students must be counted again.
    __triggers__: ClassVar[Mapping[str, str]] = {"starts_at": "attendance", "slot": "attendance"}
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
        tenant_foreign_key("meeting_id", "weekly_meetings"),
        CheckConstraint("(meeting_id IS NULL) = (planned_on IS NULL)", name="planned"),
        # Each date of a weekly meeting has one session, also if that was cancelled or moved.
        Index("uq_attendance_sessions_planned", *("organization_id", "meeting_id", "planned_on"), unique=True),
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
    reopened_at: Mapped[datetime | None]  # automatic submission and locking count from then
    # The weekly meeting that it was created from, and the date on which that planned it; it may have moved since.
    meeting_id: Mapped[uuid.UUID | None]
    planned_on: Mapped[date | None]
    reason: Mapped[str | None]  # why it was cancelled or moved


class RegisterVersion(TenantBase):
    """The number of changes of a session's marks, with the session's id; no row means none.

    It is separate from the session, so that marks do not outdate lists of sessions. Every write of marks increments it
    in the same transaction.
    """

    __tablename__ = "register_versions"
    __tag__ = "attendance"
    __audited__: ClassVar[bool] = False  # each mark has its own entry
    __table_args__ = (tenant_foreign_key("id", "attendance_sessions"),)


class AttendanceRecord(MonthlyTenantBase):
    """One student's mark in one session, with the session's date, which cannot change while there are marks."""

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
        # Partial: most marks are ``present``, so marking a roster rarely writes to this index.
        tenant_index(
            "code",
            "local_date",
            "id",
            name="ix_attendance_records_code",
            postgresql_where=text("code <> 'present'"),
        ),
        # Partial, as above: for the minutes that students were late.
        tenant_index(
            *("local_date", "group_id"),
            name="ix_attendance_records_late",
            postgresql_where=text("counts_as = 'late'"),
        ),
        {"postgresql_partition_by": "RANGE (local_date)"},
    )

    session_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    group_id: Mapped[uuid.UUID | None]  # the session's, to find a group's records without a join
    code: Mapped[str]
    counts_as: Mapped[str]  # what the code counted as when the mark was made
    in_rate: Mapped[bool]
    check_in_at: Mapped[datetime | None]
    check_out_at: Mapped[datetime | None]
    minutes: Mapped[int | None]  # between the two
    source: Mapped[str]
    device_id: Mapped[uuid.UUID | None]
    note: Mapped[str | None] = mapped_column(info=PERSONAL)
    marked_by: Mapped[uuid.UUID | None]
    recorded_at: Mapped[datetime | None]  # when a device without a connection made the mark, by the device's clock


class RegisterAlert(TenantBase):
    """The alert that a session's register was not taken in time: trainers first, then admins, each once."""

    __tablename__ = "register_alerts"
    __tag__ = "register_alerts"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        tenant_unique("session_id"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        tenant_index("id", name="ix_register_alerts_active", postgresql_where=text("resolved_at IS NULL")),
    )

    session_id: Mapped[uuid.UUID]
    trainers_at: Mapped[datetime]
    admins_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]  # the register was taken, or the session was cancelled


class AbsenceNotice(TenantBase):
    """The notice to a student's guardians that the student was absent: pending, sent, corrected or dropped."""

    __tablename__ = "absence_notices"
    __tag__ = "absence_notices"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        tenant_unique("session_id", "student_id"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        tenant_foreign_key("student_id", "students"),
        CheckConstraint(f"status IN {NOTICE_STATUSES}", name="status"),
        tenant_index("student_id"),
        tenant_index("status", "local_date", "id"),
    )

    session_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    local_date: Mapped[date]  # the session's, which selects the mark's month
    due_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(default="pending", server_default="pending")


class MarkCounts:
    """Counts of marks."""

    present: Mapped[int]
    late: Mapped[int]
    left_early: Mapped[int]
    absent: Mapped[int]
    excused: Mapped[int]
    rated: Mapped[int]  # marks that count in the rate
    attended: Mapped[int]  # of these, the attended ones
    minutes: Mapped[int] = mapped_column(BigInteger)


class AttendanceGroupDay(RollupBase, MarkCounts):
    """The counts of a group's or open gym's marks on a day."""

    __tablename__ = "attendance_group_days"
    __tag__ = "attendance"
    __table_args__ = (tenant_index("group_id", "local_date"),)

    local_date: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AttendanceGroupDayStale(StaleBase):
    """A group's day that must be counted again."""

    __tablename__ = "attendance_group_days_stale"
    __tag__ = "attendance"

    local_date: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID]


class AttendanceSessionCount(RollupBase, MarkCounts):
    """The counts of a session's marks; they become stale together with those of the group's day."""

    __tablename__ = "attendance_session_counts"
    __tag__ = "attendance"
    __table_args__ = (tenant_index("group_id", "local_date"),)

    local_date: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AttendanceStudentMonth(RollupBase, MarkCounts):
    """The counts of a student's marks in a group or in open gym in the month that begins on ``month``."""

    __tablename__ = "attendance_student_months"
    __tag__ = "attendance"

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    group_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class AttendanceStudentOutcome(RollupBase):
    """What a student's sessions of a month came to, in their order; stale together with the month's counts.

    ``outcomes`` has a letter for each mark in the rate: ``p`` if it counts as attended, else ``m`` (missed). Runs
    across groups and months are read from these texts. ``week_ends`` has, for each week that a month may touch, the
    number of letters until its end.
    """

    __tablename__ = "attendance_student_outcomes"
    __tag__ = "attendance"
    __table_args__ = (tenant_index("month", "student_id"),)

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    outcomes: Mapped[str]
    week_ends: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    last_attended_on: Mapped[date | None]


class AttendanceStudentMonthStale(StaleBase):
    """A student's month that must be counted again."""

    __tablename__ = "attendance_student_months_stale"
    __tag__ = "attendance"

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
