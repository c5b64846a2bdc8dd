"""Alerts about students at risk."""

import uuid
from datetime import datetime
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped

from campshub.core.db.models import TenantBase, tenant_foreign_key, tenant_index

# The rate of some weeks is below a limit, so many missed sessions in a row, no visit for so many days.
RULES = ("rate", "absences", "days_away")
_OPEN = text("resolved_at IS NULL")


class AttendanceAlert(TenantBase):
    """A rule of the at-risk list that a student meets, from the day that this was found until it no longer holds."""

    __tablename__ = "attendance_alerts"
    __tag__ = "attendance_alerts"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        CheckConstraint(f"rule IN {RULES}", name="rule"),
        CheckConstraint("(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name="acknowledged"),
        CheckConstraint("resolved_at >= raised_at", name="resolved_after_raised"),
        # Two runs of the job at once raise each alert once.
        Index(
            "uq_attendance_alerts_open",
            *("organization_id", "student_id", "rule"),
            unique=True,
            postgresql_where=_OPEN,
        ),
        tenant_index("raised_at", "id", name="ix_attendance_alerts_open", postgresql_where=_OPEN),
        tenant_index("raised_at", "id"),
        tenant_index("student_id", "raised_at", "id"),
        tenant_index("rule", "raised_at", "id"),
    )

    student_id: Mapped[uuid.UUID]
    rule: Mapped[str]
    # What was found when the alert was raised: per cent, absences or days; None: never visited.
    value: Mapped[int | None]
    threshold: Mapped[int]
    raised_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[uuid.UUID | None]
