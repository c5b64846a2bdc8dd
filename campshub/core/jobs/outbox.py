"""The outbox: what must happen after a commit is written down in it, so that neither can be without the other."""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.base import Base, new_id
from campshub.core.db.session import Session


class OutboxMessage(Base):
    """A job that is owed; it holds ids only, never what is told about a person."""

    __tablename__ = "outbox"
    __tag__ = "outbox"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        Index("ix_outbox_due", "available_at", postgresql_where=text("finished_at IS NULL AND died_at IS NULL")),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    job: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    trace_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    # Given up after too many attempts; ``problem`` names the last one's error, by its kind alone.
    died_at: Mapped[datetime | None]
    problem: Mapped[str | None]


def enqueue(session: Session, job: str, **arguments: Any) -> uuid.UUID:
    """Owe a job, by name, with this unit of work's commit; return the id that its effect carries."""
    message_id = new_id()
    session.unit.outbox.append({"id": message_id, "job": job, "arguments": arguments})
    return message_id
