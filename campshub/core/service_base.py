"""The services that all higher layers share: settings, keys, tokens, mail, storage, Redis, freshness, replicas.

``core/http/services.py`` adds those that only requests need. ``core/services.py`` defines the complete container.
"""

import hmac
from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from sqlalchemy import Engine

from campshub.config import Settings, read_keys
from campshub.core.freshness.lease import Lease
from campshub.core.freshness.protocol import Freshness
from campshub.core.freshness.replicas import Replicas
from campshub.core.mail import mailer_of
from campshub.core.redis.connection import Cache
from campshub.core.redis.limits import FailureLimits
from campshub.core.security.api_keys import ApiKeyVerifier
from campshub.core.security.crypto import Cursors, KeyRing
from campshub.core.security.oidc import Issuers
from campshub.core.security.passwords import Passwords
from campshub.core.security.tokens import Tokens
from campshub.core.storage import Storage


class JobSender(Protocol):
    """Notifies workers of jobs that a commit has enqueued."""

    def send(self, calls: Iterable[tuple[UUID, UUID, str]]) -> int:
        """Send messages (organization, id, job) to the broker; return how many were sent."""

    def close(self) -> None:
        """Close the connections to the broker."""


class Services:
    """The shared services; a connection is opened when it is first needed."""

    def __init__(self, settings: Settings, *, sender: JobSender, counting: str) -> None:
        """Create the services.

        :param counting: the Lua function that counts a request against the rate limits of its caller.
        """
        self.settings = settings
        self.sender = sender
        self.engines: dict[str | None, Engine] = {}
        self.file_keys = read_keys(settings.field_encryption_keys)
        self.ring = KeyRing(self.file_keys)
        self.cursors = Cursors(self.file_keys)
        # Only for fingerprints. After a change of SECRET_KEY, a retry of an earlier request is refused as a conflict.
        self.fingerprint_key = hmac.digest(settings.secret_key.encode(), b"fingerprints", "sha256")
        self.tokens = Tokens(settings)
        self.api_keys = ApiKeyVerifier(self.tokens)
        self.oidc = Issuers(settings)
        self.mailer = mailer_of(settings)
        self.storage = Storage(settings.storage_url)
        self.passwords = Passwords(settings)
        self.cache = Cache(settings.redis_urls[0])
        self.failure_limits = FailureLimits(self.cache)
        self.lease = Lease(settings)
        self.freshness = Freshness(settings.redis_urls, self.lease, counting=counting)
        self.replicas = Replicas(settings, self.lease, self.engines)

    def connect(self, engines: Mapping[str | None, Engine]) -> None:
        """Set the engines: the primary's (None), the system role's and one for each replica."""
        self.engines.update(engines)
        self.freshness.primary = engines[None]

    def close(self) -> None:
        """Stop the lease's threads and close the connections to Redis and the broker."""
        self.sender.close()
        self.lease.stop()
        self.freshness.close()
        self.cache.client.close()
