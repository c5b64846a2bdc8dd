"""API keys of programs and kiosks: ``chk_<prefix>_<secret>``, found by prefix, stored as a hash.

A genuine key is cached in the process, like access tokens. Whether it is still valid, and what it may do, is part of
the caller's state, which is looked up for each request.
"""

import hmac
import re
import secrets
import string
import time
from contextlib import closing
from uuid import UUID

from sqlalchemy import Engine, text

from campshub.core.cache.bounded import BoundedMap
from campshub.core.db.session import Session, Unit, begin, commit
from campshub.core.ip_addresses import customer_of
from campshub.core.security import events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.opaque import hash_of
from campshub.core.security.tokens import BadToken, Claims, Tokens

KIND = "chk_"
ALPHABET = string.digits + string.ascii_letters
PREFIX_LENGTH = 12
SECRET_LENGTH = 43  # of 62 letters: 256 bits
NOTED_EVERY_S = 60
REMEMBERED_S = 300
_MOST_NOTED = 20_000
_KEY = re.compile(rf"{KIND}([0-9A-Za-z]{{{PREFIX_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}}")
_KEYS_OF = text("SELECT * FROM api_keys_of(:prefix)")
_NOTE = text("SELECT note_key_use(:key_id, :address)")


def new_key() -> tuple[str, str]:
    """Return a new key, and the prefix by which it is found."""
    prefix, secret = (
        "".join(secrets.choice(ALPHABET) for _ in range(length)) for length in (PREFIX_LENGTH, SECRET_LENGTH)
    )
    return f"{KIND}{prefix}_{secret}", prefix


class ApiKeyVerifier:
    """Verifies API keys, and records from which addresses they are used."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        # When, and in which unit of work, this process has last recorded a key's use from an address.
        self._noted: BoundedMap[tuple[UUID, str], tuple[float, int]] = BoundedMap(_MOST_NOTED)

    def read(self, key: str, engine: Engine) -> Claims:
        """Return the claims of a genuine key, read from the primary when the process sees the key first.

        :raises BadToken: there is no such valid key.
        """
        found = _KEY.fullmatch(key)
        if found is None:
            raise BadToken
        with closing(begin(Unit(engine=engine))) as session:
            rows = session.execute(_KEYS_OF, {"prefix": found[1]}).all()
            commit(session)
        key_hash, genuine = hash_of(key), None
        for row in rows:
            if hmac.compare_digest(key_hash, row.secret_hash):
                genuine = row
        if genuine is None:
            raise BadToken
        claims = Claims(
            user_id=genuine.user_id,
            organization_id=genuine.organization_id,
            session_id=None,
            session_version=0,
            # Cached for a limited time, because the plan may change; the key's own expiry is checked in each request.
            expires_at=min(genuine.expires_at.timestamp(), time.time() + REMEMBERED_S),
            api_key_id=genuine.id,
            requests_per_hour=genuine.requests_per_hour,
        )
        self._tokens.remember(key, claims)
        return claims

    def is_due(self, claims: Claims, address: str | None) -> bool:
        """Return whether the use of a key from an address must be recorded (again)."""
        if claims.api_key_id is None:
            return False
        noted = self._noted.get((claims.api_key_id, customer_of(address)))
        return noted is None or time.monotonic() - noted[0] >= NOTED_EVERY_S

    def note(self, unit: Unit, claims: Claims) -> None:
        """Record the use of a key in a separate transaction after the unit of work, also if that is rolled back.

        If recording fails, the next request does not try again, because it would wait for an unavailable primary. A
        read that is retried on another server registers the write again.
        """
        key_id = claims.api_key_id
        if key_id is None:
            return
        address = customer_of(unit.address)
        noted = self._noted.get((key_id, address))
        if not self.is_due(claims, unit.address) and (noted is None or noted[1] != id(unit.separate_writes)):
            return
        self._noted.put((key_id, address), (time.monotonic(), id(unit.separate_writes)))
        unit.separate_writes.append(lambda session: self._note(session, key_id, address))

    def _note(self, session: Session, key_id: UUID, address: str) -> None:
        if session.scalar(_NOTE, {"key_id": key_id, "address": address}):
            events.record_event(session, SecurityEventKind.KEY_FROM_NEW_ADDRESS, session.unit.user_id)
