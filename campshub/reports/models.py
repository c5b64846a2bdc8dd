"""Reports, the schedules that make them again and again, and which of a schedule's times have been seen to."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, ClientMade, TenantBase, tenant_foreign_key, tenant_index
from campshub.core.security.principal import everyone_sees
from campshub.reports.formats import FORMATS

# How far a report is that is under way, its job says.
STATES = ("under_way", "ready", "refused")
SHOWN_STATES = ("queued", "running", "ready", "refused", "failed", "cancelled")
FREQUENCIES = ("daily", "weekly", "monthly")


def _of_member(column: str, *, ondelete: str | None = None) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", column], ["memberships.organization_id", "memberships.user_id"], ondelete=ondelete
    )


class Report(TenantBase):
    """A report that someone has asked for: what of, how far it is, and where its file is until when."""

    __tablename__ = "reports"
    __tag__ = "reports"
    __table_args__ = (
        _of_member("user_id"),
        tenant_foreign_key("api_key_id", "api_keys", ondelete="SET NULL (api_key_id)"),
        tenant_foreign_key("schedule_id", "report_schedules", ondelete="SET NULL (schedule_id)"),
        CheckConstraint(f"format IN {FORMATS}", name="format"),
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("(state = 'ready') = (file IS NOT NULL)", name="file"),
        tenant_index("user_id", "id"),
        tenant_index("api_key_id"),
        tenant_index("schedule_id"),
        tenant_index("expires_at"),
    )

    user_id: Mapped[uuid.UUID]
    # A key sees what was asked for with it, and nothing else of whoever made it.
    api_key_id: Mapped[uuid.UUID | None]
    with_key: Mapped[bool] = mapped_column(default=False, server_default="false")
    schedule_id: Mapped[uuid.UUID | None]
    job_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    format: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="under_way", server_default="under_way")
    # How far the asker saw while it was made (``standing``); whoever sees less by now is not shown it.
    scope: Mapped[str | None]
    among: Mapped[list[uuid.UUID] | None] = mapped_column(ARRAY(Uuid))
    rows: Mapped[int | None]
    bytes: Mapped[int | None]
    notes: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default="{}")
    problem: Mapped[str | None]
    # The last words of its file's path, which no two attempts share.
    file: Mapped[str | None]
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]


class ReportSchedule(TenantBase, ClientMade):
    """A report that is made and sent again and again, at a time of the organization's own clock."""

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
    day: Mapped[int | None]  # of the month; a shorter month's last
    local_time: Mapped[str]
    recipient_ids: Mapped[list[str]]
    is_paused: Mapped[bool] = mapped_column(default=False, server_default="false")
    next_at: Mapped[datetime]


class ReportSlot(Base):
    """A time of a schedule that has been seen to: whoever wrote the row makes the report, and nobody else."""

    __tablename__ = "report_slots"
    __tag__ = "report_slots"
    __audited__: ClassVar[bool] = False
    __table_args__ = (tenant_foreign_key("schedule_id", "report_schedules", ondelete="CASCADE"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    schedule_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slot: Mapped[datetime] = mapped_column(primary_key=True)
    report_id: Mapped[uuid.UUID]
    claimed_at: Mapped[datetime] = mapped_column(server_default=func.now())


# Whose they are, the reads say beside it: a scope does not tell an admin from a nutritionist.
everyone_sees(Report)
everyone_sees(ReportSchedule)
