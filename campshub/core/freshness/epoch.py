"""The epoch: a number that only grows, raised by writes of which Redis could not be told.

It is the base and the count of the rows beside it, read in one statement (``freshness_epoch()``). A write that cannot
be stamped adds a row in its own transaction, so that the epoch grows in the same instant as the data, and without a
lock that writers would queue for.
"""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, Identity, func, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base
from campshub.core.db.session import Session

ADD = text("INSERT INTO unstamped_writes DEFAULT VALUES")
_FOLD = text(
    """
    WITH folded AS (DELETE FROM unstamped_writes RETURNING id),
         counted AS (SELECT count(*) AS rows FROM folded),
         raised AS (UPDATE epoch_base SET value = value + (SELECT rows FROM counted) RETURNING value)
    SELECT counted.rows, raised.value FROM counted, raised
    """
)


class EpochBase(Base):
    """The part of the epoch that no longer takes rows; one row."""

    __tablename__ = "epoch_base"
    __tag__ = "epoch"
    __audited__: ClassVar[bool] = False

    value: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class UnstampedWrite(Base):
    """One write that could not be stamped."""

    __tablename__ = "unstamped_writes"
    __tag__ = "epoch"
    __audited__: ClassVar[bool] = False

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


def fold(session: Session) -> tuple[int, int]:
    """Move the rows into the base; return how many there were, and the base now. The epoch stays what it was."""
    row = session.execute(_FOLD).one()
    return row[0], row[1]
