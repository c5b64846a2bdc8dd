"""Run every test on the real stack: one stack per run, one migrated database per worker, one organization per test."""

import fcntl
import json
import os
import re
import shutil
import signal
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from campshub.accounts.service import organizations as accounts
from campshub.app import create_app
from campshub.config import Settings, load_settings
from campshub.core.db import session as sessions
from campshub.core.db.models import new_id
from campshub.core.db.session import db
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.http.known_urls import RequestCache
from campshub.core.observe import metrics
from campshub.core.security.passwords import hash_password
from campshub.core.security.permissions import Role
from campshub.core.services import ServiceContainer
from campshub.modules import MODULES
from devstack.stack import Stack
from tests.documented import documented
from tests.issuer import the_issuer
from tests.memory_folder import folder_in_memory

ROOT = Path(__file__).parent.parent
TEMPLATE = "campshub_template"
IN_MEMORY = pytest.StashKey[bool]()
PASSWORD = "correct horse battery"
NOW = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)  # a Wednesday noon in India


# All tests send their requests from one address. Tests of rate limits lower the limits that they test.
UNLIMITED = {
    "rate_limit_anonymous": "1000000/hour",
    "rate_limit_user": "1000000/hour",
    "rate_limit_login": "1000000/minute",
    "rate_limit_login_address": "1000000/minute",
    "rate_limit_refresh": "1000000/minute",
    "rate_limit_generation": "1000000/minute",
    "password_wait_s": 60.0,
    "lockout_account_after": 1_000_000,
    "lockout_address_after": 1_000_000,
    "rate_limit_rpm": 1_000_000,
    "rate_limit_burst": 1_000_000,
}


def settings_of(stack: Stack, database: str, **overrides: Any) -> Settings:
    """Return the settings under which the application uses a stack, with limits that no test reaches."""
    environment = {name.lower(): value for name, value in stack.environment(database).items() if value != ""}
    ours = {"password_cost": 4, "log_level": "WARNING", "debug": True}  # the issuer is on loopback
    issuers = json.dumps([the_issuer().setting()])
    return load_settings(**{**environment, **ours, "oidc_issuers": issuers, **UNLIMITED, **overrides})


def migrate(settings: Settings) -> None:
    """Bring a database to the newest revision."""
    from flask_migrate import upgrade  # noqa: PLC0415 - Alembic's configuration is read when it is imported

    app = create_app(settings)
    with app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
    close(app)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _stack() -> Stack:
    folder = Path(os.environ.get("TEST_STACK_DIR") or folder_in_memory(ROOT) or ROOT / ".devstack" / "test")
    return Stack(folder, replica=True, pgbouncer=True, durable=False, database=TEMPLATE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that limits slow tests of all modules to the operations of one."""
    parser.addoption("--module", help="limit tests of budgets and tags to the operations of one module")


def pytest_configure(config: pytest.Config) -> None:
    """Start the stack once, before the workers, with a migrated database for them to copy."""
    if _is_worker(config) or config.option.collectonly:
        return
    # SIGTERM stops the stack as Ctrl-C does, once: a second signal changes nothing.
    signal.signal(signal.SIGTERM, _interrupt)
    config.stash[IN_MEMORY] = "TEST_STACK_DIR" not in os.environ and folder_in_memory(ROOT) is not None
    stack = _stack()
    os.environ["TEST_STACK_DIR"] = str(stack.directory)  # for the workers, which must find the same one
    stack.start()
    stack.drop_database(TEMPLATE)
    stack.create_database(TEMPLATE)
    migrate(settings_of(stack, TEMPLATE))


def _interrupt(_number: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the stack when all workers are done."""
    if not _is_worker(config) and not config.option.collectonly:
        stack = _stack()
        stack.stop()
        if config.stash.get(IN_MEMORY, False):
            shutil.rmtree(stack.directory)


class ByStack(LoadScopeScheduling):
    """Send each test to the next free worker, but send tests that share a stack or a tree to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        for folder in ("tests/e2e/", "tests/faults/replicas/"):
            if nodeid.startswith(folder):
                return folder
        files = ("tests/stack/", "tests/faults/", "tests/freshness/test_epoch.py", "tests/test_scaffold.py")
        return nodeid.partition("::")[0] if nodeid.startswith(files) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByStack:
    """Distribute the tests over the workers."""
    return ByStack(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the values that tests have recorded."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for kind, title in (("2xx", "responses under fuzzing"), ("figure", "figures")):
        if recorded := sorted(value for r in reports for name, value in r.user_properties if name == kind):
            terminalreporter.section(title)
            terminalreporter.write_line("\n".join(recorded))


@pytest.fixture(scope="session")
def chosen(request):
    """Return the operations of the module that ``--module`` names; without it, all of them."""
    module = request.config.getoption("--module")
    assert module in (None, *MODULES), f"{module} is not a module"
    return lambda operations: [one for one in operations if module in (None, one.module)]


@pytest.fixture(scope="session")
def stack() -> Stack:
    return _stack()


@pytest.fixture(scope="session")
def database(stack, worker_id) -> str:
    """A copy of the migrated database for this worker."""
    name = f"campshub_{worker_id}"
    with Path(stack.directory, "copy.lock").open("w") as lock:  # PostgreSQL copies a template for one client at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.drop_database(name)
        stack.create_database(name, TEMPLATE)
    return name


@pytest.fixture
def scratch(stack):
    """A copy of the migrated database for a test that changes its tables."""
    name = f"campshub_{new_id().hex}"
    with Path(stack.directory, "copy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack.create_database(name, TEMPLATE)
    yield name
    stack.drop_database(name)


@pytest.fixture(scope="session")
def settings(stack, database) -> Settings:
    return settings_of(stack, database)


def close(app: Any) -> None:
    """Close the connections of an application; a connection that stays open is a warning, and so an error."""
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
    app.extensions["campshub"].close()


@pytest.fixture(scope="session")
def app(settings):
    app = create_app(settings)
    yield app
    close(app)


@pytest.fixture
def context(app):
    """An application context, for tests that call services and commands."""
    with app.app_context():
        yield app


@pytest.fixture
def no_response_cache(app, monkeypatch):
    """Disable the response cache, and start with no known URLs."""
    monkeypatch.setattr(ServiceContainer, "ttl_s", lambda *_: 0)
    monkeypatch.setattr(app.extensions["campshub"], "request_cache", RequestCache())


@pytest.fixture
def ordinary_reads(monkeypatch):
    """Run reads in ordinary sessions, so that event listeners of the engines see statements and values."""
    monkeypatch.setattr(sessions, "_begun", sessions._ordinary)


@dataclass
class Response:
    """A response, with the SQL statements that the request sent."""

    raw: Any
    statements: list[str]

    @property
    def status(self) -> int:
        return self.raw.status_code

    @property
    def headers(self) -> Any:
        return self.raw.headers

    @property
    def json(self) -> Any:
        return self.raw.get_json()

    @property
    def problem(self) -> dict[str, Any]:
        assert self.raw.mimetype == "application/problem+json", self.raw.get_data(as_text=True)
        return self.raw.get_json(force=True)

    @property
    def pointers(self) -> set[str]:
        return {error["pointer"] for error in self.problem.get("errors", ())}

    @property
    def queries(self) -> list[str]:
        """The statements, without those that begin or end the transaction or read the position of a stamp."""
        beside = r"BEGIN|COMMIT|ROLLBACK|SELECT pg_current_wal_flush_lsn\(\), server_identity\(\)$"
        return [s for s in self.statements if not re.match(beside, s)]


@dataclass
class Client:
    """A client of the API."""

    app: Any
    headers: dict[str, str] = field(default_factory=dict)
    user_id: uuid.UUID | None = None

    def call(self, method: str, url: str, json: Any = None, **options: Any) -> Response:
        headers = {**self.headers, **options.pop("headers", {})}
        statements: list[str] = []
        if json is not None:
            options["json"] = json
        with metrics.listening(statements.append):
            response = self.app.test_client().open(url, method=method, headers=headers, **options)
        missing = documented(self.app).missing(method, url, response)
        assert missing is None, missing
        return Response(response, statements)

    def get(self, url: str, **options: Any) -> Response:
        return self.call("GET", url, **options)

    def post(self, url: str, json: Any = None, **options: Any) -> Response:
        return self.call("POST", url, json, **options)

    def put(self, url: str, json: Any = None, **options: Any) -> Response:
        return self.call("PUT", url, json, **options)

    def patch(self, url: str, json: Any = None, **options: Any) -> Response:
        return self.call("PATCH", url, json, **options)

    def delete(self, url: str, **options: Any) -> Response:
        return self.call("DELETE", url, **options)

    def made(self, url: str, json: Any) -> dict[str, Any]:
        """Create something that must succeed; return the response body."""
        response = self.post(url, json)
        assert response.status in (200, 201), response.raw.get_data(as_text=True)
        return response.json


@dataclass
class Tenant:
    """An organization for one test, with users in every role."""

    app: Any
    id: uuid.UUID
    clients: dict[Role, Client] = field(default_factory=dict)

    def someone(self, role: Role = Role.ADMIN) -> Client:
        """Create a user with a role; return its client."""
        email = f"{role}-{new_id().hex}@example.org"
        with self.app.app_context(), unit_of_work(system=True, organization_id=self.id) as session:
            user = accounts.create_user(
                session,
                organization_id=self.id,
                email=email,
                name=f"A {role}",
                role=role,
                password_hash=hash_password(PASSWORD, cost=4),
                now=NOW,
            )
            user_id = user.id
        return Client(self.app, {"Authorization": f"Bearer {self.token(user_id)}"}, user_id)

    def token(self, user_id: uuid.UUID, *, session_version: int = 1) -> str:
        with self.app.app_context():
            return self.app.extensions["campshub"].tokens.issue(
                user_id=user_id, organization_id=self.id, session_id=new_id(), session_version=session_version
            )

    def signed_in(self, who: "Client") -> "Client":
        """Return a client of a new sign-in session of a user, who has just entered the password."""
        email = who.get("/api/me/").json["email"]
        token = Client(self.app).made("/api/auth/token/", {"email": email, "password": PASSWORD})["access_token"]
        return Client(self.app, {"Authorization": f"Bearer {token}"}, who.user_id)

    def the(self, role: Role) -> Client:
        """Return the client of the organization's one user of a role; create it on first use."""
        if role not in self.clients:
            self.clients[role] = self.someone(role)
        return self.clients[role]


def new_tenant(app: Any, *, time_zone: str = "Asia/Kolkata") -> Tenant:
    organization_id = new_id()
    with app.app_context(), unit_of_work(system=True, organization_id=organization_id) as session:
        accounts.create_organization(
            session, organization_id=organization_id, name="Hill Camp", time_zone=time_zone, currency="INR"
        )
    return Tenant(app, organization_id)


@pytest.fixture
def tenant(app) -> Tenant:
    """An organization for this test."""
    return new_tenant(app)


@pytest.fixture
def other(app) -> Tenant:
    """A second organization, whose rows users of ``tenant`` must not see."""
    return new_tenant(app)


@pytest.fixture
def api(tenant) -> Client:
    """The client of the organization's admin."""
    return tenant.the(Role.ADMIN)


@pytest.fixture
def student(api):
    """Return a factory of students: ``student(code="S1")`` returns the created student."""
    return lambda **given: api.made(
        "/api/students/", {"code": new_id().hex, "given_name": "Asha", "family_name": "Rao", **given}
    )


@pytest.fixture
def sql(stack, database):
    """Query the primary as its superuser, without the application."""
    with stack.primary.connect(database) as connection:
        yield lambda statement, *given: connection.execute(statement, given).fetchall()


@pytest.fixture
def scratch_app(stack, scratch):
    """An application with its own database, and so its own identity."""
    app = create_app(settings_of(stack, scratch, log_level="ERROR"))
    yield app
    close(app)


@pytest.fixture
def scratch_sql(stack, scratch):
    """Query the scratch database as its superuser, without the application; every statement is committed."""
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        yield lambda statement, *given: connection.execute(statement, given or None).fetchall()
