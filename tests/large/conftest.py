"""The large stack: made once, kept between runs in `.devstack/large` or where LARGE_STACK_DIR says."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campshub.app import create_app
from devstack.stack import Stack
from tests.conftest import ROOT, Client, Place, close, migrate, settings_of
from tests.large import data, plans

DATABASE = "campshub_large"


@dataclass
class Yard:
    """A filled database with the application on it; PostgreSQL sends each statement's plan along."""

    app: Any
    connection: Any
    made: data.Made
    place: Place
    people: dict[str, Client]


def opened(stack: Stack, database: str, scale: data.Scale, *planner: str):
    """Fill a migrated database unless that was done before, and yield the application on it."""
    with stack.primary.connect(database) as connection:
        made = data.made(connection, scale) or data.make(connection, scale)
        plans.explain_everything(connection, database, *planner)
        # Past PgBouncer, which keeps connections that know nothing of the setting; and at the primary alone.
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
        data.count_figures(connection, app)
        place = Place(app, made.organization_id)
        yield Yard(app, connection, made, place, plans.people_of(place, made))
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
