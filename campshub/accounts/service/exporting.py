"""Export all data of an organization: one file per table, one line per row, with encrypted columns decrypted.

All rows are streamed from one repeatable-read transaction. Secrets (tokens, keys) are not exported. The manifest is
written last: a folder without one is incomplete.
"""

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Select, select

from campshub.accounts.models import Membership, Organization, User
from campshub.core.db.bulk import parts_of, snapshot
from campshub.core.db.models import AnyRow
from campshub.core.db.retention import tenant_models
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import record_audit
from campshub.core.security import audit
from campshub.core.security.audit import AuditEntry, Change, PersonKey
from campshub.core.security.encrypted_columns import encryption_context
from campshub.core.service_base import Services

MANIFEST = "manifest.json"
FORMAT = 1
_OWNER_ONLY = 0o600
_JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

Decryption = Callable[[list[dict[str, Any]]], None]


def record_export(session: Session, *, organization_id: UUID) -> None:
    """Record in the audit log that all data of an organization is read, including medical notes."""
    change = Change("exported", Organization.__tablename__, organization_id, None, None, {"all": True}, frozenset())
    record_audit(session, change)


def export(services: Services, *, organization_id: UUID, folder: Path, now: datetime) -> dict[str, Any]:
    """Write an organization's files into an empty folder; return the manifest."""
    files: dict[str, dict[str, Any]] = {}
    with snapshot() as connection:
        for name, parts in _tables(connection, services, organization_id):
            files[f"{name}.ndjson"] = _write(folder / f"{name}.ndjson", parts)
    manifest = {"format": FORMAT, "organization_id": organization_id, "at": now, "files": files}
    _write(folder / MANIFEST, iter([[manifest]]))
    return manifest


def _tables(
    connection: Connection, services: Services, organization_id: UUID
) -> Iterator[tuple[str, Iterator[list[dict[str, Any]]]]]:
    """Yield each table's name and its rows, in chunks."""
    own = select(*_exported_columns(Organization)).where(Organization.id == organization_id)
    yield Organization.__tablename__, _rows(connection, own)
    members = select(Membership.user_id).where(Membership.organization_id == organization_id)
    yield User.__tablename__, _rows(connection, select(*_exported_columns(User)).where(User.id.in_(members)))
    for model in reversed(tenant_models()):
        rows = select(*_exported_columns(model)).where(model.organization_id == organization_id)
        if model is AuditEntry:
            decrypt = _audit_decryption(connection, services, organization_id)
        else:
            decrypt = _column_decryption(model, services)
        yield model.__tablename__, _rows(connection, rows, decrypt)


def _exported_columns(model: Any) -> list[Any]:
    """Return a table's columns without the secret ones."""
    return [column for column in model.__table__.columns if not column.info.get("secret")]


def _rows(
    connection: Connection, statement: Select[Any], decrypt: Decryption | None = None
) -> Iterator[list[dict[str, Any]]]:
    for part in parts_of(connection, statement):
        rows = [_plain(row) for row in part]
        if decrypt is not None:
            decrypt(rows)
        yield rows


def _plain(row: AnyRow) -> dict[str, Any]:
    return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def _column_decryption(model: Any, services: Services) -> Decryption:
    """Return a function that decrypts a table's encrypted columns in place."""
    sealed = [column for column in _exported_columns(model) if "sealed" in column.info]

    def decrypt(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            for column in sealed:
                value = row[column.name]
                if value is not None:
                    text = value.decode() if isinstance(value, bytes) else value
                    row[column.name] = services.ring.open(text, context=encryption_context(column, **row)).decode()

    return decrypt


def _audit_decryption(connection: Connection, services: Services, organization_id: UUID) -> Decryption:
    """Return a function that decrypts the personal values of the audit log with each person's key."""

    def decrypt(rows: list[dict[str, Any]]) -> None:
        persons = {row["person_id"] for row in rows if row["person_id"] is not None}
        keys = {
            person: audit.unwrap_person_key(services.ring, organization_id, person, sealed)
            for person, sealed in connection.execute(
                select(PersonKey.id, PersonKey.sealed_key).where(
                    PersonKey.organization_id == organization_id, PersonKey.id.in_(persons)
                )
            )
            if sealed is not None
        }
        for row in rows:
            for side in ("before", "after"):
                key = keys.get(row["person_id"])
                row[side] = audit.opened_values(row["entity"], row["entity_id"], row[side], key)

    return decrypt


def _write(path: Path, parts: Iterator[list[Any]]) -> dict[str, Any]:
    """Write rows, one per line, readable only by the owner; return their number, size and SHA-256."""
    digest, rows, size = hashlib.sha256(), 0, 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
        for part in parts:
            for row in part:
                line = orjson.dumps(row, default=_json_default, option=_JSON_OPTIONS)
                file.write(line)
                digest.update(line)
                rows, size = rows + 1, size + len(line)
        file.flush()
        os.fsync(file.fileno())
    return {"rows": rows, "bytes": size, "sha256": digest.hexdigest()}


def _json_default(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return str(value)
