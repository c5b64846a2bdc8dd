"""A database with rows in every partitioned table of one month, and a folder for its archive."""

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from campshub.app import create_app
from campshub.core import partitions
from campshub.core.dates import add_months
from campshub.core.db.models import new_id
from campshub.core.partitions import archive as archiving
from campshub.core.partitions import months, restore
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue
from tests.conftest import Tenant, close, new_tenant, settings_of

NOTES = ["plain", 'with "quotes", commas', "two\nlines\r\n", "", "नमस्ते ✓", "\\N", "\\."]
SQUAT = str(catalogue.exercise_id("back_squat"))


@dataclass
class Site:
    """An installation with one month to archive."""

    app: Any
    stack: Any
    database: str
    month: date
    archive: str
    sql: Any
    tenants: list[Tenant] = field(default_factory=list)

    @property
    def day(self) -> date:
        return self.month + timedelta(days=9)

    @property
    def api(self) -> Any:
        return self.tenants[0].the(Role.ADMIN)

    @property
    def services(self) -> Any:
        return self.app.extensions["campshub"]

    @property
    def tables(self) -> list[str]:
        with self.maintenance() as connection:
            return partitions.tables(connection)

    @contextmanager
    def maintenance(self):
        with self.app.app_context(), partitions.maintenance(self.services.settings) as connection:
            yield connection

    def archived(self, table: str, on_stage: Any = lambda _: None) -> Any:
        with self.maintenance() as connection:
            return archiving.archive(self.services, connection, table=table, month=self.month, report=on_stage)

    def restored(self, table: str, **given: Any) -> Any:
        with self.maintenance() as connection:
            given.setdefault("report", lambda _: None)
            return restore.restore(self.services, connection, table=table, month=self.month, **given)

    def contents(self, table: str) -> list[str]:
        """All rows of the month with all of their values, read as the superuser."""
        key = "recorded_on" if table == "audit_log" else "local_date"
        until = add_months(self.month, 1)
        rows = self.sql(f"SELECT to_jsonb(t) FROM {table} t WHERE {key} >= %s AND {key} < %s", self.month, until)
        return sorted(json.dumps(row[0], sort_keys=True) for row in rows)

    def name(self, table: str) -> str:
        return months.name_of(table, self.month)

    def exists(self, table: str) -> bool:
        return self.sql("SELECT to_regclass(%s) IS NOT NULL", self.name(table)) == [(True,)]

    def fill(self) -> None:
        """Mark a register and log a workout in each organization; both add rows to the audit log."""
        for tenant in self.tenants:
            api = tenant.the(Role.ADMIN)
            rows = [{"code": new_id().hex, "given_name": f"N{n}", "family_name": "Rao"} for n in range(len(NOTES))]
            made = api.post("/api/students/bulk/", {"students": rows}).json["results"]
            session = api.made("/api/attendance/sessions/", {"local_date": str(self.day), "slot": "09:00"})["id"]
            marks = [
                {"student_id": row["id"], "code": "late", **({"note": note} if note else {})}
                for row, note in zip(made, NOTES, strict=True)
            ]
            response = api.put(f"/api/attendance/sessions/{session}/records/", {"records": marks})
            assert {row["outcome"] for row in response.json["results"]} == {"created"}, response.json
            exercises = [{"exercise_id": SQUAT, "sets": [{"reps": 5, "load": "100.50", "load_unit": "kg", "rir": 1.5}]}]
            started = datetime.combine(self.day, datetime.min.time(), UTC) + timedelta(hours=9)
            for row in made[:3]:
                given = {"student_id": row["id"], "started_at": started.isoformat(), "exercises": exercises}
                api.made("/api/workout-logs/", {**given, "time_zone": "UTC", "note": NOTES[1]})
        self.sql("UPDATE workout_sets SET rir = 1 / 3.0::float RETURNING 1")  # every digit counts
        self.sql("UPDATE audit_log SET recorded_on = %s RETURNING 1", self.day)


def a_month_ago(count: int) -> date:
    return add_months(datetime.now(UTC).date(), -count)


@contextmanager
def site_of(stack, database, folder, **settings):
    app = create_app(settings_of(stack, database, archive_url=str(folder), **settings))
    with closing(stack.primary.connect(database)) as connection:

        def sql(statement, *given):
            cursor = connection.execute(statement, given)
            return cursor.fetchall() if cursor.description else []

        site = Site(app, stack, database, a_month_ago(5), str(folder), sql)
        try:
            site.tenants = [new_tenant(app), new_tenant(app)]
            yield site
        finally:
            close(app)


@pytest.fixture
def site(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path / "archive") as site:
        site.fill()
        yield site


@pytest.fixture
def few_lock_tries(monkeypatch):
    """Use few tries for a lock, with short pauses."""
    monkeypatch.setattr("campshub.core.partitions.locks.TRIES", 2)
    monkeypatch.setattr("campshub.core.partitions.locks.BUSY_TRIES", 2)
    monkeypatch.setattr("campshub.core.partitions.locks.PAUSE_S", 0.01)


@pytest.fixture
def trust():
    """Skip the quarantine of the cache: a new server is not trusted for ten seconds."""

    def trusted(app: Any) -> None:
        services = app.extensions["campshub"]
        primary = services.lease.wait().primary
        for wire in services.freshness.servers:
            wire.send(b"GET", b"any")  # connects, and so learns the run_id
            wire.send(b"SET", f"identity:{primary}", b"%b:%016x:%d" % (wire._run_id, 1, 0))

    return trusted
