"""Memoized values: responses that must be rendered again, with the values of others and without.

Three servers of one worker each take turns: without memoized values, with them in the process's memory, and with no
process memory, so that each value comes from Redis. Before each read a write invalidates the response, and only the
read is timed. One caller, sequential requests, medians.
"""

import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from bench import dataset
from bench.client import ApiClient
from bench.large import Read, reader
from bench.load import ROOT
from bench.servers import FOR_BENCH, REDIS_ONLY, gunicorn
from campshub.accounts.service import organizations as accounts
from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from devstack.stack import Stack
from tests.large import data

SCALE = data.Scale(organizations=1, students=10_000, largest=10_000, records=20_000, months=2, sets=1_000, share=1.0)
QUARANTINE_S = 11
WITHOUT, MEMORY, REDIS = "without", "memory", "Redis"
SERVERS: dict[str, tuple[str, dict[str, str]]] = {
    WITHOUT: ("bench.apps.unmemoized:app", {}),
    MEMORY: ("wsgi:app", {}),
    REDIS: ("wsgi:app", REDIS_ONLY),
}
STATISTICS = "/api/students/statistics/"
ENROLLED = "statistics of 10,000 students, after an enrolment has changed"
OTHER_ROLE = "the same for another role"
CHANGED = "the same after a student has changed: nothing is cached"


@dataclass
class Site:
    """One server, and its own callers: the servers share the cache Redis, so a caller of two would find responses."""

    url: str
    admin: dict[str, str]
    nutritionist: Read
    times: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Connect."""
        self.api, self.read = ApiClient(self.url, self.admin), reader(self.url, self.admin)

    def time(self, what: str, read: Read, path: str) -> None:
        """Send a read and note its time in milliseconds."""
        begun = time.perf_counter()
        read(path)
        self.times.setdefault(what, []).append((time.perf_counter() - begun) * 1000)


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Let the servers take turns; return the medians, and their ratios to those without memoized values."""
    numbers = count()
    with _sites() as (sites, made):
        enrolment = sites[WITHOUT].api.get(f"/api/groups/{made.group_id}/enrolments/?limit=1")["items"][0]["id"]
        enrolment = f"/api/groups/{made.group_id}/enrolments/{enrolment}/"
        for number in range(20 * rounds + 2):
            for site in sites.values():
                _statistics(site, f"/api/students/{made.student_id}/", enrolment, next(numbers))
            if number == 1:
                for site in sites.values():
                    site.times.clear()  # the first rounds fill the pools and the known URLs
    return {what: _row({name: site.times[what] for name, site in sites.items()}) for what in sites[WITHOUT].times}


def _statistics(site: Site, student: str, enrolment: str, number: int) -> None:
    site.api.send("PATCH", student, {"preferred_name": f"Number {number}"})
    site.time(CHANGED, site.read, STATISTICS)
    site.time(OTHER_ROLE, site.nutritionist, STATISTICS)
    ends_on = datetime.now(UTC).date() + timedelta(days=30 + number % 100)
    site.api.send("PATCH", enrolment, {"ends_on": str(ends_on)})
    site.time(ENROLLED, site.read, STATISTICS)


def _row(times: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: statistics.median(of) for name, of in times.items()}
    return {
        **{f"{name}, ms": round(median, 2) for name, median in medians.items()},
        **{f"{name}, ratio": round(medians[name] / medians[WITHOUT], 2) for name in (MEMORY, REDIS)},
        "requests": len(times[WITHOUT]),
    }


@contextmanager
def _sites() -> Iterator[tuple[dict[str, Site], data.Made]]:
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-values"
    stack = Stack(folder, pgbouncer=True, replica=False)
    os.environ.update(FOR_BENCH)
    try:
        stack.start_data()
        environment = {**stack.environment(), "FLASK_APP": "wsgi.py"}
        dataset.migrate(environment)
        with stack.primary.connect(stack.database) as connection:
            made = data.made(connection, SCALE) or data.make(connection, SCALE)
        token = tokens(environment, made.organization_id)
        with ExitStack() as running:
            sites = {}
            for name, (application, more) in SERVERS.items():
                url = running.enter_context(gunicorn(application, {**environment, **more}, name=f"values-{name}"))
                sites[name] = Site(url, token(Role.ADMIN), reader(url, token(Role.NUTRITIONIST)))
            time.sleep(QUARANTINE_S)  # until then no response is cached
            yield sites, made
    finally:
        stack.stop()


def tokens(environment: dict[str, str], organization_id: uuid.UUID) -> Callable[[Role], dict[str, str]]:
    """Return a function that creates a user with a role and returns the headers of their requests."""
    settings = {name.lower(): value for name, value in environment.items() if value != ""}
    app = create_app(load_settings(**settings, log_level="ERROR"))

    def token(role: Role) -> dict[str, str]:
        with app.app_context(), unit_of_work(system=True, organization_id=organization_id) as session:
            user = accounts.create_user(
                session,
                organization_id=organization_id,
                email=f"{uuid.uuid4().hex}@bench.example",
                name="A user",
                role=role,
                password_hash="",
                now=datetime.now(UTC),
            )
            issuer = app.extensions["campshub"].tokens
            issued = issuer.issue(
                user_id=user.id, organization_id=organization_id, session_id=new_id(), session_version=1
            )
        return {"Authorization": f"Bearer {issued}"}

    return token
