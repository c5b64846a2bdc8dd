"""The table of alerts."""

import uuid
from datetime import datetime
from typing import ClassVar

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base, new_id
from campshub.core.db.retention import expires


class Alert(Base):
    """A value that is, or was, beyond its limit; a row of the platform."""

    __tablename__ = "alerts"
    __tag__ = "alerts"
    __audited__: ClassVar[bool] = False
    __table_args__ = (
        # One active alert per check and subject.
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


# Cleared alerts are of no use after half a year.
expires(Alert, "cleared_at < now() - INTERVAL '180 days'")
