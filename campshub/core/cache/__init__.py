"""Caches: response memory, shared responses in Redis, popular URLs, and bounded maps."""
