"""What the platform holds for as long as the application lives: settings, key ring, cache, freshness, tokens."""

from dataclasses import dataclass, field

from campshub.config import Settings, read_keys
from campshub.core.cache.connection import Cache
from campshub.core.db.freshness import Freshness
from campshub.core.http.declared import Declared
from campshub.core.http.limits import Limits
from campshub.core.security.crypto import KeyRing
from campshub.core.security.tokens import Tokens


@dataclass
class Platform:
    """The parts that requests, jobs and commands share; ``current_app.extensions["campshub"]``."""

    settings: Settings
    cache: Cache = field(init=False)
    freshness: Freshness = field(init=False)
    limits: Limits = field(init=False)
    declared: Declared = field(init=False)
    ring: KeyRing = field(init=False)
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        """Make the parts from the settings."""
        self.cache = Cache(self.settings.redis_url)
        self.freshness = Freshness(self.cache)
        self.limits = Limits(self.settings)
        self.declared = Declared(self.settings, self.cache)
        self.ring = KeyRing(read_keys(self.settings.field_encryption_keys))
        self.tokens = Tokens(self.settings)
