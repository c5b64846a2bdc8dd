"""What several tests of the platform use."""

import io
import json
import logging

import pytest

from campshub.core.observe.logs import JsonLines


@pytest.fixture
def lines(app):
    """Everything that the application logs, as it is written."""
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
    """Let what Redis says be trusted from the beginning: a server that nobody knows is not for ten seconds."""
    services = app.extensions["campshub"]
    primary = services.lease.wait().primary
    for wire in services.freshness.wires:
        wire.send(b"GET", b"any")  # so that it is connected, and has told its run_id
        wire.send(b"SET", f"identity:{primary}", b"%b:%016x:%d" % (wire._run_id, 1, 0), b"NX")
        run_id, space, _ = bytes(wire.send(b"GET", f"identity:{primary}")).rsplit(b":", 2)
        wire.send(b"SET", f"identity:{primary}", b"%b:%b:0" % (run_id, space))
