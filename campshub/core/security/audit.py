"""The audit log: who changed what, when, from where, before and after.

Values about a person are encrypted with that person's own key. Erasing the person destroys the key, and so makes the
person's values unreadable in all copies of the log.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import orjson
from sqlalchemy import inspect
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import SECRET, Base, new_id, tenant_index
from campshub.core.security.crypto import KeyRing, person_ring
from campshub.core.security.encrypted_columns import encrypted, encryption_context

ACTIONS = ("created", "changed", "deleted", "read")
ERASED = {"erased": True}
# Columns of every row without information for the log, or whose information is in the entry itself.
_NOT_LOGGED = frozenset({"organization_id", "created_at", "updated_at", "version", "fingerprint", "secret_hash"})


class AuditEntry(Base):
    """One change; append-only for the application."""

    __tablename__ = "audit_log"
    __table_args__ = (tenant_index("entity_id", "recorded_on", "id"), tenant_index("person_id", "recorded_on", "id"))
    __tag__ = "audit"
    __audited__ = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    recorded_on: Mapped[date] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    user_id: Mapped[uuid.UUID | None]
    # The API key of the request, if it came with one; then the user is the creator of the key.
    api_key_id: Mapped[uuid.UUID | None]
    address: Mapped[str | None]
    trace_id: Mapped[str]
    action: Mapped[str]
    entity: Mapped[str]
    entity_id: Mapped[uuid.UUID]
    person_id: Mapped[uuid.UUID | None]
    reason: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]


class PersonKey(Base):
    """A person's own key, encrypted by the installation's key ring; NULL if the person was erased."""

    __tablename__ = "person_keys"
    __tag__ = "audit"
    __audited__: ClassVar[bool] = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sealed_key: Mapped[str | None] = mapped_column(info=SECRET | encrypted("person:{organization_id}:{id}"))


@dataclass
class Change:
    """A change to be logged; its personal values are still in plaintext and must be encrypted before writing."""

    action: str
    entity: str
    entity_id: UUID
    person_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    personal: frozenset[str]
    reason: str | None = None

    @property
    def needs_key(self) -> bool:
        """Whether it has values to encrypt."""
        return any(name in self.personal for values in (self.before, self.after) for name in values or ())


def person_of(model: type, values: Mapping[str, Any]) -> UUID | None:
    """Return the person to whom a row belongs: ``__person__`` names the column with the id."""
    column = getattr(model, "__person__", None)
    return values.get(column) if column else None


@cache
def personal_columns(model: Any) -> frozenset[str]:
    """Return the columns with personal data."""
    return frozenset(c.key for c in inspect(model).column_attrs if c.columns[0].info.get("personal"))


def change_of(entity: Any, action: str) -> Change | None:
    """Return the change that a flush has made to an entity, or None if no logged column has changed."""
    state = inspect(entity)
    model = type(entity)
    now = {a.key: getattr(entity, a.key) for a in state.mapper.column_attrs if a.key not in state.unloaded}
    before, after = None, None
    if action == "created":
        after = logged_values(now)
    elif action == "deleted":
        before = logged_values(now)
    else:
        histories = {a.key: state.attrs[a.key].history for a in state.mapper.column_attrs}
        changed = {key: h for key, h in histories.items() if h.has_changes() and key not in _NOT_LOGGED}
        if not changed:
            return None
        before = {key: h.deleted[0] if h.deleted else None for key, h in changed.items()}
        after = {key: h.added[0] if h.added else None for key, h in changed.items()}
    return Change(
        action=action,
        entity=model.__tablename__,
        entity_id=entity.id,
        person_id=person_of(model, now),
        before=before,
        after=after,
        personal=personal_columns(model),  # type: ignore[arg-type] # a class can be hashed
    )


def logged_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a new or deleted row that its entry contains."""
    return {key: value for key, value in values.items() if value is not None and key not in _NOT_LOGGED}


def sealed_values(change: Change, values: dict[str, Any] | None, key: bytes | None) -> dict[str, Any] | None:
    """Return values as the log stores them: personal ones encrypted, or marked as erased if there is no key."""
    if values is None:
        return None
    ring = person_ring(key) if key else None
    context = f"audit:{change.entity}:{change.entity_id}"
    stored: dict[str, Any] = {}
    for name, value in values.items():
        if name not in change.personal or value is None:
            stored[name] = value
        elif ring is None:
            stored[name] = ERASED
        else:
            stored[name] = {"sealed": ring.seal(orjson.dumps(value, default=_plain), context=f"{context}:{name}")}
    return stored


def opened_values(
    entity: str, entity_id: UUID, stored: Mapping[str, Any] | None, key: bytes | None
) -> dict[str, Any] | None:
    """Return decrypted values of the log; without the person's key they are erased.

    :raises DecryptionFailed: the key is another person's.
    """
    if stored is None:
        return None
    return {name: _decrypted(entity, entity_id, name, value, key) for name, value in stored.items()}


def _decrypted(entity: str, entity_id: UUID, name: str, value: Any, key: bytes | None) -> Any:
    if not (isinstance(value, dict) and value.keys() == {"sealed"}):
        return value
    return unseal(entity, entity_id, name, value["sealed"], key) if key else ERASED


def unseal(entity: str, entity_id: UUID, name: str, sealed: str, key: bytes) -> Any:
    """Decrypt one value of the log.

    :raises DecryptionFailed: the key is another person's.
    """
    return orjson.loads(person_ring(key).open(sealed, context=f"audit:{entity}:{entity_id}:{name}"))


def wrap_person_key(ring: KeyRing, organization_id: UUID, person_id: UUID, key: bytes) -> str:
    """Encrypt a person's key with the installation's ring."""
    return ring.seal(key, context=_key_context(organization_id, person_id))


def unwrap_person_key(ring: KeyRing, organization_id: UUID, person_id: UUID, sealed: str) -> bytes:
    """Decrypt a person's key.

    :raises DecryptionFailed: the ring does not have the key that encrypted it.
    """
    return ring.open(sealed, context=_key_context(organization_id, person_id))


def _key_context(organization_id: UUID, person_id: UUID) -> str:
    return encryption_context(PersonKey.sealed_key, organization_id=organization_id, id=person_id)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"not for the log: {type(value).__name__}")
