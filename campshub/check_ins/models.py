"""Check-in events, visits of open gym, and what students check in with: cards, and codes that work once."""

import uuid
from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import CheckConstraint, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.attendance.models import SOURCES
from campshub.core.db.models import (
    PERSONAL,
    SECRET,
    CreatedByClient,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.db.retention import expires
from campshub.core.security.principal import everyone_sees

KINDS = ("in", "out")
# How the student is recognised: chosen, by the student's code, a card, a code that works once, or by the session's QR
# code in the student's own name.
WAYS = ("student_id", "code", "card", "personal_code", "qr")
# Longer than the oldest event that an organization may accept, so that no repeated event is taken for a new one.
DAYS_KEPT = 90


class CheckInEvent(TenantBase):
    """One check-in or check-out as a device or a person sent it, under the id that the sender chose.

    A repeated event finds its row here. The times of a record are those of all its events, so the order in which events
    arrive makes no difference.
    """

    __tablename__ = "check_in_events"
    __tag__ = "check_in_events"
    __audited__: ClassVar[bool] = False  # the mark that it changes has its own entry
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_foreign_key("session_id", "attendance_sessions"),
        tenant_foreign_key("device_id", "api_keys"),
        CheckConstraint(f"kind IN {KINDS}", name="kind"),
        CheckConstraint(f"way IN {WAYS}", name="way"),
        tenant_index("session_id", "student_id"),
        tenant_index("student_id", "at"),
        tenant_index("device_id"),
        Index(None, "created_at"),  # of all organizations, for the retention
    )

    student_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID | None]  # None: a visit of open gym
    local_date: Mapped[date]  # the session's, which selects the month of the record; without one, that of the event
    kind: Mapped[str]
    way: Mapped[str]
    at: Mapped[datetime]
    device_id: Mapped[uuid.UUID | None]  # the API key
    user_id: Mapped[uuid.UUID]
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)


expires(CheckInEvent, f"created_at < now() - INTERVAL '{DAYS_KEPT} days'")


class CheckInCode(TenantBase):
    """A student's code for a kiosk, which works once; a new one replaces it."""

    __tablename__ = "check_in_codes"
    __tag__ = "check_in_codes"
    __audited__: ClassVar[bool] = False  # its use makes a mark, which is audited
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_unique("student_id"),
        tenant_unique("code_hash"),
        Index(None, "expires_at"),  # of all organizations, for the retention
    )

    student_id: Mapped[uuid.UUID]
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, info=SECRET)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class StudentCard(TenantBase, CreatedByClient):
    """A card with which a student checks in. Its number is printed on it and no secret."""

    __tablename__ = "student_cards"
    __tag__ = "student_cards"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_unique("number"),
        tenant_index("student_id", "id"),
    )

    student_id: Mapped[uuid.UUID]
    number: Mapped[str] = mapped_column(info=PERSONAL)


class Visit(TenantBase):
    """A stay of a student in open gym, with the id of the event that began it.

    It is not partitioned: there is one row per visit and not one per student and session, and that a student has one
    open visit is a unique index, which a partitioned table could enforce only within each day.
    """

    __tablename__ = "visits"
    __tag__ = "visits"
    __audited__: ClassVar[bool] = False  # it follows from events
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        tenant_foreign_key("device_id", "api_keys"),
        CheckConstraint("checked_out_at >= checked_in_at", name="out_after_in"),
        CheckConstraint("checked_out_at IS NOT NULL OR NOT is_automatic", name="ended_automatically"),
        CheckConstraint(f"source IN {SOURCES}", name="source"),
        tenant_index("student_id", name="uq_visits_open", unique=True, postgresql_where=text("checked_out_at IS NULL")),
        Index("ix_visits_open_since", "checked_in_at", postgresql_where=text("checked_out_at IS NULL")),
        tenant_index("student_id", "checked_in_at"),
        tenant_index("checked_in_at"),
        tenant_index("device_id"),
    )

    student_id: Mapped[uuid.UUID]
    local_date: Mapped[date]  # of the check-in
    checked_in_at: Mapped[datetime]
    checked_out_at: Mapped[datetime | None]
    is_automatic: Mapped[bool] = mapped_column(default=False, server_default="false")  # no one has checked out
    source: Mapped[str]
    device_id: Mapped[uuid.UUID | None]


expires(CheckInCode, "expires_at < now() - INTERVAL '1 day'")
everyone_sees(CheckInCode)
everyone_sees(StudentCard)
everyone_sees(Visit)
