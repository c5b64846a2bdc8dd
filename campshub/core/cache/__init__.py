"""Caches: response memory, shared responses and values in Redis, popular URLs, and bounded maps."""
