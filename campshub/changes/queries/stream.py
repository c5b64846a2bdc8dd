"""The keys of the rows that a client must read, in one order, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Date,
    Uuid,
    and_,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy import column as named_column

from campshub.changes.models import ChangeSet
from campshub.changes.queries.feeds import Feed, FirstDate
from campshub.changes.queries.visibility import may_know
from campshub.changes.tokens import Reached
from campshub.changes.windows import Window
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.visibility import GRACE_DAYS

# The date of rows that have none, and the change set and transaction of rows that a new date has affected.
_NO_DATE = cast(literal(date(1, 1, 1)), Date)
_NO_SET = cast(literal(UUID(int=0)), Uuid)
_NONE = cast(literal(0), BigInteger)
_KEYS: tuple[Any, ...] = (
    *(named_column("transaction_id", BigInteger), named_column("set_id", Uuid), named_column("number", BigInteger)),
    *(named_column("day", Date), named_column("row_id", Uuid)),
)


@dataclass(frozen=True)
class Key:
    """The key of a row to read, and its position in the order."""

    row_id: UUID
    day: date
    is_removed: bool
    position: tuple[Any, ...]


def all_rows(
    session: Session, principal: Principal, feed: Feed, *, after: Any, first_date: FirstDate, most: int
) -> list[Key]:
    """Return the keys of the rows that the principal sees, by date and id."""
    keys = [feed.day, feed.model.id] if feed.is_monthly else [feed.model.id]
    rows = select(*keys).where(feed.shown(principal), feed.dated(first_date))
    if after is not None:
        values = [cast(literal(value), column.type) for value, column in zip(after, keys, strict=True)]
        rows = rows.where(keys[0] >= values[0], tuple_(*keys) > tuple_(*values))
    found = session.execute(rows.order_by(*keys).limit(most))
    return [Key(row[-1], row[0] if feed.is_monthly else date.min, False, tuple(row)) for row in found]


def changed_rows(
    session: Session,
    principal: Principal,
    feed: Feed,
    *,
    since: Reached,
    until: Reached,
    after: Any,
    first_date: FirstDate,
    most: int,
) -> list[Key]:
    """Return the keys of the rows that have changed, or whose visibility may have changed."""
    parts = [_written(principal, feed, since.window, until.window)]
    if feed.hidden_by is not None:
        parts.append(_hidden(principal, feed, feed.hidden_by, since.window, until.window))
    if feed.follows_students(principal):
        parts.append(_of_students(principal, feed, since, until, first_date))
    rows = union_all(*parts).subquery()
    keys = [rows.c[key.name] for key in _KEYS]
    query = select(*keys, rows.c.is_removed)
    if after is not None:
        values = [cast(literal(value), key.type) for value, key in zip(after, _KEYS, strict=True)]
        query = query.where(keys[0] >= values[0], tuple_(*keys) > tuple_(*values))
    found = session.execute(query.order_by(*keys).limit(most))
    return [Key(row.row_id, row.day, row.is_removed, tuple(row)[:-1]) for row in found]


def _entries(principal: Principal, name: str, since: Window, until: Window) -> tuple[Any, Any]:
    """Return the change sets of a feed between two windows, and the ids in them with their numbers."""
    ids = func.unnest(ChangeSet.ids).table_valued(named_column("row_id", Uuid), with_ordinality="number")
    ids = ids.render_derived(name="written")
    number = ChangeSet.transaction_id
    between = and_(
        visible_to(principal, ChangeSet),
        ChangeSet.entity == name,
        number.between(since.oldest, until.latest),
        number.not_in(until.running) if until.running else true(),
        or_(number > since.latest, number.in_(since.running) if since.running else false()),
    )
    return ids, between


def _columns(ids: Any, day: Any, row_id: Any, is_removed: Any) -> list[Any]:
    return [
        ChangeSet.transaction_id,
        ChangeSet.id.label("set_id"),
        cast(ids.c.number, BigInteger).label("number"),
        day.label("day"),
        row_id.label("row_id"),
        is_removed.label("is_removed"),
    ]


def _written(principal: Principal, feed: Feed, since: Window, until: Window) -> Any:
    ids, between = _entries(principal, feed.name, since, until)
    day = func.coalesce(ChangeSet.local_date, _NO_DATE)
    known = may_know(principal, ChangeSet, ChangeSet.group_id, ChangeSet.student_id)
    return (
        select(*_columns(ids, day, ids.c.row_id, ChangeSet.is_removed))
        .select_from(ChangeSet)
        .join(ids, true())
        .where(between, or_(ChangeSet.is_removed.is_(False), known))
    )


def _hidden(principal: Principal, feed: Feed, hidden_by: Any, since: Window, until: Window) -> Any:
    """Return the rows that a changed row hides."""
    ids, between = _entries(principal, feed.name, since, until)
    hidden = hidden_by(ids.c.row_id, principal).lateral()
    return (
        select(*_columns(ids, _NO_DATE, hidden.c.id, false()))
        .select_from(ChangeSet)
        .join(ids, true())
        .join(hidden, true())
        .where(between)
    )


def _of_students(principal: Principal, feed: Feed, since: Reached, until: Reached, first_date: FirstDate) -> Any:
    """Return the rows that may have appeared or disappeared because a student has."""
    affected = union_all(*_affected(principal, feed, since, until)).subquery()
    place = list(affected.c)[:3]
    if feed.model is Student or feed.of_students is None:
        return select(*place, _NO_DATE.label("day"), affected.c.student_id.label("row_id"), false())
    condition, student_id = feed.of_students
    own = and_(feed.model.organization_id == principal.organization_id, student_id == affected.c.student_id)
    return (
        select(*place, feed.day.label("day"), feed.model.id.label("row_id"), false())
        .select_from(affected)
        .join(feed.model, own)
        .where(condition, feed.dated(first_date))
    )


def _affected(principal: Principal, feed: Feed, since: Reached, until: Reached) -> list[Any]:
    """Return the students whose visibility may have changed: by an enrolment, their own row, or a new date."""
    ids, between = _entries(principal, "enrolments", since.window, until.window)
    place = (ChangeSet.transaction_id, ChangeSet.id.label("set_id"), cast(ids.c.number, BigInteger).label("number"))
    parts = [
        select(*place, Enrolment.student_id.label("student_id"))
        .select_from(ChangeSet)
        .join(ids, true())
        .join(Enrolment, Enrolment.id == ids.c.row_id)
        .where(between, visible_to(principal, Enrolment))
    ]
    if feed.model is not Student:
        ids, between = _entries(principal, "students", since.window, until.window)
        place = (*place[:2], cast(ids.c.number, BigInteger).label("number"))
        parts.append(
            select(*place, ids.c.row_id.label("student_id")).select_from(ChangeSet).join(ids, true()).where(between)
        )
    if until.on != since.on:
        parts.append(_entering_or_leaving(principal, since.on, until.on))
    return parts


def _entering_or_leaving(principal: Principal, before: date, now: date) -> Any:
    """Return the students of whom a trainer gains or loses sight between two dates, and perhaps a few more."""
    grace, day = timedelta(days=GRACE_DAYS), timedelta(days=1)
    first, last = min(before, now) - day, max(before, now) + day
    crossing = or_(
        Enrolment.begins_on.between(first + grace, last + grace),
        Enrolment.ends_on.between(first - grace, last - grace),
        Student.left_on.between(first - grace, last - grace),
    )
    return (
        select(
            _NONE.label("transaction_id"),
            _NO_SET.label("set_id"),
            _NONE.label("number"),
            Enrolment.student_id.label("student_id"),
        )
        .distinct()
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(visible_to(principal, Enrolment), crossing)
    )


def current(
    session: Session, principal: Principal, feed: Feed, keys: Sequence[Key], first_date: FirstDate
) -> tuple[list[Any], list[UUID]]:
    """Return the present rows of keys as items, and the ids of those that the principal does not see any more.

    A removed row is one that a change set names as removed, and that does not exist: it may have been created again.
    """
    order = {key.row_id: key for key in keys}
    if not order:
        return [], []
    dates = _dates(session, principal, feed, order)
    rows = session.execute(_current(principal, feed, list(order), dates, first_date)).all() if dates else []
    found = {row.id: row for row in rows}
    items = [feed.item(found[row_id]) for row_id in order if row_id in found and found[row_id].is_shown]
    removed = {key.row_id for key in keys if key.is_removed}
    gone = [row_id for row_id in order if (row_id in removed if row_id not in found else not found[row_id].is_shown)]
    return items, gone


def _dates(session: Session, principal: Principal, feed: Feed, order: dict[UUID, Key]) -> list[date]:
    """Return the dates of the rows, which select the partitions to read."""
    if feed.dates is None:
        return sorted({key.day for key in order.values()})
    located = select(feed.dates.local_date).where(
        feed.dates.organization_id == principal.organization_id, feed.dates.id.in_(order)
    )
    return sorted(set(session.scalars(located)))


def _current(principal: Principal, feed: Feed, ids: list[UUID], dates: list[date], first_date: FirstDate) -> Any:
    shown = and_(feed.shown(principal), feed.dated(first_date))
    rows = select(*feed.columns(principal, dates), shown.label("is_shown")).where(
        feed.known(principal), feed.model.id.in_(ids)
    )
    return rows.where(feed.day.in_(dates)) if feed.is_monthly else rows
