"""Signing in, at the real cost of a password: whether its duration reveals known users, and how a rush affects others.

(a) Sequential requests, the kinds in turns: wrong passwords of a known user, of an unknown one, of a locked account,
and of several lengths; and a forgotten password of a known and of an unknown user. Medians, and their ratios to the
first.
(b) 200 sign-ins at once, beside one reader with a steady pace on the same worker.
"""

import http.client
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import dataset
from bench.client import ApiClient
from bench.load import ROOT
from bench.servers import gunicorn
from campshub.accounts.service import organizations as accounts
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.passwords import hash_password
from campshub.core.security.permissions import Role
from devstack.stack import Stack

TRIES = 200
AT_ONCE = 200
COST = 12
STUDENTS = 50
IDLE_S = 15
PAUSE_S = 0.01
PATIENCE_S = 300
PASSWORD = "correct horse battery"  # noqa: S105 - of a database created for this run
TOKEN, FORGOT, LIST = "/api/auth/token/", "/api/auth/password/forgot/", "/api/students/?limit=50"
FIRST, FURTHEST = "known user, wrong password", "furthest from the first"
FORGOT_KNOWN, FORGOT_UNKNOWN = "forgot, known user", "forgot, unknown user"
IDLE, ALL_WAIT, DEFAULT = "reader, idle", "reader, 200 sign-ins that all wait", "reader, 200 sign-ins, default settings"
# Users of the first part: the locked account stays locked, and no other is.
_LOCK = "UPDATE sign_in_attempts SET held_until = now() + INTERVAL '1 day' WHERE held_until IS NOT NULL"
_FORGET = "DELETE FROM sign_in_attempts WHERE held_until IS NULL OR held_until < now() + INTERVAL '1 hour'"
_FORGET_ALL = "DELETE FROM sign_in_attempts"


@dataclass(frozen=True)
class Scene:
    """A small stack, and the emails of its users."""

    stack: Stack
    environment: Mapping[str, str]
    emails: list[str]


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - both parts have fixed durations
    """Measure both parts and return the figures."""
    with _scene() as scene:
        found = _timings(scene)
        found |= _rush(scene)
    return found


@contextmanager
def _scene() -> Iterator[Scene]:
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-signing-in"
    stack = Stack(folder, pgbouncer=True, replica=False)
    try:
        stack.start_data()
        environment = {**stack.environment(), "FLASK_APP": "wsgi.py", "MAIL_FOLDER": str(folder / "mail")}
        dataset.migrate(environment)
        yield Scene(stack, environment, _create_users(environment))
    finally:
        stack.stop()


def _create_users(environment: Mapping[str, str]) -> list[str]:
    """Create an organization with students, and as many admins as sign in at once; return their emails."""
    app, organization_id, run = dataset.application(environment), new_id(), new_id().hex[-8:]
    emails = [f"{number}-{run}@bench.example" for number in range(AT_ONCE)]
    hashed = hash_password(PASSWORD, cost=COST)
    with app.app_context(), unit_of_work(system=True, organization_id=organization_id) as session:
        accounts.create_organization(
            session, organization_id=organization_id, name="Rush", time_zone="UTC", currency="EUR"
        )
        for email in emails:
            accounts.create_user(
                session,
                organization_id=organization_id,
                email=email,
                name="One of many",
                role=Role.ADMIN,
                password_hash=hashed,
                now=datetime.now(UTC),
            )
    return emails


# (a) -----------------------------------------------------------------------------------------------------------------


def _timings(scene: Scene) -> dict[str, Any]:
    print(f"  {TRIES} tries of each kind", file=sys.stderr, flush=True)
    known, locked, *lengths = scene.emails[:5]
    unknown = "unknown@bench.example"
    kinds: dict[str, tuple[str, dict[str, str]]] = {
        FIRST: (TOKEN, {"email": known, "password": "not the password"}),
        "unknown user": (TOKEN, {"email": unknown, "password": "not the password"}),
        "locked user": (TOKEN, {"email": locked, "password": "not the password"}),
        **{
            f"{size:,} bytes": (TOKEN, {"email": email, "password": "x" * size})
            for size, email in zip((73, 1_024, 10_000), lengths, strict=True)
        },
        FORGOT_KNOWN: (FORGOT, {"email": known}),
        FORGOT_UNKNOWN: (FORGOT, {"email": unknown}),
    }
    with (
        gunicorn("wsgi:app", {**scene.environment}, name="signing-in") as url,
        scene.stack.primary.connect(scene.stack.database) as sql,
    ):
        caller = _Caller(url)
        for _ in range(6):
            caller.post(*kinds["locked user"])
        sql.execute(_LOCK)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        statuses: dict[str, Counter[int]] = {kind: Counter() for kind in kinds}
        order = list(kinds)
        for number in range(TRIES + 1):
            random.shuffle(order)
            for kind in order:
                took, status = caller.post(*kinds[kind])
                if number:  # the first one warms up
                    times[kind].append(took)
                    statuses[kind][status] += 1
            sql.execute(_FORGET)
        sql.execute(_FORGET_ALL)
    return _ratios(times, statuses)


def _ratios(times: Mapping[str, list[float]], statuses: Mapping[str, Counter[int]]) -> dict[str, Any]:
    medians = {kind: statistics.median(took) for kind, took in times.items()}
    found: dict[str, Any] = {}
    for kind, median in medians.items():
        first = FORGOT_KNOWN if kind.startswith("forgot") else FIRST
        found[kind] = {
            "median ms": round(median * 1000, 2),
            "ratio": round(median / medians[first], 3),
            "quartiles ms": " to ".join(f"{q * 1000:.1f}" for q in statistics.quantiles(times[kind], n=4)[::2]),
            "responses": _joined(statuses[kind]),
        }
    signing_in = [row["ratio"] for kind, row in found.items() if not kind.startswith("forgot")]
    found[FURTHEST] = {"off %": round(max(abs(ratio - 1) for ratio in signing_in) * 100, 1)}
    return found


class _Caller:
    """One client on one connection.

    Its own time is part of what is measured: 0.04 ms of CPU a request. httpx needs 0.25 ms, a sixth of an idle read.
    """

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)

    def post(self, path: str, body: Any) -> tuple[float, int]:
        """Send JSON; return the duration in seconds and the status."""
        return self.send("POST", path, {"Content-Type": "application/json"}, json.dumps(body))

    def send(self, method: str, path: str, headers: Mapping[str, str], body: str | None = None) -> tuple[float, int]:
        """Send one request; return the duration in seconds and the status."""
        begun = time.perf_counter()
        self._connection.request(method, path, body, dict(headers))
        response = self._connection.getresponse()
        response.read()
        return time.perf_counter() - begun, response.status


# (b) -----------------------------------------------------------------------------------------------------------------


def _rush(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # All requests come from one IP address, whose own limits are not measured.
    lifted = {"LOCKOUT_ADDRESS_AFTER": "1000000"}
    for name, settings in ((ALL_WAIT, {**lifted, "PASSWORD_WAIT_S": str(PATIENCE_S)}), (DEFAULT, lifted)):
        print(f"  {name}", file=sys.stderr, flush=True)
        with (
            gunicorn("wsgi:app", {**scene.environment, **settings}, name="rush") as url,
            scene.stack.primary.connect(scene.stack.database) as sql,
        ):
            headers = _reader(url, scene.emails[0])
            idle, during, results, took = _beside(url, headers, scene.emails)
            sql.execute(_FORGET_ALL)
        quiet, busy = _row(idle), _row(during)
        found.setdefault(IDLE, quiet)
        found[name] = {
            **busy,
            "times idle p50": round(busy["p50 ms"] / quiet["p50 ms"], 2),
            "times idle p99": round(busy["p99 ms"] / quiet["p99 ms"], 2),
            "sign-ins": results,
            "seconds": round(took, 1),
        }
    return found


def _reader(url: str, email: str) -> dict[str, str]:
    """Return the headers of a user who reads a list of students, which are created if there are none."""
    tokens = ApiClient(url).post(TOKEN, {"email": email, "password": PASSWORD})
    client = ApiClient(url, {"Authorization": f"Bearer {tokens['access_token']}"})
    for number in range(STUDENTS - len(client.get(LIST)["items"])):
        client.post("/api/students/", {"code": f"S{number}", "given_name": "Asha", "family_name": "Rao"})
    return dict(client.headers)


def _beside(url: str, headers: Mapping[str, str], emails: list[str]) -> tuple[list[float], list[float], str, float]:
    """Read at a steady pace, first without load and then beside the rush, which comes from another process."""
    time.sleep(10)  # until Redis is trusted: its server is a new one
    caller = _Caller(url)
    idle = list(_paced(caller, headers, until=lambda begun: time.perf_counter() - begun > IDLE_S))
    spawn = multiprocessing.get_context("spawn")
    results: Any = spawn.Queue()
    crowd = spawn.Process(target=_crowd, args=(url, emails, results))
    crowd.start()
    begun = results.get(timeout=PATIENCE_S)  # it is about to send
    during = list(_paced(caller, headers, until=lambda _: not results.empty()))
    statuses, ended = results.get(timeout=PATIENCE_S)
    crowd.join()
    return idle, during, _joined(statuses), ended - begun


def _paced(caller: _Caller, headers: Mapping[str, str], *, until: Any) -> Iterator[float]:
    begun = time.perf_counter()
    while not until(begun):
        took, status = caller.send("GET", LIST, headers)
        if status != HTTPStatus.OK:
            raise RuntimeError(f"the reader got status {status}")
        yield took
        time.sleep(PAUSE_S)


def _crowd(url: str, emails: list[str], results: Any) -> None:
    """Sign in with all emails at once."""

    def sign_in(email: str) -> int:
        return _Caller(url).post(TOKEN, {"email": email, "password": PASSWORD})[1]

    with ThreadPoolExecutor(len(emails)) as pool:
        results.put(time.time())
        statuses = Counter(pool.map(sign_in, emails))
    results.put((statuses, time.time()))


def _row(times: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50 ms": round(cuts[49] * 1000, 2), "p99 ms": round(cuts[98] * 1000, 2), "reads": len(times)}


def _joined(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
