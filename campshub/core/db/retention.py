"""Row retention: modules register an expiry condition per table, and organizations are erased table by table.

Erasing finds the tables in the metadata: all that have ``organization_id``. It loads no entities, and writes no audit
entries, because the audit log is erased too. It raises stamps, as every write does.
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
    """The condition under which rows of a table have expired."""

    model: Any
    condition: str


_expiries: list[Expiry] = []


def expires(model: Any, condition: str) -> None:
    """Register the SQL condition under which rows of a table are deleted.

    An index must support it. The table must not be partitioned: ``clean`` deletes by ctid.
    """
    _expiries.append(Expiry(model, condition))


def expiries() -> list[Expiry]:
    """Return all expiries, sorted by table name."""
    return sorted(_expiries, key=lambda one: (one.model.__tablename__, one.condition))


def clean(session: Session, expiry: Expiry, *, most: int) -> int:
    """Delete at most ``most`` expired rows, but none that is locked; return their number.

    Requires the system role. The statement returns the organizations, because their stamps must be raised.
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
    """Return the models of all tenants' tables in the order of erasing: each before the tables that it references."""
    model_of = {mapper.local_table: mapper.class_ for mapper in Base.registry.mappers}
    tables = reversed(Base.metadata.sorted_tables)
    return [model_of[table] for table in tables if "organization_id" in table.columns]


def erase_some(session: Session, model: Any, organization_id: UUID, *, most: int) -> int:
    """Erase at most ``most`` rows of an organization from one table; return their number, 0 if none remains."""
    values = {"organization": organization_id, "most": most}
    deleted = session.execute(text(f"{_deletion(model.__table__)} SELECT count(*) FROM gone"), values).scalar_one()  # noqa: S608 - names of our own tables
    return _stamped(session, model, organization_id, deleted)


def erase_some_with(
    session: Session, model: Any, owners: Any, organization_id: UUID, *, by: str, most: int
) -> tuple[int, int]:
    """Erase some rows of an organization, and their rows of ``owners``, unless another organization refers to those.

    The column ``by`` refers to ``owners``. Return both numbers.
    """
    elsewhere = " AND ".join(
        f"NOT EXISTS (SELECT FROM {table} x WHERE x.{column} = o.id AND x.organization_id <> :organization)"
        for table, column in _references(owners.__table__)
    )
    statement = (
        f"{_deletion(model.__table__)}, owners AS ("  # noqa: S608 - names of our own tables
        f" DELETE FROM {owners.__tablename__} o WHERE o.id IN (SELECT {by} FROM gone) AND {elsewhere} RETURNING 1)"
        " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM owners)"
    )
    rows, referenced = session.execute(text(statement), {"organization": organization_id, "most": most}).one()
    return _stamped(session, model, organization_id, rows), _stamped(session, owners, organization_id, referenced)


def erase_row(session: Session, model: Any, row_id: UUID) -> int:
    """Erase the row of the organization itself; return 0 if there is none."""
    statement = text(f"DELETE FROM {model.__tablename__} WHERE id = :id RETURNING 1")  # noqa: S608 - the name of our own table
    return _stamped(session, model, row_id, len(session.execute(statement, {"id": row_id}).all()))


def _deletion(table: Table) -> str:
    """Return the SQL that deletes some rows: by primary key, because a ctid is unique only within one partition."""
    keys = [column.name for column in table.primary_key]
    same = " AND ".join(f"t.{name} = chosen.{name}" for name in keys)
    chosen = f"SELECT {', '.join(keys)} FROM {table.name} WHERE organization_id = :organization LIMIT :most"  # noqa: S608 - names of our own tables
    return f"WITH gone AS (DELETE FROM {table.name} t USING ({chosen}) chosen WHERE {same} RETURNING t.*)"  # noqa: S608 - names of our own tables


def _references(owners: Table) -> list[tuple[str, str]]:
    """Return the foreign key columns of tenants' tables that reference a table, as (table, column)."""
    return [
        (table.name, key.parent.name)
        for table in Base.metadata.sorted_tables
        if "organization_id" in table.columns
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
        if key.column.table is owners
    ]


def _stamped(session: Session, model: Any, organization_id: UUID, count: int) -> int:
    """Raise the table's stamp if rows were deleted; return their number."""
    if count:
        mark_changed(session, model, organization_id)
    return count
