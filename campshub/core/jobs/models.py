"""The tables of the outbox, and of the progress of jobs with steps."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, TenantBase, new_id, tenant_index

STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")


class OutboxMessage(Base):
    """A pending or finished job; it contains only ids, no personal data."""

    __tablename__ = "outbox"
    __tag__ = "outbox"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        Index("ix_outbox_due", "available_at", postgresql_where=text("finished_at IS NULL AND died_at IS NULL")),
        Index("ix_outbox_resend", "resend_at", postgresql_where=text("finished_at IS NULL AND died_at IS NULL")),
        Index("ix_outbox_died", "died_at", postgresql_where=text("died_at IS NOT NULL")),
        Index("ix_outbox_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        # The first insert of a slot of the schedule wins.
        Index(
            "uq_outbox_slot", "organization_id", "job", "slot", unique=True, postgresql_where=text("slot IS NOT NULL")
        ),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    job: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    trace_id: Mapped[str]
    # The user, and the API key, that requested the job; NULL for jobs of the schedule or of a command.
    user_id: Mapped[uuid.UUID | None]
    api_key_id: Mapped[uuid.UUID | None]
    slot: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The time from which it may be claimed: each claim and each failure moves it into the future.
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The time from which the relay sends it again, so that no job is lost with a broker, a worker or a sender.
    resend_at: Mapped[datetime] = mapped_column(server_default=text("now() + INTERVAL '15 seconds'"))
    # The number of attempts since the last success of a step.
    attempts: Mapped[int] = mapped_column(server_default="0")
    # The number of all claims. It is the fencing token, which distinguishes the current claim from a lost one.
    claims: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    # Failed after too many attempts; ``problem`` is the class of the last error.
    died_at: Mapped[datetime | None]
    problem: Mapped[str | None]


class Job(TenantBase):
    """The progress of a job with steps; its id is that of its message."""

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

    # The user, and the API key, that requested the job.
    user_id: Mapped[uuid.UUID | None]
    api_key_id: Mapped[uuid.UUID | None]
    job: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued", server_default="queued")
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    total: Mapped[int | None]
    # The position at which the next step begins.
    position: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
