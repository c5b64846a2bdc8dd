"""Reads with memoized values, and where the values were found."""

import time
from collections.abc import Callable
from typing import Any

from campshub.core.memoized import Memoized
from campshub.core.observe import metrics
from campshub.core.services import ServiceContainer
from campshub.students.queries import custom_fields as of_custom_fields
from campshub.students.queries import students as of_students
from tests.conftest import Client, Response, Tenant

STATISTICS = "/api/students/statistics/"
COUNTS, BY_GROUP = of_students._counts, of_students._by_group
DEFINITIONS = of_custom_fields._definitions
MEMOIZED = {COUNTS: STATISTICS, BY_GROUP: STATISTICS, DEFINITIONS: "/api/students/?custom=shirt_size:M"}
PATIENCE_S = 60


def elsewhere(app: Any, client: Client) -> Client:
    """Return the same caller in another process."""
    return Client(app, client.headers, client.user_id)


def counts_of(value: Memoized) -> dict[str, float]:
    """Return how often a value was found in each layer, and computed."""
    layers = {layer: metrics.value_hits.labels(value.name, layer)._value.get() for layer in ("memory", "redis")}
    return {**layers, "computed": metrics.value_misses.labels(value.name)._value.get()}


def read(client: Client, value: Memoized, url: str = "") -> tuple[Response, str]:
    """Read the URL of a value; return the response, and where the value was found; empty if it was not looked up."""
    before = counts_of(value)
    response = client.get(url or MEMOIZED[value])
    assert response.status == 200, response.raw.text
    after = counts_of(value)
    return response, next((layer for layer, count in after.items() if count > before[layer]), "")


def read_until(client: Client, value: Memoized, layer: str, prepare: Callable[[], Any] = lambda: None) -> Response:
    """Read until a layer has the value, each time after some preparation.

    A read without a valid lease, or while Redis is in quarantine, looks up no value.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        prepare()
        response, found = read(client, value)
        if found == layer:
            return response
        time.sleep(0.02)
    raise AssertionError(f"{value.name} was never found in {layer}")


def forget(
    services: ServiceContainer, *, responses: bool = False, values: bool = False, in_redis: bool = False
) -> None:
    """Remove the cached responses or the values from the memory of a process, and from Redis."""
    for location, (cached, _) in list(services.response_cache.memory._entries.items()):
        if values if location[0] == "value" else responses:
            services.response_cache.memory._drop(location)
            if in_redis:
                services.cache.client.delete(cached.key)


def forget_responses(app: Any) -> None:
    forget(app.extensions["campshub"], responses=True, in_redis=True)


def stored_keys(app: Any, tenant: Tenant, value: Memoized) -> list[bytes]:
    keys: list[bytes] = app.extensions["campshub"].cache.client.keys(f"value:*:{tenant.id}:{value.name}:*")
    return keys
