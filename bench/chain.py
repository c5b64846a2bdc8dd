"""What the chain costs per request: requests without SQL compared with a bare view, in microseconds.

One worker serves each, and the load keeps it busy, so the time of a request is the reciprocal of the throughput.
"""

from contextlib import ExitStack
from typing import Any

from bench import load
from bench.dataset import Dataset
from bench.servers import BARE, gunicorn

SIGNED_IN = "signed-in item with a 304 response (sign-in, limits, stamps in one Redis call; log line)"
PUBLIC = "/live/ (no sign-in, no Redis, no log line)"


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures."""
    with ExitStack() as servers:
        bare = servers.enter_context(gunicorn("bench.apps.bare:app", {}))
        api = servers.enter_context(gunicorn("wsgi:app", dataset.settings(), name="chain"))
        item = load.Target(
            SIGNED_IN, f"{api}/api/students/{dataset.made.student_id}/", dataset.headers(api), status=304
        )
        tag = load.fetch(item).headers["ETag"]
        targets = [
            load.Target(BARE, f"{bare}/"),
            load.Target(PUBLIC, f"{api}/live/"),
            load.Target(SIGNED_IN, item.url, {**item.headers, "If-None-Match": tag}, status=304),
        ]
        found = load.rows(load.interleaved(targets, rounds=rounds, seconds=seconds), against=BARE)
    for row in found.values():
        row["us a request"] = round(1e6 / row["requests/s"], 1)
        row["us over bare"] = round(row["us a request"] - 1e6 / found[BARE]["requests/s"], 1)
    return found
