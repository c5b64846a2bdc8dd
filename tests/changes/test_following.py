"""Eight writers, and a reader that follows by token while the server is killed: the copy equals the tables.

``make check-changes`` runs it for a minute.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.students.models import Group
from devstack import ports
from devstack.http_client import status_of
from tests.conftest import UNLIMITED
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
SECONDS = float(os.environ.get("CHANGES_SECONDS") or 6)
WRITERS, LONG_S, RETRY_S = 8, 0.3, 0.1
ENTITIES = {
    "groups": "SELECT id, version FROM groups WHERE deleted_at IS NULL AND organization_id = %s",
    "enrolments": "SELECT id, version FROM enrolments WHERE organization_id = %s",
    "students": "SELECT id, version FROM students WHERE deleted_at IS NULL AND organization_id = %s",
    "sessions": "SELECT id, version FROM attendance_sessions WHERE organization_id = %s",
    "records": "SELECT id, version FROM attendance_records WHERE organization_id = %s",
}


@pytest.fixture
def server(stack, database, tmp_path):
    """A server with two worker processes; its URL and its process."""
    port, log = ports.unused(), tmp_path / "log"
    settings = {
        **os.environ,
        **stack.environment(database),
        **{name.upper(): str(value) for name, value in UNLIMITED.items()},
        "PORT": str(port),
        "GUNICORN_WORKERS": "2",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: status_of(url, "/ready/") == HTTPStatus.OK, explain=log.read_text)
        yield url, process
    finally:
        process.terminate()
        process.wait(60)


class Writer:
    """A client that changes rows of its own, at random."""

    def __init__(self, url, headers, number):
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30)
        self.random = random.Random(number)
        self.today = datetime.now(UTC).date().isoformat()
        self.students, self.records, self.answered, self.lost = [], [], 0, 0
        self.group = self.call("POST", "/api/groups/", {"code": new_id().hex, "name": f"G{number}"})["id"]
        session = {"group_id": self.group, "local_date": self.today, "slot": "09:00"}
        self.session = self.call("POST", "/api/attendance/sessions/", session)["id"]

    def call(self, method, url, body=None):
        """Send a request; return the response, or nothing if it was refused or lost."""
        try:
            response = self.http.request(method, url, json=body)
        except httpx.TransportError:
            self.lost += 1
            time.sleep(RETRY_S)
            return {}
        assert response.status_code < 500 or response.status_code == 503, response.text
        self.answered += response.status_code < 300
        return response.json() if response.content else {}

    def run(self, is_over):
        """Change rows until the time has passed."""
        while not is_over():
            self.random.choice((self.enrol, self.rename, self.delete, self.mark, self.unmark, self.import_many))()

    def enrol(self):
        """Create a student and enrol them."""
        student = {"code": new_id().hex, "given_name": "Asha", "family_name": "Rao"}
        made = self.call("POST", "/api/students/", student).get("id")
        if made:
            self.students.append(made)
            enrolment = {"student_id": made, "begins_on": self.today}
            self.call("POST", f"/api/groups/{self.group}/enrolments/", enrolment)

    def rename(self):
        """Change the group and a student."""
        self.call("PATCH", f"/api/groups/{self.group}/", {"name": new_id().hex})
        if self.students:
            self.call("PATCH", f"/api/students/{self.random.choice(self.students)}/", {"given_name": new_id().hex})

    def delete(self):
        """Delete a student, and perhaps undelete them."""
        if self.students:
            url = f"/api/students/{self.random.choice(self.students)}/"
            self.call("DELETE", url)
            if self.random.random() < 0.5:
                self.call("POST", f"{url}undelete/")

    def mark(self):
        """Mark all students in the group."""
        code = self.random.choice(("present", "late", "absent"))
        body = {"records": [{"student_id": one, "code": code} for one in self.students[-5:]], "overwrite": True}
        rows = self.call("PUT", f"/api/attendance/sessions/{self.session}/records/", body).get("results", ())
        self.records += [row["id"] for row in rows if row["outcome"] == "created"]

    def unmark(self):
        """Remove a mark."""
        if self.records:
            record = self.records.pop(self.random.randrange(len(self.records)))
            self.call("DELETE", f"/api/attendance/records/{record}/?on={self.today}")

    def import_many(self):
        """Create many students with one call."""
        rows = [{"code": new_id().hex, "given_name": "Ravi", "family_name": "Rao"} for _ in range(20)]
        self.call("POST", "/api/students/bulk/", {"students": rows})


class Follower:
    """A client that keeps a copy."""

    def __init__(self, url, headers):
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30)
        self.token, self.calls, self.items = None, 0, {name: {} for name in ENTITIES}

    def follow(self):
        """Read one page; return whether more follow. A lost response is requested again."""
        since = {"since": self.token} if self.token else {}
        entities = ",".join(ENTITIES)
        try:
            response = self.http.get("/api/sync/", params={"entities": entities, "limit": 50, **since})
        except httpx.TransportError:
            time.sleep(RETRY_S)
            return True
        if response.status_code == 503:
            return True
        assert response.status_code == 200, response.text
        page = response.json()
        for name, rows in self.items.items():
            rows.update({item["id"]: item["version"] for item in page[name]["items"]})
            for gone in page[name]["deleted"]:
                rows.pop(gone, None)
        self.token, self.calls = page["next"], self.calls + 1
        return page["has_more"]


@contextmanager
def running(*targets):
    """Run functions in threads; raise the first error of one."""
    errors = []

    def guarded(target):
        try:
            target()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def write_slowly(app, tenant, is_over):
    """Write in transactions that commit long after others that began later; roll every third back."""
    number = 0
    while not is_over():
        number, name = number + 1, new_id().hex
        row = {"code": name, "name": name, "sort_name": name, "search_text": name, "kind": "class", "status": "active"}
        with suppress(InterruptedError), app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            writes.insert(session, Group, [row])
            session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": LONG_S})
            if number % 3 == 0:
                raise InterruptedError


def kill_workers(process):
    """Kill the server's processes with all requests in them; gunicorn starts others."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def test_a_copy_equals_the_tables_after_concurrent_writes_and_a_killed_server(
    app, tenant, api, server, sql, record_property
):
    url, process = server
    ends_at = time.monotonic() + SECONDS
    written, finished = [Writer(url, api.headers, number) for number in range(WRITERS)], threading.Event()
    copied = Follower(url, api.headers)

    def is_over():
        return time.monotonic() > ends_at

    def follow():
        while not finished.is_set():
            copied.follow()

    writing = [lambda one=one: one.run(is_over) for one in written]
    with running(follow):
        with running(*writing, lambda: write_slowly(app, tenant, is_over)):
            time.sleep(SECONDS / 3)
            kill_workers(process)
        finished.set()
    for _ in range(2):  # the pages of a response that began before the last write, and the next response
        while copied.follow():
            pass
    for client in (copied, *written):
        client.http.close()

    tables = {name: {str(row[0]): row[1] for row in sql(query, tenant.id)} for name, query in ENTITIES.items()}
    answered, lost = sum(one.answered for one in written), sum(one.lost for one in written)
    record_property("figure", f"change feed: {answered} writes and {copied.calls} pages in {SECONDS:g} s, {lost} lost")
    assert copied.items == tables
    assert all(tables.values())
    assert lost > 0
    assert min(one.answered for one in written) > 0
