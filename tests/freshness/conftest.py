"""The world in which the freshness protocol is tested."""

import tempfile
from pathlib import Path

import pytest

from campshub.app import create_app
from tests.conftest import close, settings_of
from tests.freshness.cache_server import CacheServer
from tests.freshness.processes import routes
from tests.freshness.world import World

PROCESSES = 3


@pytest.fixture(scope="session")
def processes(stack, database):
    """Applications with a test endpoint."""
    apps = [create_app(settings_of(stack, database, log_level="ERROR")) for _ in range(PROCESSES)]
    for app in apps:
        app.register_blueprint(routes())
    yield apps
    for app in apps:
        close(app)


@pytest.fixture(scope="session")
def cache_server():
    server = CacheServer(Path(tempfile.mkdtemp(prefix="cache-")))
    yield server
    server.close()


@pytest.fixture
def world(processes, cache_server, monkeypatch):
    """A new world, whose requests pause before each step."""
    world = World(processes, cache_server)
    world.install(monkeypatch)
    world.reset()
    yield world
    world.close()
