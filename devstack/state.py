"""``state.json``: how scripts and checks find a running stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devstack.stack import Stack

FILE = "state.json"


def describe(stack: Stack, *, ready: bool, demo: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the file's content.

    The primary's and the replica's addresses are the superuser's (checks look past policies and pause the replica);
    PgBouncer's is the application's.
    """
    urls = [api.url for api in stack.apis]
    base_url = stack.nginx.url if stack.nginx else next(iter(urls), None)
    return {
        "ready": ready,
        "base_url": base_url,
        "docs_url": f"{base_url}/docs/" if base_url else None,
        "nginx_url": stack.nginx.url if stack.nginx else None,
        "api_urls": urls,
        "postgres": {
            "primary_dsn": stack.primary.dsn(stack.database),
            "replica_dsn": stack.replica.dsn(stack.database) if stack.replica else None,
            "pgbouncer_dsn": stack.pgbouncers[0].dsn(stack.database) if stack.pgbouncers else None,
        },
        "redis": {"cache_url": stack.cache.url, "broker_url": stack.broker.url},
        "demo": demo,
    }
