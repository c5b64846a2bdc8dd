"""What the platform holds for as long as the application lives: settings, keys, cache, freshness, limits, tokens."""

import hmac
from collections.abc import Mapping

from sqlalchemy import Engine

from campshub.config import Settings, read_keys
from campshub.core.cache.connection import Cache
from campshub.core.cache.layered import Answers
from campshub.core.cache.uses import Uses
from campshub.core.db.freshness import Freshness
from campshub.core.db.lease import Lease
from campshub.core.db.replicas import Replicas
from campshub.core.http.addresses import Addresses
from campshub.core.http.callers import Callers
from campshub.core.http.declared import Declared
from campshub.core.http.limits import Limits
from campshub.core.http.marks import Life, Mark
from campshub.core.jobs.broker import Sender
from campshub.core.mail import mailer_of
from campshub.core.security.api_keys import ApiKeys
from campshub.core.security.crypto import Cursors, KeyRing
from campshub.core.security.oidc import Issuers
from campshub.core.security.passwords import Passwords
from campshub.core.security.tokens import Tokens
from campshub.core.storage import Storage

MIB = 1024 * 1024


class Platform:
    """The parts that requests, jobs and commands share; ``current_app.extensions["campshub"]``."""

    def __init__(self, settings: Settings) -> None:
        """Make the parts from the settings; connections are made when they are first needed."""
        self.settings = settings
        self.engines: dict[str | None, Engine] = {}
        self.file_keys = read_keys(settings.field_encryption_keys)
        self.ring = KeyRing(self.file_keys)
        self.cursors = Cursors(self.file_keys)
        # Of fingerprints alone. With another SECRET_KEY a retry from before it is a conflict.
        self.print_key = hmac.digest(settings.secret_key.encode(), b"fingerprints", "sha256")
        self.tokens = Tokens(settings)
        self.api_keys = ApiKeys(self.tokens)
        self.oidc = Issuers(settings)
        self.mailer = mailer_of(settings)
        self.storage = Storage(settings.storage_url)
        self.sender = Sender(settings)
        self.passwords = Passwords(settings)
        self.cache = Cache(settings.redis_urls[0])
        self.uses = Uses(self.cache)
        self.limits = Limits(settings)
        self.declared = Declared(settings, self.cache)
        self.lease = Lease(settings)
        self.freshness = Freshness(settings.redis_urls, self.lease, counting=Limits.lua)
        self.replicas = Replicas(settings, self.lease, self.engines)
        self.answers = Answers(settings.cache_memory_mb * MIB)
        self.callers = Callers()
        self.addresses = Addresses()
        self._lives = {
            Life.DATA: settings.cache_ttl_data,
            Life.ANALYTICS: settings.cache_ttl_analytics,
            Life.STATISTICS: settings.cache_ttl_statistics,
        }

    def connect(self, engines: Mapping[str | None, Engine]) -> None:
        """Take the engines: the primary's (None), the system role's and one for each replica."""
        self.engines.update(engines)
        self.freshness.primary = engines[None]

    def life_s(self, mark: Mark) -> float:
        """Return for how long a handler's finished answers are kept at the most; 0: they are not."""
        return self._lives[mark.keeping.life] if mark.keeping is not None else 0

    def close(self) -> None:
        """Stop the lease's threads and close the connections to Redis."""
        self.sender.close()
        self.lease.stop()
        self.freshness.close()
        self.cache.client.close()
