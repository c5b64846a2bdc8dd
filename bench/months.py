"""Months created, archived and restored while wrk reads and a writer marks: the duration, and the effect on clients.

A month of 250,000 attendance records, on a small separate stack with a replica. The readers request students, the
records of today and those of the month that is archived; the writer marks the last day of this month and the first of
the next one in turns.
"""

import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bench import dataset, load
from bench.client import ApiClient
from bench.load import ROOT
from bench.servers import gunicorn
from bench.traffic import RawConnection
from campshub.accounts.service import organizations as accounts
from campshub.core import partitions
from campshub.core.dates import add_months
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.partitions import archive as archiving
from campshub.core.partitions import months, restore
from campshub.core.security.passwords import hash_password
from campshub.core.security.permissions import Role
from devstack.stack import Stack

STUDENTS, MEETINGS = 500, 500
MARKS = 5  # students of one request
CONNECTIONS = 16
QUIET_S = 15  # until Redis is trusted; also the baseline
FURTHER = 6
BACK = 6
PATIENCE_S = 600
PASSWORD = "correct horse battery"  # noqa: S105 - of a database created for this run
SCRIPT = ROOT / "bench" / "scripts" / "reads.lua"
TABLE = "attendance_records"
READERS, WRITER = f"readers, {CONNECTIONS} connections", "writer, two months in turns"
LONGEST = "longest request s"


@dataclass(frozen=True)
class Scene:
    """A small stack, an application on it, and its users."""

    stack: Stack
    environment: dict[str, str]
    app: Any
    organization_id: Any
    email: str
    month: date


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - the duration is fixed
    """Measure once and return the figures."""
    with _scene() as scene, gunicorn("wsgi:app", scene.environment, workers=2, name="months") as url:
        token = ApiClient(url).post("/api/auth/token/", {"email": scene.email, "password": PASSWORD})["access_token"]
        api = ApiClient(url, {"Authorization": f"Bearer {token}"})
        meetings = _prepare(scene, api)
        with _clients(scene, api, meetings) as observed:
            time.sleep(QUIET_S)
            found = _maintain(scene)
    return {**found, **observed}


@contextmanager
def _scene() -> Iterator[Scene]:
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-months"
    stack = Stack(folder, pgbouncer=True, replica=True)
    try:
        stack.start_data()
        archive = folder / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        environment = {**stack.environment(), "FLASK_APP": "wsgi.py", "ARCHIVE_URL": str(archive)}
        dataset.migrate(environment)
        app, organization_id = dataset.application(environment), new_id()
        email = f"{organization_id}@bench.example"
        month = add_months(datetime.now(UTC).date(), -BACK)
        with app.app_context(), unit_of_work(system=True, organization_id=organization_id) as session:
            accounts.create_organization(
                session, organization_id=organization_id, name="Months", time_zone="UTC", currency="EUR"
            )
            accounts.create_user(
                session,
                organization_id=organization_id,
                email=email,
                name="An admin",
                role=Role.ADMIN,
                password_hash=hash_password(PASSWORD, cost=dataset.PASSWORD_COST),
                now=datetime.now(UTC),
            )
        yield Scene(stack, environment, app, organization_id, email, month)
    finally:
        stack.stop()


def _prepare(scene: Scene, api: ApiClient) -> list[dict[str, Any]]:
    """Fill the month; return the two meetings that are marked meanwhile, with their students."""
    rows = [{"code": f"S{n}", "given_name": "Asha", "family_name": f"Rao {n}"} for n in range(STUDENTS)]
    made = [one["id"] for one in api.post("/api/students/bulk/", {"students": rows})["results"]]
    with scene.stack.primary.connect(scene.stack.database) as sql:
        sql.execute(f"TRUNCATE {months.name_of(TABLE, scene.month)}")
        with sql.transaction():
            sql.execute("SET LOCAL session_replication_role = replica")  # right by construction
            sql.execute(
                "INSERT INTO attendance_sessions (organization_id, id, local_date, slot)"
                " SELECT %s, uuidv7(), %s::date + n %% 28, 's' || n FROM generate_series(1, %s) n",
                (scene.organization_id, scene.month, MEETINGS),
            )
            sql.execute(
                "INSERT INTO attendance_records (organization_id, local_date, id, session_id, student_id, code,"
                " counts_as, in_rate, source, minutes)"
                " SELECT organization_id, s.local_date, uuidv7(), s.id, st.id, 'present', 'present', true, 'bulk', 60"
                " FROM attendance_sessions s JOIN students st USING (organization_id) WHERE organization_id = %s",
                (scene.organization_id,),
            )
        sql.execute("VACUUM ANALYZE")
    scene.stack.catch_up(PATIENCE_S)
    last = add_months(datetime.now(UTC).date(), 1) - timedelta(days=1)
    return [
        {
            "id": api.post("/api/attendance/sessions/", {"local_date": str(day), "slot": new_id().hex})["id"],
            "students": made[:MARKS],
        }
        for day in (last, last + timedelta(days=1))
    ]


def _maintain(scene: Scene) -> dict[str, Any]:
    """Create months, archive one and restore it; return how long each took."""
    services, found = scene.app.extensions["campshub"], {}
    with scene.app.app_context(), partitions.maintenance(services.settings) as connection:
        tables, today = partitions.tables(connection), datetime.now(UTC).date()
        there = min(partitions.months_ahead(connection, today).values())
        first, last = add_months(today, there + 1), add_months(today, there + FURTHER)

        def ensure() -> Any:
            return sum(len(partitions.ensure(connection, table, first, last)) for table in tables)

        arguments = {"table": TABLE, "month": scene.month, "report": lambda _: None}
        made, took = _timed(ensure)
        found["ensure"] = {"what": f"{made} partitions", **took}
        manifest, took = _timed(lambda: archiving.archive(services, connection, **arguments))
        size = f"{manifest.stored.bytes / 1024**2:.1f} MiB of {manifest.plain.bytes / 1024**2:.1f}"
        found["archive"] = {"what": f"{manifest.rows:,} rows, {size}", **took}
        restored, took = _timed(lambda: restore.restore(services, connection, **arguments))
        found["restore"] = {"what": f"{restored.rows:,} rows", **took}
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return the result, how long it took, and by how much this process's peak of memory has grown."""
    begun, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = work()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    return done, {"seconds": round(time.perf_counter() - begun, 1), "memory MiB": round(grown, 1)}


@contextmanager
def _clients(scene: Scene, api: ApiClient, meetings: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run readers and a writer until the block ends; then add what they observed."""
    observed: dict[str, Any] = {}
    spawn = multiprocessing.get_context("spawn")
    over, results = spawn.Event(), spawn.Queue()
    writer: Any = spawn.Process(target=_write, args=(api.url, dict(api.headers), meetings, over, results))
    writer.start()
    with subprocess.Popen(_wrk(scene, api), stdout=subprocess.PIPE, text=True) as readers:
        try:
            yield observed
        finally:
            readers.send_signal(signal.SIGINT)  # it prints its result
            output = readers.communicate(timeout=PATIENCE_S)[0]
            over.set()
            observed[WRITER] = results.get(timeout=PATIENCE_S)
            writer.join()
    one = load.read(output)
    longest = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s|m)\b", output)
    if longest is None:
        sys.exit(f"wrk printed no longest request: {output}")
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[longest[2]]
    observed[READERS] = {
        "what": f"{one.per_second:.0f} requests/s",
        LONGEST: round(float(longest[1]) * scale, 3),
        "errors": one.errors,
    }


def _wrk(scene: Scene, api: ApiClient) -> list[str]:
    today, day = datetime.now(UTC).date(), scene.month + timedelta(days=9)
    paths = (
        "/api/students/?limit=50",
        f"/api/attendance/records/?from={today}&to={today + timedelta(days=40)}&limit=50",
        f"/api/attendance/records/?from={day}&to={day}&limit=50",
    )
    headers = [word for name, value in api.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{PATIENCE_S}s", "--timeout", "10s", "--latency"]
    return [*command, *headers, "-s", str(SCRIPT), api.url, "--", *paths]


def _write(url: str, headers: dict[str, str], meetings: list[dict[str, Any]], over: Any, results: Any) -> None:
    """Mark, one request after the other, in a separate process."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection, statuses, longest, number = RawConnection(host, int(port)), Counter[int](), 0.0, 0
    header_lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    while not over.is_set():
        meeting, code = meetings[number % len(meetings)], ("present", "late", "absent")[number % 3]
        rows = ", ".join(f'{{"student_id": "{one}", "code": "{code}"}}' for one in meeting["students"])
        body = f'{{"records": [{rows}], "overwrite": true}}'
        head = f"PUT /api/attendance/sessions/{meeting['id']}/records/ HTTP/1.1\r\nHost: {host}\r\n{header_lines}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        begun = time.monotonic()
        statuses[connection.send((head + body).encode())[0]] += 1
        longest = max(longest, time.monotonic() - begun)
        number += 1
    failed = sum(count for status, count in statuses.items() if status != HTTPStatus.OK)
    what = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    results.put({"what": what, LONGEST: round(longest, 3), "errors": failed})
