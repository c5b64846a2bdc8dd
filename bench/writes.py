"""Single creates: the whole chain with audit, outbox, stamps and position, beside Flask-SQLAlchemy's add and commit."""

import uuid
from contextlib import ExitStack
from typing import Any

from bench import load
from bench.place import MARK, Place
from bench.servers import gunicorn

NAIVE = "naive create"
WHOLE = "whole chain, create one student"
SCRIPT = load.ROOT / "bench" / "scripts" / "create.lua"


def measure(place: Place, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure and return the figures; the rows made are removed afterwards."""
    # Not the organization that is asked elsewhere: its 10,000 stay 10,000, whatever the writes leave behind.
    who = {"BENCH_ORGANIZATION": place.signs[1].organization_id}
    found: dict[str, list[load.Round]] = {NAIVE: [], WHOLE: []}
    with ExitStack() as servers:
        naive = servers.enter_context(gunicorn("bench.apps.naive:app", place.settings(**who), name="naive-writes"))
        api = servers.enter_context(gunicorn("wsgi:app", place.settings(), name="writes"))
        headers = place.headers(api, 1)
        for number in range(rounds + 1):
            for name, url, given in ((NAIVE, naive, {}), (WHOLE, api, headers)):
                prefix = f"{MARK}{uuid.uuid4().hex[:12]}"
                target = load.Target(name, f"{url}/api/students/", given, script=SCRIPT, given=(prefix,))
                one = load.wrk(target, seconds=seconds if number else load.WARM_UP_S)
                if number:  # the first one warms up
                    found[name].append(one)
    place.clean()
    rows = load.rows(found, against=NAIVE)
    return {name: rows[name] for name in (NAIVE, WHOLE)}
