"""One unit of work: what a request or job reads and writes, committed once, at the edge.

The unit collects what must be written besides its own rows (audit, outbox, the keys of new persons, the idempotent
response). One statement writes it just before the commit, so that no module can forget it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID

import orjson
from flask import current_app
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import DBAPIError

from campshub.core.db.models import Base, new_id
from campshub.core.db.session import OrmSession, RolledBack, Session, Unit, begin, commit, db
from campshub.core.db.unit import Position
from campshub.core.freshness import epoch
from campshub.core.freshness.protocol import Freshness, PendingWrite
from campshub.core.observe import metrics
from campshub.core.security import audit
from campshub.core.security.crypto import new_person_key
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

MOST_BEGINS = 2
# SQLSTATE classes of a refused COMMIT: a deferred constraint, or a conflict with another transaction.
_ROLLED_BACK = frozenset({"23", "40"})

_FINISH = text(
    """
    WITH keyed AS (
      INSERT INTO person_keys (organization_id, id, sealed_key)
      SELECT organization_id, id, sealed_key
        FROM json_to_recordset(:keys) AS given(organization_id uuid, id uuid, sealed_key text)
      ON CONFLICT DO NOTHING RETURNING id
    ), whole AS (
      SELECT (SELECT count(*) FROM keyed) = json_array_length(:keys)
    ), audited AS (
      INSERT INTO audit_log (organization_id, recorded_on, id, at, user_id, api_key_id, address, trace_id, action,
                             entity, entity_id, person_id, reason, before, after)
      SELECT organization_id, recorded_on, id, at, user_id, api_key_id, address, trace_id, action, entity,
             entity_id, person_id, reason, before, after
        FROM json_to_recordset(:audit) AS given(organization_id uuid, recorded_on date, id uuid, at timestamptz,
             user_id uuid, api_key_id uuid, address text, trace_id text, action text, entity text, entity_id uuid,
             person_id uuid, reason text, before jsonb, after jsonb)
       WHERE (TABLE whole)
    ), enqueued AS (
      INSERT INTO outbox (organization_id, id, job, arguments, trace_id, user_id, api_key_id)
      SELECT organization_id, id, job, arguments, trace_id, user_id, api_key_id
        FROM json_to_recordset(:outbox) AS given(organization_id uuid, id uuid, job text, arguments jsonb,
             trace_id text, user_id uuid, api_key_id uuid)
       WHERE (TABLE whole)
    ), stored_response AS (
      INSERT INTO idempotency_keys (organization_id, id, fingerprint, status, headers, body)
      SELECT organization_id, id, fingerprint, status, headers, decode(body, 'base64')
        FROM json_to_recordset(:response) AS given(organization_id uuid, id uuid, fingerprint text, status int,
             headers jsonb, body text)
       WHERE (TABLE whole)
      ON CONFLICT (organization_id, id) DO UPDATE SET created_at = now(), fingerprint = excluded.fingerprint,
         status = excluded.status, headers = excluded.headers, body = excluded.body
    )
    SELECT id FROM keyed
    """
)
_PERSON_KEYS = text("SELECT id, sealed_key FROM person_keys WHERE organization_id = :organization AND id = ANY(:ids)")
_NEW_PERSON_KEYS = text(
    """
    INSERT INTO person_keys (organization_id, id, sealed_key)
    SELECT organization_id, id, sealed_key
      FROM json_to_recordset(:keys) AS given(organization_id uuid, id uuid, sealed_key text)
    ON CONFLICT DO NOTHING RETURNING id
    """
)


def mark_changed(session: Session, model: Any, organization_id: UUID | None = None) -> None:
    """Record that the unit has written to a table, so that its tag is stamped.

    :raises RuntimeError: the unit is read-only.
    """
    if session.unit.read_only:
        raise RuntimeError(f"a read-only unit of work wrote to {model.__tablename__}")
    owner = organization_id or session.unit.organization_id
    if owner is not None:
        session.unit.stamped.add((owner, model.__tag__))


def _mark_triggered(session: Session, entity: Any) -> None:
    """Record that triggers write to tables of other tags, because certain columns have changed."""
    for column, tag in type(entity).__triggers__.items():
        if inspect(entity).attrs[column].history.has_changes():
            session.unit.stamped.add((entity.organization_id, tag))


def record_audit(session: Session, change: audit.Change) -> None:
    """Write a change to the audit log when the unit commits."""
    change.reason = change.reason or session.unit.reason
    session.unit.audit.append(change)


def new_person(session: Session, person_id: UUID) -> None:
    """Create the key that encrypts a person's data in the audit log."""
    session.unit.person_keys[person_id] = new_person_key()
    session.unit.new_persons.add(person_id)


def in_separate_transaction(session: Session, record: Callable[[Session], None]) -> None:
    """Register a write that must persist even if this unit of work is rolled back; it runs in a separate unit."""
    session.unit.separate_writes.append(record)


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """Undo the writes of the block if it fails, with their audit entries, jobs and keys, and keep the transaction.

    The block's tags stay stamped, which costs readers a read and cannot show them old data.
    """
    if not isinstance(session, OrmSession):
        raise TypeError("a read-only unit of work needs no savepoint")
    unit = session.unit
    collected = (unit.audit, unit.outbox)
    lengths = [len(one) for one in collected]
    persons, keys = set(unit.new_persons), dict(unit.person_keys)
    try:
        with session.begin_nested():
            yield
    except BaseException:
        for one, length in zip(collected, lengths, strict=True):
            del one[length:]
        unit.new_persons, unit.person_keys = persons, keys
        raise


@event.listens_for(OrmSession, "before_flush")
def _claim(session: OrmSession, _context: Any, _instances: Any) -> None:
    """Set the unit's tenant on new rows."""
    for entity in session.new:
        if getattr(entity, "organization_id", "none") is None:
            entity.organization_id = session.unit.organization_id


@event.listens_for(OrmSession, "after_flush")
def _collect(session: OrmSession, _context: Any) -> None:
    """Collect tags and audit entries of the entities that a flush has written."""
    for entities, action in ((session.new, "created"), (session.dirty, "changed"), (session.deleted, "deleted")):
        for entity in entities:
            if action == "changed" and not session.is_modified(entity):
                continue
            _note(session, entity, action)
            if action == "changed":
                _mark_triggered(session, entity)


def _note(session: Session, entity: Base, action: str) -> None:
    model = type(entity)
    mark_changed(session, model, getattr(entity, "organization_id", None))
    if action == "created" and getattr(model, "__person__", None) == "id":
        new_person(session, entity.id)  # type: ignore[attr-defined] # a person has an id
    if model.__audited__:
        change = audit.change_of(entity, action)
        if change is not None:
            record_audit(session, change)


def finish(session: Session, services: Services) -> None:
    """Write audit, outbox, keys and response in one statement; in two if a person's key already exists."""
    unit = session.unit
    session.flush()
    if not (unit.audit or unit.outbox or unit.new_persons or unit.response_to_store):
        return
    owner = unit.organization_id
    _find_keys(session, services)
    origin = {
        "organization_id": owner,
        "trace_id": unit.trace_id,
        "user_id": unit.user_id,
        "api_key_id": unit.api_key_id,
    }
    messages = [{**message, **origin} for message in unit.outbox]
    response = (
        [{**unit.response_to_store, "organization_id": owner, "id": unit.idempotency_key}]
        if unit.response_to_store
        else []
    )
    values = {"outbox": _json(messages), "response": _json(response)}
    present = unit.new_persons - _write_effects(session, services, values)
    if present:
        # A client may choose the id of a person who already has a key here, such as a user: they share the key.
        for person in present:
            del unit.person_keys[person]
        unit.new_persons.clear()  # the keys of the others have been written
        _read_keys(session, services, present)
        _write_effects(session, services, values)


def _write_effects(session: Session, services: Services, values: dict[str, str]) -> set[UUID]:
    """Write new keys and, only if every key is new, audit, outbox and response. Return the persons with new keys."""
    unit = session.unit
    keys = [_key_row(unit, services, person) for person in unit.new_persons]
    entries = [_entry(unit, change) for change in unit.audit]
    return set(session.scalars(_FINISH, {**values, "audit": _json(entries), "keys": _json(keys)}))


def _owner(unit: Unit) -> UUID:
    if unit.organization_id is None:
        raise RuntimeError("a unit of work without an organization has written something that belongs to one")
    return unit.organization_id


def _key_row(unit: Unit, services: Services, person: UUID) -> dict[str, Any]:
    sealed = audit.wrap_person_key(services.ring, _owner(unit), person, unit.person_keys[person])
    return {"organization_id": _owner(unit), "id": person, "sealed_key": sealed}


def _find_keys(session: Session, services: Services) -> None:
    """Read the keys that encrypt the unit's entries; create those of persons new to this organization's log.

    An erased person has a row without a key, and does not get a new one.
    """
    unit = session.unit
    persons = {c.person_id for c in unit.audit if c.person_id and c.needs_key} - unit.person_keys.keys()
    if not persons:
        return
    unknown = persons - _read_keys(session, services, persons)
    if not unknown:
        return
    unit.person_keys |= {person: new_person_key() for person in unknown}
    rows = [_key_row(unit, services, person) for person in unknown]
    created = set(session.scalars(_NEW_PERSON_KEYS, {"keys": _json(rows)}))
    if created != unknown:  # another unit has created them at the same moment: use its keys
        for person in unknown - created:
            del unit.person_keys[person]
        _read_keys(session, services, unknown - created)


def _read_keys(session: Session, services: Services, persons: set[UUID]) -> set[UUID]:
    """Read keys into the unit; return the persons who have a row."""
    unit, found = session.unit, set()
    for person, sealed in session.execute(_PERSON_KEYS, {"organization": _owner(unit), "ids": list(persons)}):
        found.add(person)
        if sealed is not None:
            unit.person_keys[person] = audit.unwrap_person_key(services.ring, _owner(unit), person, sealed)
    return found


def _entry(unit: Unit, change: audit.Change) -> dict[str, Any]:
    key = unit.person_keys.get(change.person_id) if change.person_id else None
    return {
        "organization_id": _owner(unit),
        "recorded_on": unit.now.date(),
        "id": new_id(),
        "at": unit.now,
        "user_id": unit.user_id,
        "api_key_id": unit.api_key_id,
        "address": unit.address,
        "trace_id": unit.trace_id,
        "action": change.action,
        "entity": change.entity,
        "entity_id": change.entity_id,
        "person_id": change.person_id,
        "reason": change.reason or unit.reason,
        "before": audit.sealed_values(change, change.before, key),
        "after": audit.sealed_values(change, change.after, key),
    }


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows, default=_hex).decode()


def _hex(value: Any) -> str:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(f"not for the database: {type(value).__name__}")


def commit_with_effects(session: Session, services: Services) -> None:
    """Finish and commit a unit of work, and set the stamps: once this returns, no read returns older data."""
    finish(session, services)
    _commit(session, services)
    unit = session.unit
    if unit.outbox:  # the relay sends what the broker does not accept now
        services.sender.send((_owner(unit), message["id"], message["job"]) for message in unit.outbox)


def _commit(session: Session, services: Services) -> None:
    unit, freshness = session.unit, services.freshness
    if not unit.stamped:
        _note_end(unit, commit(session))
        return
    begun = _begin_stamps(unit, freshness)
    if begun is None:
        session.execute(epoch.ADD)
    try:
        position = commit(session)
    except (DBAPIError, RolledBack) as error:
        if begun is not None and _is_rolled_back(error):
            freshness.end(begun, None)
        raise
    _note_end(unit, position)
    if begun is None:
        freshness.wait_for_leases()
    elif position is not None:
        freshness.end(begun, position)
        if begun.is_late():
            _change_epoch(unit)
            freshness.wait_for_leases()


def _is_rolled_back(error: DBAPIError | RolledBack) -> bool:
    """Return whether a failed commit has certainly written nothing.

    If the connection was lost, or the query for the position was refused, the outcome is unknown: the pending entry
    stays until it is overdue and repaired.
    """
    if isinstance(error, RolledBack):
        return True
    state = getattr(error.orig, "sqlstate", None) or ""
    return state[:2] in _ROLLED_BACK


def _change_epoch(unit: Unit) -> None:
    """Change the epoch after a commit that took so long that its entry may have been overdue and repaired meanwhile.

    The repair may have read the position of the commit itself before its rows became visible. Then the stamp would not
    change, and a cached response without these rows would stay valid.
    """
    with closing(begin(Unit(engine=unit.engine, read_only=False))) as session:
        session.execute(epoch.ADD)
        commit(session)


def _note_end(unit: Unit, position: str | None) -> None:
    """Store the position after the commit, for jobs that will read what it wrote."""
    if position is not None:
        unit.ended_at = Position(unit.primary, position)


def _begin_stamps(unit: Unit, freshness: Freshness) -> PendingWrite | None:
    """Send readers of the affected tags to the primary; None: the write must change the epoch instead.

    A begin may be late because the process was paused, or because many servers answered slowly one after another.
    """
    for _ in range(MOST_BEGINS):
        begun = freshness.begin(unit.stamped, unit.primary)
        if begun is None or not begun.is_late():
            return begun
        freshness.end(begun, None)
    return None


def run_separate_transactions(unit: Unit) -> None:
    """Run the separate writes of a unit of work after its commit or rollback."""
    if not unit.separate_writes:
        return
    try:
        with unit_of_work(organization_id=unit.organization_id, user_id=unit.user_id, like=unit) as session:
            for record in unit.separate_writes:
                record(session)
    except Exception:
        metrics.separate_write_failures.inc()
        log.exception("a write in a separate transaction was lost")
    finally:
        unit.separate_writes.clear()


@contextmanager
def unit_of_work(
    *,
    organization_id: UUID | None = None,
    user_id: UUID | None = None,
    read_only: bool = False,
    system: bool = False,
    like: Unit | None = None,
) -> Iterator[Session]:
    """Open a unit of work outside a request: for commands, jobs and separate writes.

    ``system`` uses the role that bypasses row-level security. The unit commits at the end of the block.
    """
    services: Services = current_app.extensions["campshub"]
    unit = Unit(
        engine=db.engines["system" if system else None],
        read_only=read_only,
        organization_id=organization_id,
        user_id=user_id,
    )
    if like is not None:
        unit.now, unit.trace_id, unit.address = like.now, like.trace_id, like.address
        unit.api_key_id = like.api_key_id
    try:
        with closing(begin(unit)) as session:
            yield session
            commit_with_effects(session, services)
    finally:
        run_separate_transactions(unit)
