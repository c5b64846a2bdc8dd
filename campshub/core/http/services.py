"""The services that only requests need: rate limits, cached responses, caller states, known URLs."""

from campshub.config import Settings
from campshub.core.cache.popular import Uses
from campshub.core.cache.store import Answers
from campshub.core.http.caller_state import Callers
from campshub.core.http.decorators import Life, Mark
from campshub.core.http.known_urls import Addresses
from campshub.core.http.rate_limits.per_caller import Limits
from campshub.core.http.rate_limits.per_endpoint import Declared
from campshub.core.service_base import JobSender, Services

MIB = 1024 * 1024


class HttpServices(Services):
    """The shared services, and those of requests."""

    def __init__(self, settings: Settings, *, sender: JobSender) -> None:
        super().__init__(settings, sender=sender, counting=Limits.lua)
        self.uses = Uses(self.cache)
        self.limits = Limits(settings)
        self.declared = Declared(settings, self.cache)
        self.answers = Answers(settings.cache_memory_mb * MIB)
        self.callers = Callers()
        self.addresses = Addresses()
        self._lives = {
            Life.DATA: settings.cache_ttl_data,
            Life.ANALYTICS: settings.cache_ttl_analytics,
            Life.STATISTICS: settings.cache_ttl_statistics,
        }

    def life_s(self, mark: Mark) -> float:
        """Return the TTL of an endpoint's cached responses in seconds; 0: they are not cached."""
        return self._lives[mark.keeping.life] if mark.keeping is not None else 0
