"""Reports, their schedules, and the times of a schedule that have been claimed."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, CreatedByClient, TenantBase, tenant_foreign_key, tenant_index
from campshub.core.security.principal import everyone_sees
from campshub.reports.formats import FORMATS

# The progress of a report that is under way is in its job.
STATES = ("under_way", "ready", "refused")
SHOWN_STATES = ("queued", "running", "ready", "refused", "failed", "cancelled")
FREQUENCIES = ("daily", "weekly", "monthly")


def _of_member(column: str, *, ondelete: str | None = None) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", column], ["memberships.organization_id", "memberships.user_id"], ondelete=ondelete
    )


class Report(TenantBase):
    """A requested report: its parameters, its state, its file and its expiry."""

    __tablename__ = "reports"
    __tag__ = "reports"
    __table_args__ = (
        _of_member("user_id"),
        tenant_foreign_key("api_key_id", "api_keys"),
        tenant_foreign_key("schedule_id", "report_schedules"),
        CheckConstraint(f"format IN {FORMATS}", name="format"),
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("(state = 'ready') = (file IS NOT NULL)", name="file"),
        tenant_index("user_id", "id"),
        tenant_index("api_key_id"),
        tenant_index("schedule_id"),
        tenant_index("expires_at"),
    )

    user_id: Mapped[uuid.UUID]
    # A key sees the reports that were requested with it, and no others of its maker.
    api_key_id: Mapped[uuid.UUID | None]
    with_key: Mapped[bool] = mapped_column(default=False, server_default="false")
    schedule_id: Mapped[uuid.UUID | None]
    job_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    format: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="under_way", server_default="under_way")
    # What the requester saw while it was made (``access_snapshot``); it is not shown to users who see less now.
    scope: Mapped[str | None]
    among: Mapped[list[uuid.UUID] | None] = mapped_column(ARRAY(Uuid))
    rows: Mapped[int | None]
    bytes: Mapped[int | None]
    notes: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    problem: Mapped[str | None]
    # The last segment of its file's path; each attempt has its own.
    file: Mapped[str | None]
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]


class ReportSchedule(TenantBase, CreatedByClient):
    """A report that is made and sent regularly, at a local time of the organization."""

    __tablename__ = "report_schedules"
    __tag__ = "reports"
    __table_args__ = (
        _of_member("user_id"),
        CheckConstraint(f"format IN {FORMATS}", name="format"),
        CheckConstraint(f"frequency IN {FREQUENCIES}", name="frequency"),
        CheckConstraint("(frequency = 'weekly') = (weekday IS NOT NULL) AND weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint("(frequency = 'monthly') = (day IS NOT NULL) AND day BETWEEN 1 AND 31", name="day"),
        CheckConstraint("local_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'", name="local_time"),
        tenant_index("user_id"),
        tenant_index("next_at"),
    )

    user_id: Mapped[uuid.UUID]
    name: Mapped[str]
    kind: Mapped[str]
    format: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    frequency: Mapped[str]
    weekday: Mapped[int | None]  # 0 is Monday
    day: Mapped[int | None]  # of the month; in a shorter month its last day
    local_time: Mapped[str]
    recipient_ids: Mapped[list[str]]
    is_paused: Mapped[bool] = mapped_column(default=False, server_default="false")
    next_at: Mapped[datetime]


class ReportSlot(Base):
    """A claimed time of a schedule: only the transaction that inserts the row enqueues the report."""

    __tablename__ = "report_slots"
    __tag__ = "report_slots"
    __audited__: ClassVar[bool] = False
    __table_args__ = (tenant_foreign_key("schedule_id", "report_schedules", ondelete="CASCADE"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    schedule_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slot: Mapped[datetime] = mapped_column(primary_key=True)
    report_id: Mapped[uuid.UUID]
    claimed_at: Mapped[datetime] = mapped_column(server_default=func.now())


# The reads add a condition on the owner: scopes do not distinguish an admin from a nutritionist.
everyone_sees(Report)
everyone_sees(ReportSchedule)
