"""Alerts as rows."""

import uuid
from datetime import datetime
from typing import ClassVar

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, new_id
from campshub.core.db.retention import expires


class Alert(Base):
    """One thing that is, or was, beyond its limit; the platform's own."""

    __tablename__ = "alerts"
    __tag__ = "alerts"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        # One that stands a subject.
        Index("uq_alerts_standing", "name", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
        Index("ix_alerts_cleared_at", "cleared_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    subject: Mapped[str]
    value: Mapped[float]
    threshold: Mapped[float]
    unit: Mapped[str]
    advice: Mapped[str]
    raised_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    cleared_at: Mapped[datetime | None]


# Longer than half a year nobody asks.
expires(Alert, "cleared_at < now() - INTERVAL '180 days'")
