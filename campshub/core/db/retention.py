"""Row retention: modules register an expiry condition per table, and organizations are erased table by table.

Erasing finds the tables from the metadata: all that have ``organization_id``. It deletes without entities and audit
entries, because the audit log is erased too; it raises stamps as every write does.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Table, text

from campshub.core.db.models import Base
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed


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
        mark_changed(session, expiry.model, owner_id)
    return len(rows)


def tenant_models() -> list[Any]:
    """Return the tables whose rows belong to organizations, those that refer to others before these."""
    model_of = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
    tables = reversed(Base.metadata.sorted_tables)
    return [model_of[table] for table in tables if "organization_id" in table.columns]


def erase_some(session: Session, model: Any, organization_id: UUID, *, most: int) -> int:
    """Erase some rows of an organization from one table; return how many, 0 where there are no more."""
    given = {"organization": organization_id, "most": most}
    gone = session.execute(text(f"{_gone(model.__table__)} SELECT count(*) FROM gone"), given).scalar_one()  # noqa: S608 - names of our own tables
    return _noted(session, model, organization_id, gone)


def erase_some_with(
    session: Session, model: Any, owners: Any, organization_id: UUID, *, by: str, most: int
) -> tuple[int, int]:
    """Erase some rows of an organization, and of what ``by`` refers to that which no other organization refers to.

    Return how many of each.
    """
    elsewhere = " AND ".join(
        f"NOT EXISTS (SELECT FROM {table} x WHERE x.{column} = o.id AND x.organization_id <> :organization)"
        for table, column in _references(owners.__table__)
    )
    statement = (
        f"{_gone(model.__table__)}, owners AS ("  # noqa: S608 - names of our own tables
        f" DELETE FROM {owners.__tablename__} o WHERE o.id IN (SELECT {by} FROM gone) AND {elsewhere} RETURNING 1)"
        " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM owners)"
    )
    gone, alone = session.execute(text(statement), {"organization": organization_id, "most": most}).one()
    return _noted(session, model, organization_id, gone), _noted(session, owners, organization_id, alone)


def erase_row(session: Session, model: Any, row_id: UUID) -> int:
    """Erase the one row of an organization itself; return 0 where there is none."""
    statement = text(f"DELETE FROM {model.__tablename__} WHERE id = :id RETURNING 1")  # noqa: S608 - the name of our own table
    return _noted(session, model, row_id, len(session.execute(statement, {"id": row_id}).all()))


def _gone(table: Table) -> str:
    """Write the statement that erases some rows: by their keys, since a partition's places are its own."""
    keys = [column.name for column in table.primary_key]
    same = " AND ".join(f"t.{name} = chosen.{name}" for name in keys)
    chosen = f"SELECT {', '.join(keys)} FROM {table.name} WHERE organization_id = :organization LIMIT :most"  # noqa: S608 - names of our own tables
    return f"WITH gone AS (DELETE FROM {table.name} t USING ({chosen}) chosen WHERE {same} RETURNING t.*)"  # noqa: S608 - names of our own tables


def _references(owners: Table) -> list[tuple[str, str]]:
    """Return where tenants' tables refer to a table by its id."""
    return [
        (table.name, key.parent.name)
        for table in Base.metadata.sorted_tables
        if "organization_id" in table.columns
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
        if key.column.table is owners
    ]


def _noted(session: Session, model: Any, organization_id: UUID, count: int) -> int:
    if count:
        mark_changed(session, model, organization_id)
    return count
