"""Single creates: the whole chain with audit, outbox, stamps and position, and Flask-SQLAlchemy's add and commit."""

import uuid
from contextlib import ExitStack
from typing import Any

from bench import load
from bench.dataset import MARK, Dataset
from bench.servers import gunicorn

NAIVE = "naive create"
WHOLE = "whole chain, create one student"
SCRIPT = load.ROOT / "bench" / "scripts" / "create.lua"


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures; the rows made are removed afterwards."""
    # Not the organization of the other parts: its 10,000 students must stay 10,000.
    who = {"BENCH_ORGANIZATION": dataset.admins[1].organization_id}
    found: dict[str, list[load.Round]] = {NAIVE: [], WHOLE: []}
    with ExitStack() as servers:
        naive = servers.enter_context(gunicorn("bench.apps.naive:app", dataset.settings(**who), name="naive-writes"))
        api = servers.enter_context(gunicorn("wsgi:app", dataset.settings(), name="writes"))
        headers = dataset.headers(api, 1)
        for number in range(rounds + 1):
            for name, url, request_headers in ((NAIVE, naive, {}), (WHOLE, api, headers)):
                prefix = f"{MARK}{uuid.uuid4().hex[:12]}"
                target = load.Target(name, f"{url}/api/students/", request_headers, script=SCRIPT, arguments=(prefix,))
                one = load.wrk(target, seconds=seconds if number else load.WARM_UP_S)
                if number:  # the first one warms up
                    found[name].append(one)
    dataset.clean()
    rows = load.rows(found, against=NAIVE)
    return {name: rows[name] for name in (NAIVE, WHOLE)}
