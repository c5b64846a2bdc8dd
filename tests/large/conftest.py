"""The large stack: created once, stored between runs in `.devstack/large` or in LARGE_STACK_DIR."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campshub.app import create_app
from devstack.stack import Stack
from tests.conftest import ROOT, Client, Tenant, close, migrate, settings_of
from tests.large import data, plans

DATABASE = "campshub_large"


@dataclass
class LargeDatabase:
    """A filled database with the application on it; PostgreSQL sends each statement's plan with its result."""

    app: Any
    connection: Any
    made: data.Made
    tenant: Tenant
    people: dict[str, Client]


def opened(stack: Stack, database: str, scale: data.Scale, *planner: str):
    """Fill a migrated database if it is empty, and yield the application on it."""
    with stack.primary.connect(database) as connection:
        made = data.made(connection, scale) or data.make(connection, scale)
        plans.explain_everything(connection, database, *planner)
        # Without PgBouncer, whose open connections lack the setting; and only on the primary.
        app = create_app(
            settings_of(
                stack,
                database,
                postgres_port=str(stack.primary.port),
                postgres_replica_host="",
                log_level="ERROR",
                **plans.UNCACHED,
            )
        )
        data.refresh_rollups(connection, app)
        tenant = Tenant(app, made.organization_id)
        yield LargeDatabase(app, connection, made, tenant, plans.people_of(tenant, made))
        close(app)


@pytest.fixture(scope="session")
def large():
    """A million students and five million records."""
    directory = Path(os.environ.get("LARGE_STACK_DIR") or ROOT / ".devstack" / "large")
    stack = Stack(directory, replica=False, pgbouncer=False, durable=False)
    stack.start_data()
    try:
        stack.create_database(DATABASE)
        migrate(settings_of(stack, DATABASE))
        yield from opened(stack, DATABASE, data.Scale())
    finally:
        stack.stop()
