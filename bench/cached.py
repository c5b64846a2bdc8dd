"""Cached lists and items: from process memory, from Redis, as 304, through nginx."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from bench import load
from bench.place import Place
from bench.servers import BARE, REDIS_ALONE, gunicorn, nginx

MEMORY = "process memory"
REDIS = "Redis"
NOT_MODIFIED = "304"


def measure(place: Place, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures; a 304 also beside the cached 200 of the same address."""
    with ExitStack() as servers:
        bare = servers.enter_context(gunicorn("bench.apps.bare:app", {}))
        memory = servers.enter_context(gunicorn("wsgi:app", place.settings(), name="cached-in-memory"))
        redis = servers.enter_context(gunicorn("wsgi:app", place.settings(**REDIS_ALONE), name="cached-in-redis"))
        # A process of its own: behind nginx an application trusts what the proxy says of the client.
        behind = place.settings(TRUSTED_PROXIES="1")
        upstream = servers.enter_context(gunicorn("wsgi:app", behind, name="cached-behind-nginx"))
        edge = servers.enter_context(nginx(place.stack.place, upstream))
        headers = place.headers(memory)
        item = f"/api/students/{place.made.student_id}/"
        targets = [load.Target(BARE, f"{bare}/")]
        for name, address in (("list of 50", "/api/students/?limit=50"), ("one student", item)):
            targets += [
                load.Target(f"{name}, {MEMORY}", f"{memory}{address}", headers),
                load.Target(f"{name}, {REDIS}", f"{redis}{address}", headers),
                load.Target(f"{name}, {MEMORY}, nginx", f"{edge}{address}", headers),
            ]
            targets += _not_modified(load.Target(f"{name}, {NOT_MODIFIED}", f"{memory}{address}", headers))
        found = load.rows(load.interleaved(targets, rounds=rounds, seconds=seconds), against=BARE)
    for name, row in found.items():
        if name.endswith(NOT_MODIFIED):
            whole = found[name.replace(NOT_MODIFIED, MEMORY)]
            row["times the 200"] = round(row["requests/s"] / whole["requests/s"], 2)
    return found


def _not_modified(target: load.Target) -> list[load.Target]:
    """Return the target that names what it has; none where the answer has no ETag."""
    tag = load.ask(target)[1].get("ETag")
    if tag is None:
        return []
    return [replace(target, headers={**target.headers, "If-None-Match": tag}, status=304)]
