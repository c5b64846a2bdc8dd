"""Marking a register of 1,000: one request through the whole chain, compared with the same by ORM objects."""

import statistics
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

from bench.client import ApiClient
from bench.dataset import MARK, Dataset
from bench.servers import gunicorn

ROWS = 1_000
OURS = "whole chain"
WITHOUT = "whole chain, no change sets"
BY_OBJECTS = "ORM objects, marks read at once"
BY_ROW = "ORM objects, a query for each row"
TIMES = ("first", "again, nothing changed")


@dataclass(frozen=True)
class _Way:
    """One way to mark a register."""

    client: ApiClient
    path: str

    def mark(self, meeting: str, body: Any) -> float:
        """Mark it; return milliseconds."""
        return marked(self.client, self.path.format(meeting), body)


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Mark open-gym sessions of 1,000 students, a new one each round and way; return medians in milliseconds."""
    who = {"BENCH_ORGANIZATION": dataset.admins[0].organization_id}
    with ExitStack() as servers:
        naive = servers.enter_context(gunicorn("bench.apps.naive:app", dataset.settings(**who), name="naive-marking"))
        api = servers.enter_context(gunicorn("wsgi:app", dataset.settings(), name="marking"))
        ours, theirs = ApiClient(api, dataset.headers(api)), ApiClient(naive)
        ways = {
            OURS: _Way(ours, "/api/attendance/sessions/{}/records/"),
            WITHOUT: _Way(ours, "/api/attendance/sessions/{}/records/"),
            BY_OBJECTS: _Way(theirs, "/api/sessions/{}/records/"),
            BY_ROW: _Way(theirs, "/api/sessions/{}/records/each/"),
        }
        body = {"records": [{"student_id": i, "code": "present"} for i in students_of(ours)]}
        times: dict[str, list[float]] = {f"{name}, {which}": [] for name in ways for which in TIMES}
        for number in range(rounds + 1):
            for name, way in ways.items():
                meeting = new_meeting(ours, dataset.made.last.isoformat())
                without = dataset.without_triggers("attendance_records", "record")
                with without if name == WITHOUT else nullcontext():
                    # The first request after a switch detects the changed table and is not counted.
                    way.mark(new_meeting(ours, dataset.made.last.isoformat()), body)
                    for which in TIMES:
                        took = way.mark(meeting, body)
                        if number:  # the first round warms up
                            times[f"{name}, {which}"].append(took)
    dataset.clean()
    return _rows(times)


def _rows(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return a line for each way and request, with the ratio to ours."""
    rows: dict[str, Any] = {}
    for name, taken in times.items():
        ours = next(times[f"{OURS}, {which}"] for which in TIMES if name.endswith(which))
        rows[name] = {
            "median ms": round(statistics.median(taken), 1),
            "spread ms": f"{min(taken):.0f} to {max(taken):.0f}",
            "rows per second": round(1000 * ROWS / statistics.median(taken)),
            "times ours": round(statistics.median(taken) / statistics.median(ours), 2),
        }
    return rows


def new_meeting(api: ApiClient, day: str) -> str:
    """Create an open-gym session; return its id."""
    made: str = api.post("/api/attendance/sessions/", {"local_date": day, "slot": f"{MARK}{uuid.uuid4().hex[:12]}"})[
        "id"
    ]
    return made


def marked(api: ApiClient, path: str, body: Any) -> float:
    """Mark a register; return milliseconds including reading the response."""
    begun = time.perf_counter()
    api.send("PUT", path, body)
    return (time.perf_counter() - begun) * 1000


def students_of(api: ApiClient) -> list[str]:
    """Return the first thousand students."""
    found: list[str] = []
    cursor = ""
    while len(found) < ROWS:
        page = api.get(f"/api/students/?limit=200&fields=id&sort=created{cursor}")
        found += [item["id"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    return found[:ROWS]
