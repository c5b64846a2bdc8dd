"""Clients of the cache Redis: connections, a pipelined connection per process, and batching of concurrent calls."""
