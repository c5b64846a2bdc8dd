"""The list of students at risk in an organization of 10,000 students, uncached, and marking with its rollups.

The response cache is off, so that each request reads the database through the whole chain. All rules are on. Then marks
are written, and the list is read again while their keys are stale.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

from bench import dataset
from bench.client import ApiClient
from bench.load import ROOT
from bench.marking import marked, new_meeting, students_of
from bench.servers import FOR_BENCH, UNCACHED, gunicorn
from bench.values import tokens
from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.rollups import refresh
from campshub.core.security.permissions import Role
from devstack.stack import Stack
from tests.large import data

SCALE = data.Scale(organizations=1, students=10_000, largest=10_000, records=800_000, months=4, sets=1_000, share=1.0)
RULES = {"at_risk_rate": 75, "at_risk_weeks": 4, "at_risk_absences": 3, "at_risk_days_away": 14}
READS = 10  # in a round
LIST, ONE = "/api/attendance/at-risk/", "/api/attendance/at-risk/?limit=1&rule=absences"


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Read the list while all rollups are fresh, and while 1,000 keys are stale; return medians and maxima."""
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-at-risk"
    stack = Stack(folder, pgbouncer=True, replica=False)
    os.environ.update(FOR_BENCH)
    try:
        stack.start_data()
        environment = {**stack.environment(), "FLASK_APP": "wsgi.py"}
        dataset.migrate(environment)
        with stack.primary.connect(stack.database) as connection:
            made = data.made(connection, SCALE) or data.make(connection, SCALE)
            app = create_app(
                load_settings(
                    **{name.lower(): value for name, value in environment.items() if value}, log_level="ERROR"
                )
            )
            data.refresh_rollups(connection, app)
        token = tokens(environment, made.organization_id)(Role.ADMIN)
        with gunicorn("wsgi:app", {**environment, **UNCACHED}, name="at-risk") as url:
            api = ApiClient(url, token)
            api.send("PATCH", "/api/organization/", RULES)
            found = {
                "the list, rollups fresh": _timed(api, LIST, rounds),
                "one student of it": _timed(api, ONE, rounds),
            }
            meeting = new_meeting(api, made.last.isoformat())
            body = {"records": [{"student_id": one, "code": "absent"} for one in students_of(api)[:1_000]]}
            marked(api, f"/api/attendance/sessions/{meeting}/records/", body)
            found["the list, 1,000 students stale"] = _timed(api, LIST, rounds)
        with app.app_context(), unit_of_work(system=True) as session:
            refresh.refresh_due(session)
        return found
    finally:
        stack.stop()


def _timed(api: ApiClient, path: str, rounds: int) -> dict[str, Any]:
    times = []
    for number in range(rounds * READS + 1):
        begun = time.perf_counter()
        api.get(path)
        if number:  # the first one builds the statement
            times.append((time.perf_counter() - begun) * 1000)
    return {
        "p50, ms": round(statistics.median(times), 1),
        "p95, ms": round(statistics.quantiles(times, n=20)[-1], 1),
        "reads": len(times),
    }
