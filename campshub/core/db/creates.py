"""Create rows under ids that clients choose, so that a create can be repeated; name the conflicting row.

A create inserts first and reads the conflicting row afterwards. Two identical concurrent requests get the same
response, because the insert of the second one waits until the first one has committed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.exc import IntegrityError

from campshub.core.db import fingerprints, writes
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Deleted, IdTaken
from campshub.core.security.principal import Principal, visible_to

_NOT_UNIQUE = ("23505", "23P01")  # SQLSTATE of unique and of exclusion constraints
MOST_NAMED = 10


@dataclass(frozen=True)
class UniqueKey:
    """A unique key, and the problem that a second row with the same key gets."""

    problem: type[Conflict]
    # Returns the condition under which an existing row has the same key as the values.
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
    """The rows of a table as the API serves them: the URL of each one, who sees it, and their unique keys."""

    model: Any
    address: str  # with the attributes of ``row``, such as ``/api/groups/{row.id}/``
    keys: tuple[UniqueKey, ...] = ()
    seen_by: Callable[[Principal], ColumnElement[bool]] | None = None
    # Whether callers may create rows that they do not see yet, such as students before their enrolment.
    is_blind: bool = False

    def seen(self, principal: Principal) -> ColumnElement[bool]:
        """Return the condition under which the principal sees a row."""
        return self.seen_by(principal) if self.seen_by else visible_to(principal, self.model)

    def conflict(self, problem: type[Conflict], row: Any, *, version: int | None = None) -> Conflict:
        """Return a conflict that names the conflicting row, with its URL, or the URL that undeletes it.

        ``row`` is None if the caller does not see it: then the problem has only its code.
        """
        if row is None:
            return problem()
        url = self.address.format(row=row)
        present = {"id": row.id, "version": version or row.version}
        if getattr(row, "deleted_at", None) is None:
            return problem(present=present, headers={"Location": url})
        refusal = problem(present={**present, "deleted_at": row.deleted_at, "undelete": f"{url}undelete/"})
        if problem is not Deleted:
            refusal.detail += " What has it is deleted."
        return refusal


def create(
    session: Session,
    principal: Principal,
    collection: Collection,
    *,
    id: UUID | None,
    body: Mapping[str, Any],
    row: Mapping[str, Any] | None = None,
    key: bytes = b"",
) -> tuple[Any, bool]:
    """Create a row; return it, and whether it is new (False: an earlier, identical call has created it).

    :param id: the id that the client chose; None for a new one.
    :param body: what the client sent, without the id. A call with the same id and body is a repetition.
    :param row: the columns, where they are not those of the body.
    :param key: the key of the body's fingerprint, for bodies with values that the row stores encrypted.
    :raises Deleted: the id belongs to a row that is deleted.
    :raises IdTaken: the id belongs to a row that was created from something else.
    :raises Conflict: a unique key is taken; the problem is that of the key.
    """
    body_fingerprint = fingerprints.fingerprint(body, key=key)
    values = {**(body if row is None else row), "id": id or new_id()}
    created = writes.insert_one(session, collection.model, {**values, "fingerprint": body_fingerprint})
    if created is not None:
        return created, True
    others = _conflicting(session, principal, collection, values)
    for present, is_seen, *_ in others:
        if present.id == values["id"]:
            return require_same_create(collection, present, fingerprint=body_fingerprint, is_seen=is_seen), False
    raise _refusal(collection, others) or Conflict()


def find_created(
    session: Session, principal: Principal, collection: Collection, *, id: UUID | None, body: Mapping[str, Any]
) -> Any | None:
    """Return the row that an earlier, identical create has inserted; None if the id is new.

    For creates whose own rules would refuse a repetition, such as the last free place in a group. It is called before
    ``create``, with the same id and body.

    :raises Deleted: the id belongs to a row that is deleted.
    :raises IdTaken: the id belongs to a row that was created from something else.
    """
    if id is None:
        return None
    model = collection.model
    found = session.execute(
        select(model, collection.seen(principal)).where(
            model.organization_id == principal.organization_id, model.id == id
        )
    ).one_or_none()
    if found is None:
        return None
    return require_same_create(collection, found[0], fingerprint=fingerprints.fingerprint(body), is_seen=bool(found[1]))


def require_same_create(collection: Collection, row: Any, *, fingerprint: bytes, is_seen: bool) -> Any:
    """Return the existing row with the id of a new one, if an identical create has inserted it.

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
        session.rollback()  # the failed transaction cannot read the conflicting row; a new one can
        refusal = _refusal(collection, _conflicting(session, principal, collection, values))
        if refusal is None:
            raise
        raise refusal from error


def _conflicting(
    session: Session, principal: Principal, collection: Collection, values: Mapping[str, Any]
) -> list[Any]:
    """Return the rows with the id or a unique key of the values, whether the caller sees each, and which keys match."""
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
    """Return the conflict of the first key that is taken; it names the row if only one row has the key."""
    for number, key in enumerate(collection.keys):
        holders = [(row, is_seen) for row, is_seen, *flags in others if flags[number]]
        if holders:
            row, is_seen = holders[0]
            return collection.conflict(key.problem, row if is_seen and len(holders) == 1 else None)
    return None
