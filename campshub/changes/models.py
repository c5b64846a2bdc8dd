"""Change sets: which rows a transaction has written, by feed; triggers of the feeds' tables write them."""

import uuid
from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import BigInteger, Index, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base

# Change sets are stored for this time; a token must be younger.
STORED_DAYS = 60


class ChangeSet(Base):
    """The rows of one feed that one statement has written, in the transaction with this number."""

    __tablename__ = "change_sets"
    __tag__ = "change_sets"
    __audited__: ClassVar[bool] = False
    __table_args__ = (Index(None, "recorded_at"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(primary_key=True)  # the feed's name
    transaction_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # an xid8
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    local_date: Mapped[date | None]  # only where it selects the rows' partition
    # Of removed rows: who may learn that they are gone.
    group_id: Mapped[uuid.UUID | None]
    student_id: Mapped[uuid.UUID | None]
    is_removed: Mapped[bool]
    ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
