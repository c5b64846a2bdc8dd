"""Lists and items against a bare Flask view, under the same gunicorn, in the same run."""

import json
import urllib.request
from typing import Any

from bench import load
from bench.place import Place


def measure(place: Place, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures."""
    environment = {**place.environment, "LOG_LEVEL": "WARNING"}
    with load.gunicorn("bench.bare:app", {}) as bare, load.gunicorn("wsgi:app", environment) as api:
        token = {"Authorization": f"Bearer {place.sign_in(api)}"}
        request = urllib.request.Request(f"{api}/api/students/?limit=1", headers=token)  # noqa: S310 - our own address
        student = json.load(urllib.request.urlopen(request))["items"][0]["id"]  # noqa: S310 - our own address
        targets = [
            load.Target("bare Flask view", f"{bare}/", {}),
            load.Target("GET /api/students/?limit=50", f"{api}/api/students/?limit=50", token),
            load.Target("GET /api/students/{id}/", f"{api}/api/students/{student}/", token),
        ]
        found = load.interleaved(targets, rounds=rounds, seconds=seconds)
    ceiling = load.median(found["bare Flask view"], lambda r: r.per_second)
    return {
        name: {
            "share of bare": round(load.median(rounds_, lambda r: r.per_second) / ceiling, 3),
            "requests/s": round(load.median(rounds_, lambda r: r.per_second), 1),
            "spread": [round(min(r.per_second for r in rounds_), 1), round(max(r.per_second for r in rounds_), 1)],
            "p50 ms": round(load.median(rounds_, lambda r: r.p50), 2),
            "p99 ms": round(load.median(rounds_, lambda r: r.p99), 2),
            "errors": sum(r.errors for r in rounds_),
        }
        for name, rounds_ in found.items()
    }
