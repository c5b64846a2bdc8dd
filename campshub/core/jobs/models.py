"""What is owed after commits, and how far the long ones of it have come."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, TenantBase, new_id, tenant_index

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")


class OutboxMessage(Base):
    """A job that is owed; it holds ids only, never what is told about a person."""

    __tablename__ = "outbox"
    __tag__ = "outbox"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        Index("ix_outbox_due", "available_at", postgresql_where=text("finished_at IS NULL AND died_at IS NULL")),
        Index("ix_outbox_resend", "resend_at", postgresql_where=text("finished_at IS NULL AND died_at IS NULL")),
        Index("ix_outbox_died", "died_at", postgresql_where=text("died_at IS NOT NULL")),
        Index("ix_outbox_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        # A slot of the schedule belongs to whoever writes it first.
        Index(
            "uq_outbox_slot", "organization_id", "job", "slot", unique=True, postgresql_where=text("slot IS NOT NULL")
        ),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    job: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    trace_id: Mapped[str]
    # Who asked for it, and with which key; nobody, of what the schedule or a command asks for.
    user_id: Mapped[uuid.UUID | None]
    api_key_id: Mapped[uuid.UUID | None]
    slot: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # It may be claimed from then on: moved into the future by each claim, and by each failure.
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The relay sends it again from then on, so that none is lost with a broker, a worker or a sender.
    resend_at: Mapped[datetime] = mapped_column(server_default=text("now() + INTERVAL '15 seconds'"))
    # How often it was begun without getting anywhere.
    attempts: Mapped[int] = mapped_column(server_default="0")
    # How often it was claimed at all: the number by which a claim that was lost is told from the one that counts.
    claims: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    # Given up after too many attempts; ``problem`` names the last one's error, by its kind alone.
    died_at: Mapped[datetime | None]
    problem: Mapped[str | None]


class Job(TenantBase):
    """How far a job of many steps has come; its id is that of its message."""

    __tablename__ = "jobs"
    __tag__ = "jobs"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("done >= 0 AND total >= 0", name="progress"),
        CheckConstraint(f"(state IN {ENDED}) = (finished_at IS NOT NULL)", name="finished_at"),
        ForeignKeyConstraint(["organization_id", "user_id"], ["memberships.organization_id", "memberships.user_id"]),
        tenant_index("user_id", "id"),
        Index("ix_jobs_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    # Who asked for it, and with which key.
    user_id: Mapped[uuid.UUID | None]
    api_key_id: Mapped[uuid.UUID | None]
    job: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued", server_default="queued")
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    total: Mapped[int | None]
    # What the next step begins with.
    position: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
