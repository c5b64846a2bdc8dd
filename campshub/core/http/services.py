"""Services that only requests need: rate limits, cached responses, caller states and known URLs."""

from campshub.config import Settings
from campshub.core.cache.popular import PopularUrls
from campshub.core.cache.store import ResponseCache
from campshub.core.cache.values import StampedCache
from campshub.core.http.caller_state import CallerStates
from campshub.core.http.decorators import CacheLifetime, EndpointOptions
from campshub.core.http.known_urls import RequestCache
from campshub.core.http.rate_limits.per_caller import CallerLimits
from campshub.core.http.rate_limits.per_endpoint import EndpointLimits
from campshub.core.service_base import JobSender, Services

MIB = 1024 * 1024


class HttpServices(Services):
    """The shared services, plus those of requests."""

    # The application sets it, because Flask-Caching creates the backend with the application.
    value_cache: StampedCache

    def __init__(self, settings: Settings, *, sender: JobSender) -> None:
        super().__init__(settings, sender=sender, counting=CallerLimits.lua)
        self.popular_urls = PopularUrls(self.cache)
        self.caller_limits = CallerLimits(settings)
        self.endpoint_limits = EndpointLimits(settings, self.cache)
        self.response_cache = ResponseCache(settings.cache_memory_mb * MIB)
        self.caller_states = CallerStates()
        self.request_cache = RequestCache()
        self._ttls = {
            CacheLifetime.DATA: settings.cache_ttl_data,
            CacheLifetime.ANALYTICS: settings.cache_ttl_analytics,
            CacheLifetime.STATISTICS: settings.cache_ttl_statistics,
        }

    def ttl_s(self, options: EndpointOptions) -> float:
        """Return the TTL of an endpoint's cached responses in seconds; 0 means that they are not cached."""
        return self._ttls[options.cache_policy.lifetime] if options.cache_policy is not None else 0
