"""Fixtures that several tests of core use."""

import io
import json
import logging

import pytest

from campshub.core.db.models import new_id
from campshub.core.observe.logs import JsonLines
from tests import simultaneous
from tests.surface import body_for, operations

simultaneously = simultaneous.simultaneously


@pytest.fixture
def lines(app):
    """Everything that the application logs."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("campshub")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def trusted(app):
    """Skip the quarantine of the cache: a new server is not trusted for ten seconds."""
    services = app.extensions["campshub"]
    primary = services.lease.wait().primary
    for wire in services.freshness.servers:
        wire.send(b"GET", b"any")  # connects, and so learns the run_id
        wire.send(b"SET", f"identity:{primary}", b"%b:%016x:%d" % (wire._run_id, 1, 0), b"NX")
        run_id, space, _ = bytes(wire.send(b"GET", f"identity:{primary}")).rsplit(b":", 2)
        wire.send(b"SET", f"identity:{primary}", b"%b:%b:0" % (run_id, space))


@pytest.fixture(scope="module")
def creates(app):
    """All operations that accept an id for the created row."""
    found = [o for o in operations(app) if o.method == "POST" and o.endpoint.options.status == 201]
    found = [o for o in found if "id" in getattr(o.endpoint.options.body, "_declared_fields", {})]
    assert len(found) >= 10
    return found


def new_body(operation, seeds):
    return {**body_for(operation.endpoint.options.body, seeds.id_for), "id": str(new_id())}
