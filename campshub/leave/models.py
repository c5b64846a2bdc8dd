"""Leave requests, and the marks that approved ones have made."""

import uuid
from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    PERSONAL,
    CreatedByClient,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)

STATUSES = ("pending", "approved", "rejected", "cancelled")


class LeaveRequest(TenantBase, CreatedByClient):
    """A student's request to be excused on some days, in all groups, in one, or in one session."""

    __tablename__ = "leave_requests"
    __tag__ = "leave_requests"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_foreign_key("group_id", "groups"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint("last_date >= first_date", name="last_after_first"),
        CheckConstraint("(status IN ('approved', 'rejected')) <= (decided_at IS NOT NULL)", name="decided"),
        CheckConstraint("group_id IS NULL OR session_id IS NULL", name="one_restriction"),
        CheckConstraint(
            "num_nulls(attachment, attachment_name, attachment_type, attachment_bytes) IN (0, 4)", name="attachment"
        ),
        tenant_index("student_id", "first_date", "id"),
        tenant_index("status", "first_date", "id"),
        tenant_index("first_date", "id"),
        tenant_index("group_id", "first_date", "id"),
        tenant_index("session_id"),
        # To remove attachments some time after the leave.
        tenant_index("last_date", name="ix_leave_requests_attachment", postgresql_where=text("attachment IS NOT NULL")),
    )

    student_id: Mapped[uuid.UUID]
    first_date: Mapped[date]
    last_date: Mapped[date]
    group_id: Mapped[uuid.UUID | None]
    session_id: Mapped[uuid.UUID | None]
    reason: Mapped[str] = mapped_column(info=PERSONAL)
    status: Mapped[str] = mapped_column(default="pending", server_default="pending")
    requested_by: Mapped[uuid.UUID | None]
    decided_by: Mapped[uuid.UUID | None]
    decided_at: Mapped[datetime | None]
    comment: Mapped[str | None] = mapped_column(info=PERSONAL)  # by the person who decided
    attachment: Mapped[str | None]  # the name of the file in the storage
    attachment_name: Mapped[str | None] = mapped_column(info=PERSONAL)
    attachment_type: Mapped[str | None]
    attachment_bytes: Mapped[int | None]


class LeaveMark(TenantBase):
    """A mark that an approved request has made or changed: cancelling takes it back, if no one has changed it since."""

    __tablename__ = "leave_marks"
    __tag__ = "leave_marks"
    __audited__: ClassVar[bool] = False  # the mark has its own entry
    __table_args__ = (
        tenant_unique("session_id", "student_id"),
        tenant_foreign_key("leave_request_id", "leave_requests"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        tenant_foreign_key("student_id", "students"),
        tenant_index("leave_request_id"),
        tenant_index("student_id"),
    )

    leave_request_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    local_date: Mapped[date]  # the session's, which selects the record's month
    record_id: Mapped[uuid.UUID]
    record_version: Mapped[int]  # since this request; a greater one shows that another person changed the mark
    previous: Mapped[dict[str, Any] | None]  # the absence that it was before; None: there was no mark
