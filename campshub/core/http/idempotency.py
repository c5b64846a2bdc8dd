"""Idempotency keys: a request that is sent twice has one effect and one response.

The row of the key is written in the transaction of the effect. Until this ends, the first request holds an advisory
lock of the key. A second request cannot take this lock, so it is refused at once instead of waiting.
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
    """A response that was sent, stored for 24 hours."""

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
    """Return the id of a caller's key; the same text from another caller or for another path is another key.

    :raises Invalid: the key is not 1 to 255 visible ASCII characters.
    """
    if not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    text = "\n".join((str(user_id), method, path, key))
    return uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])


def fingerprint(body: bytes, query: bytes, *, key: bytes) -> str:
    """Return the fingerprint of a request: a hash of its query string and its canonical body.

    It is an HMAC with the server's secret, so the stored value cannot confirm a guess at a body.
    """
    # The length separates the two parts: otherwise different requests could have the same text.
    return hmac.digest(key, len(query).to_bytes(4, "big") + query + _canonical(body), "sha256").hex()


def _canonical(body: bytes) -> bytes:
    """Return a JSON body with sorted keys and without blanks; return other and too deeply nested bodies unchanged."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # orjson reads deeper nesting than it writes
        return body


def stored_form(status: int, headers: dict[str, str], body: bytes, body_fingerprint: str) -> dict[str, Any]:
    """Return a response in its stored form."""
    return {
        "status": status,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "fingerprint": body_fingerprint,
    }


def body_of(stored: dict[str, Any]) -> bytes:
    """Return the body of a stored response."""
    return base64.b64decode(stored["body"])
