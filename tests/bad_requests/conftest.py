"""An organization in which every operation can be called, and requests to them that are not as they should be."""

import pytest

from campshub.core.security.permissions import Role
from tests.seeds import seed
from tests.surface import operations

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def seeds(app):
    return seed(app, "Strict")


@pytest.fixture
def admin(seeds):
    return seeds.tenant.the(Role.SUPERADMIN)


@pytest.fixture(scope="module")
def body_operations(app):
    """All operations that accept a body."""
    found = [o for o in operations(app) if o.endpoint.options.body is not None]
    assert len(found) > 8
    return found


def send(client, operation, seeds, body: bytes, **headers):
    """Call an operation with a body; it is JSON unless the headers say otherwise."""
    return client.call(operation.method, operation.address(seeds.ids), data=body, headers={**JSON, **headers})


def refused(answer, *statuses) -> bool:
    """Return whether a response is a complete problem document with one of the statuses."""
    document = answer.problem
    return answer.status in statuses and document["status"] == answer.status and bool(document["trace_id"])
