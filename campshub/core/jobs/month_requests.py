"""Refuse a write whose month is not in the database, and request the month.

The request is committed in a separate unit of work, because that of the write is rolled back.
"""

from datetime import date
from typing import Any

import psycopg
from sqlalchemy import literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from campshub.config import Settings
from campshub.core.dates import add_months
from campshub.core.db.session import Session
from campshub.core.db.unit import Unit
from campshub.core.errors import MonthUnavailable
from campshub.core.jobs.models import OutboxMessage
from campshub.core.jobs.store import enqueue
from campshub.core.partitions import MONTHS_AHEAD, writable

PROVIDE = "partitions.provide"
RETRY_AFTER_S = 2
_SOON = "The rows of {month:%Y-%m} are not in the database; the month is being made available. Send the request again."
_NOT_HERE = "The rows of {month:%Y-%m} are not in the database; if they are archived, an operator can restore them."


def refusal(settings: Settings, unit: Unit, error: Exception) -> MonthUnavailable | None:
    """Return the refusal of a write whose month is not in the database, and request the month; None for other errors.

    A month before the writable ones is not requested, because it would be archived again. Nor is a month that is
    further ahead than the schedule creates them.
    """
    missing = error.missing if isinstance(error, MonthUnavailable) else _missing(unit, error)
    if not missing:
        return None
    tag, month = min(missing)
    today = unit.now.date()
    first = writable.first_writable(settings, tag, today)
    if first is None:
        return None
    if not first <= month <= add_months(today, MONTHS_AHEAD):
        return MonthUnavailable(_NOT_HERE.format(month=month))
    unit.separate_writes.append(lambda session: _request(session, missing))
    return MonthUnavailable(_SOON.format(month=month), headers={"Retry-After": str(RETRY_AFTER_S)})


def _missing(unit: Unit, error: Exception) -> set[tuple[str, date]]:
    """Return the possibly missing months of a refused statement: those of the unit with the table's tag."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if not isinstance(cause, psycopg.errors.CheckViolation) or cause.diag.constraint_name is not None:
        return set()
    tag = writable.tag_of(cause.diag.table_name)
    return {one for one in unit.months if one[0] == tag}


def _request(session: Session, missing: set[tuple[str, date]]) -> None:
    """Enqueue jobs that provide the months, unless the organization has already requested them."""
    for tag, month in sorted(missing):
        arguments: dict[str, Any] = {"tag": tag, "month": month.isoformat()}
        pending = select(OutboxMessage.id).where(
            OutboxMessage.organization_id == session.unit.organization_id,
            OutboxMessage.job == PROVIDE,
            OutboxMessage.arguments == literal(arguments, JSONB),
            OutboxMessage.finished_at.is_(None),
            OutboxMessage.died_at.is_(None),
        )
        if session.scalar(pending.limit(1)) is None:
            enqueue(session, PROVIDE, **arguments)
