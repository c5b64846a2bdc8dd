"""Set-based writes, many rows with one statement: the only module that writes rows without entities.

Each call stamps its table's tag and audits what it has changed, as read back with RETURNING. Modules write through
these functions or through entities, so they cannot forget stamps or audit entries.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import Row, Table, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute

from campshub.core.dates import month_start
from campshub.core.db.models import MonthlyTenantBase, TenantBase, new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed, new_person, record_audit
from campshub.core.errors import NotFound, PreconditionFailed
from campshub.core.security import audit
from campshub.core.security.principal import Principal, visible_to

T = TypeVar("T", bound=TenantBase)
Lockable = TypeVar("Lockable", bound=TenantBase | MonthlyTenantBase)
# The versions that a change accepts; None: any.
Versions = frozenset[int] | None
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def insert(
    session: Session, model: Any, rows: Sequence[Mapping[str, Any]], *, on_conflict: str | None = None
) -> list[Row[Any]]:
    """Insert rows with one statement, and fill in the tenant and missing ids. Return the ids that were written.

    ``on_conflict="DO NOTHING"`` skips the rows that violate a unique constraint.
    """
    if not rows:
        return []
    completed = _complete_rows(session, rows)
    _note_months(session, model, rows)
    conflict = f" ON CONFLICT {on_conflict}" if on_conflict else ""
    statement = f"{_insert_head(model.__table__, completed[0])}{conflict} RETURNING id"
    mark_changed(session, model)
    written = session.execute(text(statement), {"rows": _json(completed)}).all()
    _audit_written(session, model, completed, {row.id for row in written})
    return list(written)


def insert_one(session: Session, model: type[T], values: Mapping[str, Any]) -> T | None:
    """Insert one row and return its entity; None if it violates a unique constraint.

    If another transaction is writing a conflicting row at the same moment, the insert waits for it. The transaction
    stays usable either way, and its next statement sees the other row once that is committed.
    """
    (row,) = _complete_rows(session, [values])
    table: Any = model.__table__
    columns = table.columns
    head = _insert_head(table, row)
    statement = text(f"{head} ON CONFLICT DO NOTHING RETURNING {', '.join(column.name for column in columns)}")
    created: T | None = session.scalars(
        select(model).from_statement(statement.columns(*columns)), {"rows": _json([row])}
    ).one_or_none()
    if created is None:
        return None
    mark_changed(session, model)
    if getattr(model, "__person__", None) == "id":
        new_person(session, row["id"])
    change = audit.change_of(created, "created") if model.__audited__ else None
    if change is not None:
        record_audit(session, change)
    return created


def insert_together(session: Session, *parts: tuple[Any, Sequence[Mapping[str, Any]]]) -> list[set[UUID]]:
    """Insert rows into several tables with one statement, each only if all rows of the one before were written.

    Rows that violate a unique constraint are skipped. Return the ids that were written, part by part.
    """
    completed = [(number, model, _complete_rows(session, rows)) for number, (model, rows) in enumerate(parts) if rows]
    written: list[set[UUID]] = [set() for _ in parts]
    if not completed:
        return written
    texts, values, before = [], {}, ""
    for number, model, rows in completed:
        mark_changed(session, model)
        _note_months(session, model, rows)
        head = _insert_head(model.__table__, rows[0], f"rows_{number}")
        texts.append(f"part_{number} AS ({head}{before} ON CONFLICT DO NOTHING RETURNING id)")
        before = f" WHERE (SELECT count(*) FROM part_{number}) = {len(rows)}"  # noqa: S608 - numbers
        values[f"rows_{number}"] = _json(rows)
    found = " UNION ALL ".join(f"SELECT {number} AS part, id FROM part_{number}" for number, *_ in completed)  # noqa: S608 - numbers
    for row in session.execute(text(f"WITH {', '.join(texts)} {found}"), values):
        written[row.part].add(row.id)
    for number, model, rows in completed:
        _audit_written(session, model, rows, written[number])
    return written


def _audit_written(session: Session, model: Any, rows: Sequence[Mapping[str, Any]], written: set[UUID]) -> None:
    for row in rows:
        if row["id"] not in written:
            continue
        if getattr(model, "__person__", None) == "id":
            new_person(session, row["id"])
        if model.__audited__:
            _audit_created(session, model, row)


def merge(
    session: Session,
    model: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
    change: Sequence[str],
    when: str,
    counted_by: tuple[Any, UUID] | None = None,
) -> list[Row[Any]]:
    """Insert rows; where a key exists, update the columns ``change`` of its row if ``when`` holds.

    It is one statement and safe with concurrent writers. ``when`` is a condition over the existing row (under the
    table's name) and ``excluded``. Returns ``id``, ``version`` and the key's columns of the rows that were written,
    and ``made``: whether the row is new.

    The rows are written in the order of their keys, so that two writers of the same rows cannot deadlock. A row may
    have a ``version``: a new row gets it, and ``when`` may use it.

    ``counted_by`` is a table and an id: if any row is written, the version there is incremented, and each row has it
    as ``counted``.
    """
    if not rows:
        return []
    completed = _complete_rows(session, rows)
    mark_changed(session, model)
    _note_months(session, model, rows)
    statement = _merge_statement(model.__table__, completed[0], key=key, change=change, when=when)
    values: dict[str, Any] = {"rows": _json(completed)}
    if counted_by is not None:
        counter, counter_id = counted_by
        mark_changed(session, counter)
        values |= {"counter": counter_id, "owner": session.unit.organization_id}
        statement = _counted(statement, counter.__table__)
    written = session.execute(text(statement), values).all()
    by_key = {tuple(row[name] for name in key): row for row in completed}
    for row in written:
        values = by_key[tuple(getattr(row, name) for name in key)]
        record_audit(session, _change_of_merged(model, row, values, key=key, change=change))
    return list(written)


def update(
    session: Session, model: Any, rows: Sequence[Mapping[str, Any]], *, change: Sequence[str]
) -> dict[UUID, int]:
    """Set the columns ``change`` of existing rows, which the caller has locked; return the new versions by id.

    Each row has its id and a value of every column, the present one where it does not change.
    """
    if not rows:
        return {}
    mark_changed(session, model)
    given = [{"id": row["id"], **{name: row[name] for name in change}} for row in rows]
    values = {"rows": _json(given), "owner": session.unit.organization_id}
    by_id = {row["id"]: row for row in given}
    written = session.execute(text(_update_statement(model.__table__, change)), values).all()
    for row in written:
        record_audit(session, _change_of_merged(model, row, by_id[row.id], key=("id",), change=change))
    return {row.id: row.version for row in written}


def count(session: Session, model: Any, row_id: UUID) -> int:
    """Increment the version of a row that counts the changes of other rows, or create it; return the version."""
    mark_changed(session, model)
    values = {"counter": row_id, "owner": session.unit.organization_id}
    version: int = session.execute(text(_count_statement(model.__table__)), values).scalar_one()
    return version


def count_each(session: Session, model: Any, row_ids: Sequence[UUID]) -> None:
    """Increment the versions of several rows that count the changes of other rows, in the order of their ids."""
    if not row_ids:
        return
    mark_changed(session, model)
    values = {"counters": sorted(set(row_ids)), "owner": session.unit.organization_id}
    source = "FROM unnest(CAST(:counters AS uuid[])) AS counter"
    session.execute(text(_count_statement(model.__table__, source, counter="counter")), values)


def clear_references(session: Session, column: InstrumentedAttribute[UUID | None], row_id: UUID) -> None:
    """Set a reference to NULL in every row of the organization that has it, before the referenced row is deleted.

    The rows keep their versions, and are not audited: the entry of the deletion says why they changed.
    """
    table = column.class_.__tablename__
    mark_changed(session, column.class_)
    statement = f"UPDATE {table} SET {column.key} = NULL WHERE organization_id = :owner AND {column.key} = :id"  # noqa: S608 - names of our own tables
    session.execute(text(statement), {"owner": session.unit.organization_id, "id": row_id})


def _counted(merge: str, counter: Table) -> str:
    raised = _count_statement(counter, "WHERE EXISTS (SELECT FROM merged)")
    result = "SELECT merged.*, raised.version AS counted FROM merged, raised"
    return f"WITH merged AS ({merge}), raised AS ({raised}) {result}"


def _count_statement(table: Table, condition: str = "", *, counter: str = ":counter") -> str:
    return (
        f"INSERT INTO {table.name} (organization_id, id) SELECT :owner, {counter} {condition}"
        f" ON CONFLICT (organization_id, id) DO UPDATE SET version = {table.name}.version + 1, updated_at = now()"
        " RETURNING version"
    )


def _update_statement(table: Table, change: Sequence[str]) -> str:
    names = ("id", *change)
    shape = ", ".join(f"{name} {table.c[name].type.compile(dialect=_DIALECT)}" for name in names)
    assignments = ", ".join(f"{name} = given.{name}" for name in change)
    audited = ", ".join(f"old.{name} AS old_{name}" for name in change)
    return (
        f"UPDATE {table.name} SET {assignments}, version = {table.name}.version + 1, updated_at = now()"  # noqa: S608 - names of our own tables
        f" FROM json_to_recordset(:rows) AS given({shape})"
        f" WHERE {table.name}.organization_id = :owner AND {table.name}.id = given.id"
        f" RETURNING new.id, new.version, false AS made, {audited}"
    )


def _merge_statement(
    table: Table, row: Mapping[str, Any], *, key: Sequence[str], change: Sequence[str], when: str
) -> str:
    assignments = ", ".join(f"{name} = excluded.{name}" for name in change)
    audited = ", ".join(f"old.{name} AS old_{name}" for name in change)
    keys = ", ".join(f"new.{name}" for name in key)
    return (
        f"{_insert_head(table, row)} ORDER BY {', '.join(key)}"
        f" ON CONFLICT ({', '.join(('organization_id', *key))}) DO UPDATE"
        f" SET {assignments}, version = {table.name}.version + 1, updated_at = now() WHERE {when}"
        f" RETURNING new.id, new.version, {keys}, old.id IS NULL AS made, {audited}"
    )


def _change_of_merged(
    model: Any, row: Row[Any], values: Mapping[str, Any], *, key: Sequence[str], change: Sequence[str]
) -> audit.Change:
    """Return the audit entry of one merged row: all values of a new row, the changed ones of an existing row."""
    before, after = None, {name: values[name] for name in (*key, *change)}
    person_id = audit.person_of(model, after)
    if row.made:
        after = audit.logged_values(after)
    else:
        old = {name: getattr(row, f"old_{name}") for name in change}
        differing = sorted(name for name in change if old[name] != values[name])
        before, after = ({name: side[name] for name in differing} for side in (old, values))
    return audit.Change(
        action="created" if row.made else "changed",
        entity=model.__tablename__,
        entity_id=row.id,
        person_id=person_id,
        before=before,
        after=after,
        personal=audit.personal_columns(model),
    )


def _insert_head(table: Table, row: Mapping[str, Any], parameter: str = "rows") -> str:
    """Return the SQL ``INSERT ... SELECT`` from one JSON parameter, with the type of each column."""
    columns = ", ".join(row)
    shape = ", ".join(f"{name} {table.c[name].type.compile(dialect=_DIALECT)}" for name in row)
    source = f"json_to_recordset(:{parameter}) AS given({shape})"
    return f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {source}"  # noqa: S608 - names of our own tables


def _note_months(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record the months that the unit writes to: if one is missing, they say which one to create."""
    if issubclass(model, MonthlyTenantBase):
        session.unit.months |= {(model.__tag__, month_start(day)) for day in {row["local_date"] for row in rows}}


def _complete_rows(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with tenant and id; a row that lacks a column of another one gets NULL."""
    owner = session.unit.organization_id
    shape = dict.fromkeys(name for row in rows for name in row if name not in ("id", "organization_id"))
    return [
        {"organization_id": owner, "id": row.get("id") or new_id(), **{name: row.get(name) for name in shape}}
        for row in rows
    ]


def _audit_created(session: Session, model: Any, row: Mapping[str, Any]) -> None:
    change = audit.Change(
        action="created",
        entity=model.__tablename__,
        entity_id=row["id"],
        person_id=audit.person_of(model, row),
        before=None,
        after=audit.logged_values(row),
        personal=audit.personal_columns(model),
    )
    record_audit(session, change)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=_plain).decode()


def _plain(value: Any) -> Any:
    """Convert bytes to PostgreSQL's hex format; return other values unchanged."""
    return "\\x" + value.hex() if isinstance(value, bytes) else value


def lock(
    session: Session,
    principal: Principal,
    model: type[Lockable],
    row_id: UUID,
    *conditions: Any,
    expected: Versions = None,
) -> Lockable:
    """Return a row that the principal sees, locked until the unit of work ends.

    :raises NotFound: the principal sees no such row.
    :raises PreconditionFailed: it has another version than the caller expects.
    """
    entity = session.scalars(
        select(model)
        .where(visible_to(principal, model), model.organization_id == principal.organization_id)
        .where(model.id == row_id, *conditions)
        .with_for_update(of=model)
    ).one_or_none()
    if entity is None:
        raise NotFound
    require_version(entity, expected)
    return entity


def require_version(entity: Any, expected: Versions) -> None:
    """Refuse a change to a row whose version is not the expected one.

    :raises PreconditionFailed: the row has another version.
    """
    if expected is not None and entity.version not in expected:
        raise PreconditionFailed
