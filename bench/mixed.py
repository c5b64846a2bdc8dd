"""Mixed traffic on the production shape of ``make stack``: nginx, two API processes, replica, PgBouncer.

Nine reads in ten are of few popular URLs: lists, the day's sessions and registers, today's groups. Organizations are
read by their rank (the first is read twenty times as often as the twentieth). Of the writes, four in five come from
four organizations, which mark attendance at that hour; the second run spreads the writes like the reads, which
invalidates the popular URLs most often and is the harder case for any cache.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from typing import Any

from bench import scrape
from bench.client import ApiClient
from bench.dataset import MARK, SET_REST_S, Dataset
from bench.load import ROOT
from bench.traffic import WARM

USERS = 32
WARM_UP_S = 8
LEAST_S = 20
WRITES = 0.1
KINDS_OF_WRITES = {"mark": 50, "add_set": 30, "change": 12, "create": 8}
MARKS = 5  # students of one request
MARKING = (3, 8, 12, 16)  # the organizations that mark attendance
MARKING_SHARE = 0.8
REGISTERS, ITEMS, LOGS = 3, 10, 5
CHANGED = 5  # students whose details change
RUNS = {"registers marked in four organizations": MARKING_SHARE, "writes spread as the reads": 0.0}


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Run both spreads; return the figures."""
    url = dataset.stack.nginx.url
    organizations = [_organization(dataset, url, number) for number in range(len(dataset.admins))]
    found = {}
    for name, share in RUNS.items():
        plan = _plan(url, organizations, share, max(LEAST_S, rounds * seconds))
        found[name] = _run(dataset, plan)
    dataset.clean()
    return found


def _plan(url: str, organizations: list[dict[str, Any]], share: float, seconds: int) -> dict[str, Any]:
    ranks = [1 / (number + 1) for number in range(len(organizations))]
    for number, (organization, rank) in enumerate(zip(organizations, ranks, strict=True)):
        organization["read_weight"] = rank
        marking = share / len(MARKING) if number in MARKING else 0.0
        organization["write_weight"] = marking + (1 - share) * rank / sum(ranks)
    host, _, port = url.removeprefix("http://").partition(":")
    return {
        "host": host,
        "port": int(port),
        "users": USERS,
        "warm_up_s": WARM_UP_S,
        "seconds": seconds,
        "seed": 1,
        "writes": WRITES,
        "kinds_of_writes": KINDS_OF_WRITES,
        "marks": MARKS,
        "rest_seconds": SET_REST_S,
        "prefix": f"{MARK}{uuid.uuid4().hex[:12]}",
        "organizations": organizations,
    }


def _organization(dataset: Dataset, url: str, number: int) -> dict[str, Any]:
    """Look up what is popular in an organization, and open its registers of the day."""
    headers = dataset.headers(url, number)
    api = ApiClient(url, headers)
    day = datetime.now(UTC).date().isoformat()
    groups = [group["id"] for group in api.get("/api/groups/?limit=50&status=active")["items"]][1 : REGISTERS + 1]
    students = [row["id"] for row in api.get("/api/students/?limit=50&fields=id")["items"]][:ITEMS]
    registers = [_register(api, group, day) for group in groups]
    logs = api.get(f"/api/workout-logs/?from={dataset.made.last.replace(day=1)}&to={dataset.made.last}&limit={LOGS}")[
        "items"
    ]
    scope = f"students of {number}"
    return {
        "token": headers["Authorization"].removeprefix("Bearer "),
        "scope": scope,
        "students": students[:CHANGED],
        "registers": registers,
        "logs": [_log(api, log["id"]) for log in logs],
        "reads": _reads(scope, groups, students, registers, day),
    }


def _register(api: ApiClient, group: str, day: str) -> dict[str, Any]:
    payload = {"group_id": group, "local_date": day, "slot": f"{MARK}{uuid.uuid4().hex[:12]}", "status": "open"}
    made = api.post("/api/attendance/sessions/", payload)["id"]
    rows = api.get(f"/api/attendance/sessions/{made}/records/?limit=200")["items"]
    return {"session": made, "students": [row["student_id"] for row in rows]}


def _log(api: ApiClient, log_id: str) -> dict[str, str]:
    return {"log": log_id, "exercise": api.get(f"/api/workout-logs/{log_id}/")["exercises"][0]["id"]}


def _reads(
    scope: str, groups: list[str], students: list[str], registers: list[dict[str, Any]], day: str
) -> list[dict[str, Any]]:
    """Return the popular URLs of an organization with their weights; of several alike, the first most often."""

    def read(path: str, weight: float, kind: str = "other", of: str = "") -> dict[str, Any]:
        return {"path": path, "weight": weight, "kind": kind, "scope": of}

    def several(weight: float, count: int) -> list[float]:
        falling = [1 / (number + 1) ** 1.5 for number in range(count)]
        return [weight * one / sum(falling) for one in falling]

    return [
        read("/api/students/?limit=50", 22, "page", scope),
        read("/api/groups/?limit=50", 12),
        read(f"/api/attendance/sessions/?from={day}&to={day}", 16),
        read("/api/exercises/?limit=50", 6),
        read("/api/attendance/codes/", 4),
        *(
            read(f"/api/attendance/sessions/{one['session']}/records/?limit=200", weight, "register", one["session"])
            for one, weight in zip(registers, several(16, len(registers)), strict=True)
        ),
        *(
            read(f"/api/students/?group_id={group}&limit=100", weight, "page", scope)
            for group, weight in zip(groups[:2], several(12, len(groups[:2])), strict=True)
        ),
        *(
            read(f"/api/students/{student}/", weight, "one", scope)
            for student, weight in zip(students, several(12, len(students)), strict=True)
        ),
    ]


def _run(dataset: Dataset, plan: dict[str, Any]) -> dict[str, Any]:
    apis = [api.url for api in dataset.stack.apis]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        command = [sys.executable, "-m", "bench.traffic", file.name]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as traffic:
            if traffic.stdout is None or traffic.stdout.readline().strip() != WARM:
                raise RuntimeError("the traffic did not start")
            before = scrape.metrics(apis)
            observed = json.loads(traffic.stdout.read())
            grown = scrape.grown(before, scrape.metrics(apis))
    if observed["stale"]:
        print("stale:", *observed["stale"], sep="\n  ", file=sys.stderr)
    return _row(observed, grown)


def _row(observed: dict[str, Any], grown: dict[str, float]) -> dict[str, Any]:
    reads, writes = observed["taken"]["read"], observed["taken"]["write"]
    everything = sorted([*reads, *writes])
    failed = sum(n for status, n in observed["statuses"].items() if not status.split()[1].startswith(("2", "3")))
    cuts = statistics.quantiles(everything, n=100)
    return {
        "hit rate": scrape.share(grown, "campshub_cache_hits_total", "campshub_cache_misses_total"),
        "requests/s": round(len(everything) / observed["seconds"], 1),
        "writes": f"{len(writes) / len(everything):.1%}",
        "p50 ms": round(cuts[49], 1),
        "p95 ms": round(cuts[94], 1),
        "p99 ms": round(cuts[98], 1),
        "p95 of reads ms": round(statistics.quantiles(reads, n=100)[94], 1),
        "p95 of writes ms": round(statistics.quantiles(writes, n=100)[94], 1),
        "error rate": round(failed / len(everything), 5),
        "statuses": ", ".join(f"{status}: {n}" for status, n in sorted(observed["statuses"].items())),
        "mean SQL ms": scrape.mean_ms(grown, "campshub_sql_seconds"),
        "read by": scrape.by_label(grown, "campshub_reads_total", "server"),
        "reads checked": observed["checked"],
        "stale reads": observed["stale_reads"],
    }
