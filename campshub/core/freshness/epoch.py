"""The epoch: a number that only grows, increased by each write that could not be recorded in Redis.

It is the sum of a base value and the number of unstamped writes, read in one statement (``freshness_epoch()``). A write
that cannot be stamped adds a row in its own transaction. So the epoch grows at the same moment as the data changes, and
without a lock for which writers would wait.
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
    """The base value of the epoch; a table of one row."""

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
    """Add the number of rows to the base and delete them; return the number and the new base.

    The epoch does not change.
    """
    row = session.execute(_FOLD).one()
    return row[0], row[1]
