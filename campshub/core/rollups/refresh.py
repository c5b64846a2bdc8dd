"""Bringing rollups up to date: counting stale keys anew, rebuilding whole months, and checking them.

Whoever counts holds a lock of the rollup and organization, so that of two countings at once the older one cannot be
written last. Writers hold no such lock and wait for nobody: one who commits while its key is being counted leaves its
note, which this counting has not taken.

Months whose partition is detached keep their figures: nothing is left to count them from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson
from sqlalchemy import Table, and_, delete, exists, func, literal, or_, select, text, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed
from campshub.core.rollups.definition import Rollup, rollups

MOST_NOTES = 2_000
MOST_AT_ONCE = 10_000  # in one transaction, of all organizations
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
    """A month was detached or attached while it was counted; nothing was written."""


@dataclass
class RefreshCount:
    """What a counting did: the notes that it took, the rows that it wrote, and those that it removed."""

    notes: int = 0
    written: int = 0
    removed: int = 0
    # Whether more notes are left than one counting takes.
    is_whole: bool = True

    def __iadd__(self, other: "RefreshCount") -> Self:
        """Add up what several have done."""
        self.notes, self.written = self.notes + other.notes, self.written + other.written
        self.removed, self.is_whole = self.removed + other.removed, self.is_whole and other.is_whole
        return self


class RefreshStep(NamedTuple):
    """One month of an organization's figures."""

    organization_id: UUID
    rollup: str
    month: date


@dataclass(frozen=True)
class Difference:
    """A row of figures that is not what its raw rows add up to; None: there is no such row."""

    rollup: str
    organization_id: UUID
    key: dict[str, Any]
    kept: dict[str, Any] | None = field(default=None)
    counted: dict[str, Any] | None = field(default=None)


def organizations_with_stale_rollups(session: Session, rollup: Rollup) -> list[UUID]:
    """Return the organizations with stale figures."""
    return list(session.scalars(select(rollup.stale.organization_id).distinct()))


def organizations(session: Session) -> list[UUID]:
    """Return all organizations."""
    return list(session.scalars(_ORGANIZATIONS))


def refresh_due(session: Session) -> RefreshCount:
    """Count stale figures of all organizations anew, as many as one transaction should."""
    counted = RefreshCount()
    for rollup in rollups().values():
        for organization_id in organizations_with_stale_rollups(session, rollup):
            if counted.notes >= MOST_AT_ONCE:
                counted.is_whole = False
                return counted
            counted += refresh(session, rollup, organization_id)
    return counted


def refresh(session: Session, rollup: Rollup, organization_id: UUID, *, most: int = MOST_NOTES) -> RefreshCount:
    """Count an organization's stale figures anew, as many as ``most`` notes name, under the system role.

    Figures read before and after are the same, so nothing is stamped; except where a month's rows went before its notes
    were taken, which hid its figures until now. Where another counting is at work, none is done.

    :raises MonthDetached: a month came or went meanwhile; try again.
    """
    if not session.scalar(_TRY, {"name": _lock_of(rollup, organization_id)}):
        return RefreshCount()
    taken = session.connection().execute(_taking(rollup, organization_id, most)).all()
    attached = months(session, rollup)
    keys = [dict(row._mapping) for row in dict.fromkeys(taken)]  # noqa: SLF001 - SQLAlchemy's public name for it
    live = [key for key in keys if key[rollup.date].replace(day=1) in attached]
    counted = RefreshCount(notes=len(taken), is_whole=len(taken) < most)
    if len(live) < len(keys):
        mark_changed(session, rollup.model, organization_id)
    if live:
        dates = [key[rollup.date] for key in live]
        given = _given(rollup, live)
        counted += _write(session, rollup, organization_id, min(dates).replace(day=1), _end(max(dates)), given)
        _require(attached, months(session, rollup), dates)
    return counted


def rebuild(session: Session, rollup: Rollup, organization_id: UUID, month: date) -> RefreshCount:
    """Count one month of an organization's figures anew, all of them, under the system role.

    :raises MonthDetached: the month is not there, or came or went meanwhile.
    """
    session.execute(_WAIT, {"name": _lock_of(rollup, organization_id)})
    _require(months(session, rollup), months(session, rollup), [month])
    counted = _write(session, rollup, organization_id, month, _end(month), None)
    _require(months(session, rollup), months(session, rollup), [month])
    if counted.written or counted.removed:
        mark_changed(session, rollup.model, organization_id)
    return counted


def check(session: Session, rollup: Rollup, organization_id: UUID, month: date, *, most: int) -> list[Difference]:
    """Compare a month of an organization's figures with its raw rows, at one moment; return what differs."""
    table, last = rollup.table, _end(month)
    fresh = rollup.counted().where(*_of_raw(rollup, organization_id, month, last)).cte("fresh")
    kept = select(*table.columns).where(*_of_kept(rollup, organization_id, month, last)).cte("kept")
    stale = rollup.stale.__table__
    noted = [
        ~exists(
            select(1)
            .select_from(stale)
            .where(rollup.same(stale.c, side.c, ("organization_id", *rollup.key)))
            .correlate(side)
        )
        for side in (kept, fresh)
    ]
    differs = or_(*(kept.c[name].is_distinct_from(fresh.c[name]) for name in (*rollup.primary, *rollup.figures)))
    rows = session.execute(
        select(*(c.label(f"kept_{c.key}") for c in kept.c), *(c.label(f"fresh_{c.key}") for c in fresh.c))
        .select_from(kept.outerjoin(fresh, rollup.same(kept.c, fresh.c), full=True))
        .where(differs, *noted)
        .limit(most)
    )
    return [_difference(rollup, organization_id, dict(row._mapping)) for row in rows]  # noqa: SLF001 - as above


def steps(
    session: Session, *, organization_id: UUID | None, first: date | None, last: date | None
) -> list[RefreshStep]:
    """Return what a rebuilding counts, step by step, always in the same order: so one that broke off can go on."""
    owners = [organization_id] if organization_id else organizations(session)
    known = {name: months_between(session, one, first, last) for name, one in sorted(rollups().items())}
    return [RefreshStep(owner, name, month) for owner in owners for name in known for month in known[name]]


def months(session: Session, rollup: Rollup) -> set[date]:
    """Return the months whose rows are there to be counted."""
    tables = [raw.__tablename__ for raw in (rollup.raw, *rollup.beside)]
    found = session.scalars(_PARTITIONS, {"tables": tables, "count": len(tables)})
    return {date(int(name[:4]), int(name[5:]), 1) for name in found}


def months_between(session: Session, rollup: Rollup, first: date | None, last: date | None) -> list[date]:
    """Return those from one date to another, the oldest first."""
    return sorted(
        month
        for month in months(session, rollup)
        if (first is None or month >= first.replace(day=1)) and (last is None or month <= last)
    )


def _lock_of(rollup: Rollup, organization_id: UUID) -> str:
    return f"{rollup.name}:{organization_id}"


def _end(day: date) -> date:
    """Return the last day of a month."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _require(before: set[date], after: set[date], dates: Sequence[date]) -> None:
    for day in dates:
        if day.replace(day=1) not in before & after:
            raise MonthDetached(f"{day:%Y-%m}")


def _taking(rollup: Rollup, organization_id: UUID, most: int) -> Any:
    """Return the statement that removes some notes and returns their keys."""
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


def _given(rollup: Rollup, keys: Sequence[dict[str, Any]]) -> Any:
    """Return keys as a table."""
    columns = {name: rollup.stale.__table__.c[name].type for name in rollup.key}
    shape = ", ".join(f"{name} {type_.compile(dialect=_DIALECT)}" for name, type_ in columns.items())
    words = f"SELECT {', '.join(columns)} FROM json_to_recordset(CAST(:keys AS json)) AS given({shape})"  # noqa: S608 - names of our own tables
    return text(words).bindparams(keys=orjson.dumps(keys).decode()).columns(**columns).cte("keys")


def _of_raw(rollup: Rollup, organization_id: UUID, first: date, last: date) -> list[Any]:
    raw = rollup.raw
    return [raw.organization_id == organization_id, raw.local_date >= first, raw.local_date <= last]


def _of_kept(rollup: Rollup, organization_id: UUID, first: date, last: date) -> list[Any]:
    day = rollup.table.c[rollup.date]
    return [rollup.table.c.organization_id == organization_id, day >= first, day <= last]


def _write(session: Session, rollup: Rollup, organization_id: UUID, first: date, last: date, keys: Any) -> RefreshCount:
    """Count the figures of some keys, or all of some dates, and keep them; remove those that nothing is left of."""
    table = rollup.table
    bounds = _of_raw(rollup, organization_id, first, last)
    counted = rollup.counted().where(*bounds) if keys is None else rollup.fresh(keys, *bounds)
    fresh = counted.cte("fresh")
    names = [column.name for column in table.columns]
    new = insert(table).from_select(names, select(*(fresh.c[name] for name in names)))
    changed = [table.c[name].is_distinct_from(new.excluded[name]) for name in rollup.figures]
    written = (
        new.on_conflict_do_update(
            index_elements=rollup.primary,
            set_={name: new.excluded[name] for name in rollup.figures},
            where=or_(*changed),
        )
        .returning(literal(1).label("one"))
        .cte("written")
    )
    gone = [*_of_kept(rollup, organization_id, first, last)]
    gone.append(~exists(select(1).select_from(fresh).where(rollup.same(fresh.c, table.c)).correlate(table)))
    if keys is not None:
        own = rollup.same(keys.c, table.c, rollup.key)
        gone.append(exists(select(1).select_from(keys).where(own).correlate(table)))
    removed = delete(table).where(and_(*gone)).returning(literal(1).label("one")).cte("removed")
    counts = [select(func.count()).select_from(part).scalar_subquery() for part in (written, removed)]
    row = session.connection().execute(select(*counts)).one()
    return RefreshCount(written=row[0], removed=row[1])


def _difference(rollup: Rollup, organization_id: UUID, row: dict[str, Any]) -> Difference:
    sides = {}
    for side in ("kept", "fresh"):
        told = {name.removeprefix(f"{side}_"): value for name, value in row.items() if name.startswith(f"{side}_")}
        sides[side] = told if told["organization_id"] is not None else None
    known = sides["kept"] or sides["fresh"] or {}
    figures = {
        side: None if told is None else {name: told[name] for name in rollup.figures} for side, told in sides.items()
    }
    key = {name: known[name] for name in rollup.primary if name != "organization_id"}
    return Difference(rollup.name, organization_id, key, figures["kept"], figures["fresh"])
