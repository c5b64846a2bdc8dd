"""What is of no use any more after a time: each module says so of its own tables, and one job deletes it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from campshub.core.db.session import Session
from campshub.core.db.work import wrote


@dataclass(frozen=True)
class Expiry:
    """Rows of a table that have had their time."""

    model: Any
    condition: str


_expiries: list[Expiry] = []


def expires(model: Any, condition: str) -> None:
    """Let the rows of a table go for which a condition over its columns holds; an index must serve it."""
    _expiries.append(Expiry(model, condition))


def expiries() -> list[Expiry]:
    """Return all, in the order of their tables' names."""
    return sorted(_expiries, key=lambda one: (one.model.__tablename__, one.condition))


def clean(session: Session, expiry: Expiry, *, most: int) -> int:
    """Delete some rows that have had their time, past those that are being changed; return how many.

    Needs the system role.
    """
    table = expiry.model.__tablename__
    owner = "organization_id" if "organization_id" in expiry.model.__table__.columns else "NULL::uuid"
    rows = session.execute(
        text(
            f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}"  # noqa: S608 - names of our own tables
            f" WHERE {expiry.condition} LIMIT :most FOR UPDATE SKIP LOCKED)) RETURNING {owner}"
        ),
        {"most": most},
    ).all()
    for owner_id in {row[0] for row in rows if row[0] is not None}:
        wrote(session, expiry.model, owner_id)
    return len(rows)
