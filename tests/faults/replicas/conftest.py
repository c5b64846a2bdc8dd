"""A stack with a replica, whose parts the tests pause and kill."""

import itertools

import psycopg
import pytest

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from devstack import keys
from devstack.ports import LOOPBACK
from devstack.stack import Stack
from tests.conftest import Client, close, migrate, new_tenant, settings_of
from tests.waiting import until

PGBOUNCERS = ("pgbouncer-primary", "pgbouncer-replica")


@pytest.fixture(scope="package")
def stack(tmp_path_factory):
    """A separate stack for these tests."""
    stack = Stack(tmp_path_factory.mktemp("faults"), replica=True, pgbouncer=True, durable=False)
    stack.start()
    migrate(settings_of(stack, stack.database))
    yield stack
    stack.stop()


@pytest.fixture(scope="package")
def apps(stack):
    """Two applications that count as two processes for the database and Redis."""
    made = [create_app(settings_of(stack, stack.database, log_level="ERROR", cache_ttl_data=0)) for _ in range(2)]
    yield made
    for app in made:
        close(app)


@pytest.fixture(autouse=True)
def whole(stack):
    """Start with all parts running and no replication lag."""
    for name in ("primary", "replica", "redis-cache", *PGBOUNCERS):
        stack.part(name).start()
    stack.resume_replay()
    stack.catch_up()
    until(lambda: all(responses(stack, *way) for way in itertools.product(PGBOUNCERS, ("app", "system"))))


def responses(stack, name, role) -> bool:
    """Return whether a PgBouncer reaches its server for a role; PgBouncer caches a failure for a second."""
    try:
        with psycopg.connect(
            host=LOOPBACK,
            port=stack.part(name).port,
            dbname=stack.database,
            user=keys.role(role),
            password=keys.load(stack.workspace)[role],
        ) as connection:
            return bool(connection.execute("SELECT true").fetchone())
    except psycopg.OperationalError:
        return False


@pytest.fixture
def tenant(apps, whole):
    return new_tenant(apps[0])


@pytest.fixture
def writer(tenant):
    return tenant.the(Role.ADMIN)


@pytest.fixture
def reader(apps, writer):
    return Client(apps[1], writer.headers)


def write(writer) -> str:
    return writer.made("/api/students/", {"code": new_id().hex, "given_name": "A", "family_name": "B"})["id"]
