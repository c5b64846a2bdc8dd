"""Idempotency keys: the same request sent twice has one effect and one answer.

The key's row is written in the transaction of the effect. Whoever comes second while the first is at work finds its
advisory lock taken, rather than a row to wait for.
"""

import base64
import hashlib
import hmac
import re
import uuid
from datetime import datetime
from typing import Any, ClassVar

import orjson
from sqlalchemy import LargeBinary, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base
from campshub.core.errors import Invalid

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyKey(Base):
    """An answer that was given, kept for 24 hours."""

    __tablename__ = "idempotency_keys"
    __tag__ = "idempotency"
    __audited__: ClassVar[bool] = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int]
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


def key_id(key: str, *, user_id: uuid.UUID, method: str, path: str) -> uuid.UUID:
    """Return the id of a caller's key: the same words from another caller or for another address are another key.

    :raises Invalid: it is not 1 to 255 visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key takes 1 to 255 visible ASCII characters.")
    words = "\n".join((str(user_id), method, path, key))
    return uuid.UUID(bytes=hashlib.sha256(words.encode()).digest()[:16])


def fingerprint(body: bytes, query: bytes, *, key: bytes) -> str:
    """Return what identifies a request under a key: its parsed body, however that was written.

    It is keyed with the server's own secret, so that the stored value confirms no guess at a body.
    """
    return hmac.digest(key, len(query).to_bytes(4, "big") + query + _canonical(body), "sha256").hex()


def _canonical(body: bytes) -> bytes:
    """Return a JSON body with its names in order and without blanks; any other as it is, also one nested too deeply."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # it reads deeper nesting than it writes
        return body


def cached(status: int, headers: dict[str, str], body: bytes, body_fingerprint: str) -> dict[str, Any]:
    """Return an answer in the form in which it is kept."""
    return {
        "status": status,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "fingerprint": body_fingerprint,
    }


def body_of(answer: dict[str, Any]) -> bytes:
    """Return the bytes of a kept answer."""
    return base64.b64decode(answer["body"])
