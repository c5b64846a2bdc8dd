"""Cached lists and items: from process memory, from Redis, as 304, through nginx."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from bench import load
from bench.dataset import Dataset
from bench.servers import BARE, REDIS_ONLY, gunicorn, nginx

MEMORY = "process memory"
REDIS = "Redis"
NOT_MODIFIED = "304"


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures; for a 304 also its ratio to the cached 200 of the same URL."""
    with ExitStack() as servers:
        bare = servers.enter_context(gunicorn("bench.apps.bare:app", {}))
        memory = servers.enter_context(gunicorn("wsgi:app", dataset.settings(), name="cached-in-memory"))
        redis = servers.enter_context(gunicorn("wsgi:app", dataset.settings(**REDIS_ONLY), name="cached-in-redis"))
        # A separate process: behind nginx an application trusts the client address that the proxy reports.
        behind = dataset.settings(TRUSTED_PROXIES="1")
        upstream = servers.enter_context(gunicorn("wsgi:app", behind, name="cached-behind-nginx"))
        proxied = servers.enter_context(nginx(dataset.stack.workspace, upstream))
        headers = dataset.headers(memory)
        item = f"/api/students/{dataset.made.student_id}/"
        targets = [load.Target(BARE, f"{bare}/")]
        for name, path in (("list of 50", "/api/students/?limit=50"), ("one student", item)):
            targets += [
                load.Target(f"{name}, {MEMORY}", f"{memory}{path}", headers),
                load.Target(f"{name}, {REDIS}", f"{redis}{path}", headers),
                load.Target(f"{name}, {MEMORY}, nginx", f"{proxied}{path}", headers),
            ]
            targets += _not_modified(load.Target(f"{name}, {NOT_MODIFIED}", f"{memory}{path}", headers))
        found = load.rows(load.interleaved(targets, rounds=rounds, seconds=seconds), against=BARE)
    for name, row in found.items():
        if name.endswith(NOT_MODIFIED):
            whole = found[name.replace(NOT_MODIFIED, MEMORY)]
            row["times the 200"] = round(row["requests/s"] / whole["requests/s"], 2)
    return found


def _not_modified(target: load.Target) -> list[load.Target]:
    """Return the target with the current ETag; none where the response has no ETag."""
    tag = load.fetch(target).headers.get("ETag")
    if tag is None:
        return []
    return [replace(target, headers={**target.headers, "If-None-Match": tag}, status=304)]
