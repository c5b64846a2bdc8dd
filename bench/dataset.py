"""The data of the benchmarks: created once, and stored between runs in a separate stack."""

import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask

from bench.client import ApiClient
from bench.load import ROOT
from bench.servers import FOR_BENCH, NGINX_RATE
from campshub.accounts.service import organizations as accounts
from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.passwords import hash_password
from campshub.core.security.permissions import Role
from devstack.stack import Stack
from tests.large import data

SCALE = data.Scale(
    organizations=20, students=29_000, largest=10_000, records=5_000_000, months=24, sets=1_000_000, share=0.8
)
PASSWORD_COST = 4  # sign-in is not measured here
ADMINS = "admins.json"
# Rows that a benchmark creates have this prefix, and are removed when it ends.
MARK = "bench-"
SET_REST_S = 777  # marks sets that a benchmark creates: they have no text column


@dataclass(frozen=True)
class Admin:
    """An organization's admin, who can sign in."""

    organization_id: str
    user_id: str
    email: str
    password: str


@dataclass
class Dataset:
    """A stack full of data, and its admins; most parts use the first organization."""

    stack: Stack
    environment: dict[str, str]
    made: data.Made
    admins: list[Admin]
    _tokens: dict[str, str] = field(default_factory=dict)

    def headers(self, url: str, number: int = 0) -> dict[str, str]:
        """Return the headers of an organization's admin; every process accepts a token that any of them issued."""
        admin = self.admins[number]
        if admin.email not in self._tokens:
            tokens = ApiClient(url).post("/api/auth/token/", {"email": admin.email, "password": admin.password})
            self._tokens[admin.email] = tokens["access_token"]
        return {"Authorization": f"Bearer {self._tokens[admin.email]}"}

    def settings(self, **more: str) -> dict[str, str]:
        """Return what a server needs to use only the primary, through PgBouncer."""
        return {**self.environment, "POSTGRES_REPLICA_HOST": "", "POSTGRES_REPLICA_PORT": "", **more}

    @contextmanager
    def without_triggers(self, table: str, kind: str) -> Iterator[None]:
        """Switch the triggers of a table off that call ``<kind>_<table>``, and on again afterwards."""
        names = [f"{kind}_{table}_{event}" for event in ("insert", "update", "delete")]
        with self.stack.primary.connect(self.stack.database) as sql:
            for name in names:
                sql.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
            try:
                yield
            finally:
                for name in names:
                    sql.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")

    def clean(self) -> None:
        """Remove what benchmarks have created, so that the next one finds the data unchanged."""
        with self.stack.primary.connect(self.stack.database) as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            like = f"{MARK}%"
            connection.execute(
                "DELETE FROM attendance_records r USING attendance_sessions s"
                " WHERE s.slot LIKE %s AND r.organization_id = s.organization_id AND r.session_id = s.id"
                " AND r.local_date = s.local_date",
                (like,),
            )
            connection.execute(
                "DELETE FROM register_versions r USING attendance_sessions s"
                " WHERE s.slot LIKE %s AND r.organization_id = s.organization_id AND r.id = s.id",
                (like,),
            )
            connection.execute("DELETE FROM attendance_sessions WHERE slot LIKE %s", (like,))
            connection.execute("DELETE FROM students WHERE code LIKE %s", (like,))
            connection.execute("DELETE FROM workout_sets WHERE rest_seconds = %s", (SET_REST_S,))
            connection.execute("TRUNCATE audit_log, change_sets, outbox, idempotency_keys, person_keys")


@contextmanager
def filled(*, whole: bool = False) -> Iterator[Dataset]:
    """Start the stack, fill it if it is empty, and stop it at the end.

    ``whole`` starts the production shape of ``make stack`` on the same data: replica, nginx, two API processes.
    """
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench"
    os.environ.update(FOR_BENCH)  # the stack's API processes inherit it
    shape: Mapping[str, Any] = {"replica": True, "nginx": True, "api": 2} if whole else {"replica": False}
    stack = Stack(folder, pgbouncer=True, nginx_rate=NGINX_RATE, **shape)
    try:
        stack.start_data()
        environment = {**stack.environment(), "FLASK_APP": "wsgi.py"}
        migrate(environment)
        dataset = Dataset(stack, environment, *_data(stack, environment))
        dataset.clean()
        with stack.primary.connect(stack.database) as connection:
            data.refresh_rollups(connection, application(environment))
        if whole:
            stack.catch_up(600)
            stack.start_api()
        yield dataset
    finally:
        stack.stop()


def migrate(environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "flask", "db", "upgrade"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)


def _data(stack: Stack, environment: Mapping[str, str]) -> tuple[data.Made, list[Admin]]:
    with stack.primary.connect(stack.database) as connection:
        made = data.made(connection, SCALE)
        stored = stack.workspace.read_json(ADMINS)
        if made is not None and stored.get("of") == str(made.organization_id):
            return made, [Admin(**admin) for admin in stored["admins"]]
        if made is None:
            print(f"making {SCALE.records:,} attendance records and {SCALE.sets:,} sets, once", file=sys.stderr)
            made = data.make(connection, SCALE)
        ids = connection.execute("SELECT id FROM organizations WHERE name LIKE 'Camp %%' ORDER BY id").fetchall()
    first = made.organization_id
    organizations = [first, *(row[0] for row in ids if row[0] != first)]
    admins = _admins(environment, organizations)
    stack.workspace.write_json(ADMINS, {"of": str(first), "admins": [asdict(admin) for admin in admins]})
    return made, admins


def application(environment: Mapping[str, str]) -> Flask:
    """Create the application with the settings of a stack."""
    settings = {name.lower(): value for name, value in environment.items() if value != ""}
    return create_app(load_settings(**settings, log_level="ERROR"))


def _admins(environment: Mapping[str, str], organizations: list[uuid.UUID]) -> list[Admin]:
    """Create in each organization an admin who can sign in."""
    app = application(environment)
    password = secrets.token_urlsafe(12)
    hashed = hash_password(password, cost=PASSWORD_COST)
    admins = []
    with app.app_context():
        for organization_id in organizations:
            email = f"admin-{uuid.uuid4().hex[:12]}@bench.example"
            with unit_of_work(system=True, organization_id=organization_id) as session:
                user = accounts.create_user(
                    session,
                    organization_id=organization_id,
                    email=email,
                    name="An admin",
                    role=Role.ADMIN,
                    password_hash=hashed,
                    now=datetime.now(UTC),
                )
                admins.append(Admin(str(organization_id), str(user.id), email, password))
    return admins
