"""Create rows under ids that clients choose, so that a create can be repeated; name the row that is in the way.

A create inserts and looks afterwards: two identical requests at the same moment are answered alike, since the second
one's insert waits until the first is committed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.exc import IntegrityError

from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Deleted, IdTaken
from campshub.core.security.principal import Principal, visible_to

_NOT_UNIQUE = ("23505", "23P01")  # SQLSTATE of unique and of exclusion constraints
MOST_NAMED = 10


@dataclass(frozen=True)
class UniqueKey:
    """What two rows cannot share, and the problem that refuses the second one."""

    problem: type[Conflict]
    # Returns the condition under which a row that is there shares the key with some values.
    matches: Callable[[Mapping[str, Any]], ColumnElement[bool]]


def unique(
    problem: type[Conflict], *columns: Any, nulls_equal: bool = False, among: ColumnElement[bool] | None = None
) -> UniqueKey:
    """Return a key of columns; ``among`` is the condition of a partial index."""

    def matches(values: Mapping[str, Any]) -> ColumnElement[bool]:
        same = [_equal(column, values.get(column.key), nulls_equal=nulls_equal) for column in columns]
        return and_(*same, *([] if among is None else [among]))

    return UniqueKey(problem, matches)


def _equal(column: Any, value: Any, *, nulls_equal: bool) -> ColumnElement[bool]:
    if value is None:
        absent: ColumnElement[bool] = column.is_(None)
        return absent if nulls_equal else false()
    same: ColumnElement[bool] = column == value
    return same


@dataclass(frozen=True)
class Collection:
    """The rows of a table as the API serves them: where each one is, who sees it, what two of them cannot share."""

    model: Any
    address: str  # with the attributes of ``row``, such as ``/api/groups/{row.id}/``
    keys: tuple[UniqueKey, ...] = ()
    seen_by: Callable[[Principal], ColumnElement[bool]] | None = None
    # Whether its rows may be created by those who do not see them yet, such as students before their enrolment.
    is_blind: bool = False

    def seen(self, principal: Principal) -> ColumnElement[bool]:
        """Return the condition under which the principal sees a row."""
        return self.seen_by(principal) if self.seen_by else visible_to(principal, self.model)

    def conflict(self, problem: type[Conflict], row: Any, *, version: int | None = None) -> Conflict:
        """Return a conflict that names the row in the way, and where it is or how it comes back.

        ``row`` is None where the caller does not see it: then the code is all that the problem says.
        """
        if row is None:
            return problem()
        address = self.address.format(row=row)
        present = {"id": row.id, "version": version or row.version}
        if getattr(row, "deleted_at", None) is None:
            return problem(present=present, headers={"Location": address})
        refusal = problem(present={**present, "deleted_at": row.deleted_at, "undelete": f"{address}undelete/"})
        if problem is not Deleted:
            refusal.detail += " What has it is deleted."
        return refusal


def create(
    session: Session, principal: Principal, collection: Collection, values: Mapping[str, Any], *, fingerprint: bytes
) -> tuple[Any, bool]:
    """Create a row; return it, and whether it is new rather than made by an earlier, identical call.

    :raises Deleted: the id belongs to a row that is deleted.
    :raises IdTaken: the id belongs to a row that was created from something else.
    :raises Conflict: a unique key is taken; the problem is that of the key.
    """
    made = writes.insert_one(session, collection.model, {**values, "fingerprint": fingerprint})
    if made is not None:
        return made, True
    others = _in_the_way(session, principal, collection, values)
    for row, is_seen, *_ in others:
        if row.id == values["id"]:
            return repeated(collection, row, fingerprint=fingerprint, is_seen=is_seen), False
    raise _refusal(collection, others) or Conflict()


def earlier(
    session: Session, principal: Principal, collection: Collection, row_id: Any, *, fingerprint: bytes
) -> Any | None:
    """Return the row that an earlier, identical create has made; None where the id is new.

    For creates whose own rules would refuse a repetition, such as the last place in a group.

    :raises Deleted: the id belongs to a row that is deleted.
    :raises IdTaken: the id belongs to a row that was created from something else.
    """
    if row_id is None:
        return None
    model = collection.model
    found = session.execute(
        select(model, collection.seen(principal)).where(
            model.organization_id == principal.organization_id, model.id == row_id
        )
    ).one_or_none()
    if found is None:
        return None
    return repeated(collection, found[0], fingerprint=fingerprint, is_seen=bool(found[1]))


def repeated(collection: Collection, row: Any, *, fingerprint: bytes, is_seen: bool) -> Any:
    """Return the row under a new row's id, if an identical create has made it.

    :raises Deleted: it is deleted.
    :raises IdTaken: it was created from something else, or the caller does not see it.
    """
    is_same = row.fingerprint == fingerprint
    if getattr(row, "deleted_at", None) is not None and (is_same or is_seen):
        raise collection.conflict(Deleted, row if is_seen else None)
    is_shown = is_seen or (collection.is_blind and row.version == 1)
    if not is_same or not is_shown:
        raise collection.conflict(IdTaken, row if is_seen else None)
    return row


def flush(session: Session, principal: Principal, collection: Collection, row: Any) -> None:
    """Write the changes of a row.

    :raises Conflict: a unique key is taken; the problem is that of the key.
    """
    values = dict(row.__dict__)
    try:
        session.flush()
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_UNIQUE:
            raise
        session.rollback()  # what is in the way can only be read in a new transaction; this one changes nothing more
        refusal = _refusal(collection, _in_the_way(session, principal, collection, values))
        if refusal is None:
            raise
        raise refusal from error


def _in_the_way(session: Session, principal: Principal, collection: Collection, values: Mapping[str, Any]) -> list[Any]:
    """Return the rows that have an id or a unique key of some values, whether they are seen, and which keys."""
    model = collection.model
    shared = [key.matches(values) for key in collection.keys]
    own = model.id == values["id"]
    flags = [and_(condition, ~own).label(f"key_{number}") for number, condition in enumerate(shared)]
    statement = (
        select(model, collection.seen(principal), *flags)
        .where(model.organization_id == principal.organization_id, or_(own, *shared))
        .limit(MOST_NAMED)
        .execution_options(populate_existing=True)
    )
    return list(session.execute(statement))


def _refusal(collection: Collection, others: list[Any]) -> Conflict | None:
    """Return the conflict of the first key that is taken; it names the row if it is the only one."""
    for number, key in enumerate(collection.keys):
        holders = [(row, is_seen) for row, is_seen, *flags in others if flags[number]]
        if holders:
            row, is_seen = holders[0]
            return collection.conflict(key.problem, row if is_seen and len(holders) == 1 else None)
    return None
