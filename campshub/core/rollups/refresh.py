"""Keep rollups up to date: refresh stale keys, rebuild whole months, and check them.

A *stale row* records that the raw rows of one key have changed, so the key's aggregates are outdated. A refresh deletes
("takes") stale rows, and computes the aggregates of their keys from the raw rows.

A refresh takes a lock of the stale table and organization, so that an older one cannot overwrite a newer one. Writers
take no such lock and never wait for one: a writer that commits while its key is being refreshed leaves a new stale row,
which this refresh has not taken.

The aggregates of a month whose partition is detached stay as they are, because its raw rows are not in the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson
from sqlalchemy import Table, and_, delete, exists, func, literal, or_, select, text, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from campshub.core.dates import month_end, month_start
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed
from campshub.core.rollups.definition import Rollup, refreshed_together, rollups

MOST_STALE_ROWS = 2_000  # in one refresh of an organization
MOST_AT_ONCE = 10_000  # stale rows in one transaction, of all organizations
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_TRY = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
_WAIT = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_ORGANIZATIONS = text("SELECT id FROM organizations ORDER BY id")
_PARTITIONS = text(
    """
    SELECT right(c.relname, 7) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
     WHERE inhparent = ANY(CAST(:tables AS regclass[])) AND NOT inhdetachpending
       AND c.relname ~ '_p[0-9]{4}_[0-9]{2}$'
     GROUP BY 1 HAVING count(*) = :count
    """
)


class MonthDetached(RuntimeError):
    """A month was detached or attached during the refresh; nothing was written."""


@dataclass
class RefreshCount:
    """The result of a refresh: the numbers of stale rows taken, and of aggregate rows written and removed."""

    stale_rows: int = 0
    written: int = 0
    removed: int = 0
    # False if stale rows remain because of a limit.
    is_whole: bool = True

    def __iadd__(self, other: "RefreshCount") -> Self:
        """Add the result of another refresh."""
        self.stale_rows, self.written = self.stale_rows + other.stale_rows, self.written + other.written
        self.removed, self.is_whole = self.removed + other.removed, self.is_whole and other.is_whole
        return self


class RefreshStep(NamedTuple):
    """One month of an organization's aggregates."""

    organization_id: UUID
    rollup: str
    month: date


@dataclass(frozen=True)
class Difference:
    """A row of aggregates that differs from what its raw rows give; a side is None if it has no such row."""

    rollup: str
    organization_id: UUID
    key: dict[str, Any]
    stored: dict[str, Any] | None = field(default=None)
    counted: dict[str, Any] | None = field(default=None)


def organizations_with_stale_rollups(session: Session, rollup: Rollup) -> list[UUID]:
    """Return the organizations with stale aggregates."""
    return list(session.scalars(select(rollup.stale.organization_id).distinct()))


def organizations(session: Session) -> list[UUID]:
    """Return all organizations."""
    return list(session.scalars(_ORGANIZATIONS))


def refresh_due(session: Session) -> RefreshCount:
    """Refresh stale aggregates of all organizations, up to a limit for one transaction."""
    result = RefreshCount()
    for rollup, *_ in refreshed_together():
        for organization_id in organizations_with_stale_rollups(session, rollup):
            if result.stale_rows >= MOST_AT_ONCE:
                result.is_whole = False
                return result
            result += refresh(session, rollup, organization_id)
    return result


def refresh(session: Session, rollup: Rollup, organization_id: UUID, *, most: int = MOST_STALE_ROWS) -> RefreshCount:
    """Refresh an organization's stale aggregates for at most ``most`` stale rows, under the system role.

    All rollups with the same stale table are refreshed, because its rows are deleted.

    Reads compute stale keys from the raw rows, so they return the same before and after a refresh, and it stamps
    nothing. The exception is a month that was detached before its stale rows were taken: they hid its aggregates until
    now. If another refresh is running, do nothing.

    :raises MonthDetached: a month was detached or attached meanwhile; try again.
    """
    if not session.scalar(_TRY, {"name": _lock_of(rollup, organization_id)}):
        return RefreshCount()
    taken = session.connection().execute(_take_statement(rollup, organization_id, most)).all()
    keys = [dict(row._mapping) for row in dict.fromkeys(taken)]  # noqa: SLF001 - SQLAlchemy's public name for it
    result = RefreshCount(stale_rows=len(taken), is_whole=len(taken) < most)
    for one in next(together for together in refreshed_together() if rollup in together):
        result += _refresh_keys(session, one, organization_id, keys)
    return result


def _refresh_keys(
    session: Session, rollup: Rollup, organization_id: UUID, keys: Sequence[dict[str, Any]]
) -> RefreshCount:
    attached = months(session, rollup)
    attached_keys = [key for key in keys if month_start(key[rollup.date]) in attached]
    if len(attached_keys) < len(keys):
        mark_changed(session, rollup.model, organization_id)
    if not attached_keys:
        return RefreshCount()
    dates = [key[rollup.date] for key in attached_keys]
    stale_keys = _as_table(rollup, attached_keys)
    count = _write(session, rollup, organization_id, month_start(min(dates)), month_end(max(dates)), stale_keys)
    _require_attached(attached, months(session, rollup), dates)
    return count


def rebuild(session: Session, rollup: Rollup, organization_id: UUID, month: date) -> RefreshCount:
    """Recompute all aggregates of one month of an organization, under the system role.

    :raises MonthDetached: the month does not exist, or was detached or attached meanwhile.
    """
    session.execute(_WAIT, {"name": _lock_of(rollup, organization_id)})
    _require_attached(months(session, rollup), months(session, rollup), [month])
    result = _write(session, rollup, organization_id, month, month_end(month), None)
    _require_attached(months(session, rollup), months(session, rollup), [month])
    if result.written or result.removed:
        mark_changed(session, rollup.model, organization_id)
    return result


def check(session: Session, rollup: Rollup, organization_id: UUID, month: date, *, most: int) -> list[Difference]:
    """Compare a month of an organization's aggregates with its raw rows, in one statement; return the differences.

    Stale keys are skipped: their aggregates may be outdated.
    """
    table, last_date = rollup.table, month_end(month)
    fresh = rollup.counted().where(*_of_raw(rollup, organization_id, month, last_date)).cte("fresh")
    stored = select(*table.columns).where(*_of_stored(rollup, organization_id, month, last_date)).cte("stored")
    stale = rollup.stale.__table__
    not_stale = [
        ~exists(
            select(1)
            .select_from(stale)
            .where(rollup.same(stale.c, side.c, ("organization_id", *rollup.key)))
            .correlate(side)
        )
        for side in (stored, fresh)
    ]
    differs = or_(*(stored.c[name].is_distinct_from(fresh.c[name]) for name in (*rollup.primary, *rollup.aggregates)))
    rows = session.execute(
        select(*(c.label(f"stored_{c.key}") for c in stored.c), *(c.label(f"fresh_{c.key}") for c in fresh.c))
        .select_from(stored.outerjoin(fresh, rollup.same(stored.c, fresh.c), full=True))
        .where(differs, *not_stale)
        .limit(most)
    )
    return [_difference(rollup, organization_id, dict(row._mapping)) for row in rows]  # noqa: SLF001 - as above


def steps(
    session: Session, *, organization_id: UUID | None, first_date: date | None, last_date: date | None
) -> list[RefreshStep]:
    """Return the steps of a rebuild, always in the same order, so that an interrupted rebuild can continue."""
    owners = [organization_id] if organization_id else organizations(session)
    known = {name: months_between(session, one, first_date, last_date) for name, one in sorted(rollups().items())}
    return [RefreshStep(owner, name, month) for owner in owners for name in known for month in known[name]]


def months(session: Session, rollup: Rollup) -> set[date]:
    """Return the months whose raw rows are in the database: those attached to each table that the rollup reads."""
    tables = [raw.__tablename__ for raw in (rollup.raw, *rollup.also_read)]
    found = session.scalars(_PARTITIONS, {"tables": tables, "count": len(tables)})
    return {date(int(name[:4]), int(name[5:]), 1) for name in found}


def months_between(session: Session, rollup: Rollup, first_date: date | None, last_date: date | None) -> list[date]:
    """Return the months in the database from one date to another, the oldest first."""
    return sorted(
        month
        for month in months(session, rollup)
        if (first_date is None or month >= month_start(first_date)) and (last_date is None or month <= last_date)
    )


def _lock_of(rollup: Rollup, organization_id: UUID) -> str:
    return f"{rollup.stale.__tablename__}:{organization_id}"


def _require_attached(before: set[date], after: set[date], dates: Sequence[date]) -> None:
    for day in dates:
        if month_start(day) not in before & after:
            raise MonthDetached(f"{day:%Y-%m}")


def _take_statement(rollup: Rollup, organization_id: UUID, most: int) -> Any:
    """Return the statement that deletes some stale rows and returns their keys."""
    stale: Table = rollup.stale.__table__
    primary = list(stale.primary_key)
    chosen = (
        select(*primary)
        .where(stale.c.organization_id == organization_id)
        .order_by(*primary)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return delete(stale).where(tuple_(*primary).in_(chosen)).returning(*(stale.c[name] for name in rollup.key))


def _as_table(rollup: Rollup, keys: Sequence[dict[str, Any]]) -> Any:
    """Return keys as a table expression."""
    columns = {name: rollup.stale.__table__.c[name].type for name in rollup.key}
    shape = ", ".join(f"{name} {type_.compile(dialect=_DIALECT)}" for name, type_ in columns.items())
    query = f"SELECT {', '.join(columns)} FROM json_to_recordset(CAST(:keys AS json)) AS stale_keys({shape})"  # noqa: S608 - names of our own tables
    return text(query).bindparams(keys=orjson.dumps(keys).decode()).columns(**columns).cte("keys")


def _of_raw(rollup: Rollup, organization_id: UUID, first_date: date, last_date: date) -> list[Any]:
    raw = rollup.raw
    return [raw.organization_id == organization_id, raw.local_date >= first_date, raw.local_date <= last_date]


def _of_stored(rollup: Rollup, organization_id: UUID, first_date: date, last_date: date) -> list[Any]:
    day = rollup.table.c[rollup.date]
    return [rollup.table.c.organization_id == organization_id, day >= first_date, day <= last_date]


def _write(
    session: Session, rollup: Rollup, organization_id: UUID, first_date: date, last_date: date, keys: Any
) -> RefreshCount:
    """Compute and store the aggregates of some keys, or of all dates in a range; remove those without raw rows."""
    table = rollup.table
    bounds = _of_raw(rollup, organization_id, first_date, last_date)
    counted = rollup.counted().where(*bounds) if keys is None else rollup.fresh(keys, *bounds)
    fresh = counted.cte("fresh")
    names = [column.name for column in table.columns]
    new = insert(table).from_select(names, select(*(fresh.c[name] for name in names)))
    changed = [table.c[name].is_distinct_from(new.excluded[name]) for name in rollup.aggregates]
    written = (
        new.on_conflict_do_update(
            index_elements=rollup.primary,
            set_={name: new.excluded[name] for name in rollup.aggregates},
            where=or_(*changed),
        )
        .returning(literal(1).label("one"))
        .cte("written")
    )
    removable = [*_of_stored(rollup, organization_id, first_date, last_date)]
    removable.append(~exists(select(1).select_from(fresh).where(rollup.same(fresh.c, table.c)).correlate(table)))
    if keys is not None:
        own = rollup.same(keys.c, table.c, rollup.key)
        removable.append(exists(select(1).select_from(keys).where(own).correlate(table)))
    removed = delete(table).where(and_(*removable)).returning(literal(1).label("one")).cte("removed")
    counts = [select(func.count()).select_from(part).scalar_subquery() for part in (written, removed)]
    row = session.connection().execute(select(*counts)).one()
    return RefreshCount(written=row[0], removed=row[1])


def _difference(rollup: Rollup, organization_id: UUID, row: dict[str, Any]) -> Difference:
    sides = {}
    for side in ("stored", "fresh"):
        values = {name.removeprefix(f"{side}_"): value for name, value in row.items() if name.startswith(f"{side}_")}
        sides[side] = values if values["organization_id"] is not None else None
    known = sides["stored"] or sides["fresh"] or {}
    aggregates = {
        side: None if values is None else {name: values[name] for name in rollup.aggregates}
        for side, values in sides.items()
    }
    key = {name: known[name] for name in rollup.primary if name != "organization_id"}
    return Difference(rollup.name, organization_id, key, aggregates["stored"], aggregates["fresh"])
