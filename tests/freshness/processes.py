"""The parts of the world: processes with the real code, and their requests."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from flask import Flask

from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.freshness.protocol import Freshness
from campshub.core.freshness.replicas import Replicas
from campshub.core.http.decorators import cached, needs
from campshub.core.http.known_urls import RequestCache
from campshub.core.http.rate_limits.per_caller import CallerLimits
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.memoized import everyone, memoized
from campshub.core.security.permissions import Permission
from tests.freshness.postgres_side import ManualLease, Servers
from tests.freshness.stepping import SteppedThread

TAG, ACCESS = "students", "access"
# The URLs whose responses contain no memoized value.
PLAIN = ("p", "q")
FOR_EVER = "local QUARANTINE_MS = 10000000"


class WritesOut(ma.Schema):
    writes = ma.fields.List(ma.fields.Integer())
    role = ma.fields.String()


@memoized(tags=(TAG,), key=everyone)
def memoized_writes(session: Any, _principal: Any) -> list[int]:
    return sorted(session.rows())


def routes() -> Blueprint:
    """Return endpoints that read and write the writes of the world.

    The responses to two URLs have the same tag, and so has the memoized value in the responses to all others. Writes to
    the tag of the caller state are shown by the caller's role.
    """
    blueprint = Blueprint("promised", __name__, url_prefix="/api/promised")

    @blueprint.route("/<name>/")
    class Promised(Resource):
        @needs(Permission.STUDENTS_READ)
        @cached(tags=(TAG,), same_for_role=True)
        @blueprint.answers(WritesOut)
        def get(self, name: str) -> Any:
            writes = sorted(self.session.rows()) if name in PLAIN else memoized_writes(self.session, self.principal)
            return {"writes": writes, "role": self.principal.role}

        @needs(Permission.ME_WRITE)
        @blueprint.answers(None, status=204)
        def post(self, name: str) -> None:
            self.session.unit.stamped.add((self.principal.organization_id, name))

    return blueprint


class Process:
    """One API process: an application with its own Redis connection, lease and memory."""

    def __init__(self, name: str, app: Flask) -> None:
        self.name, self.app = name, app
        self.services = app.extensions["campshub"]
        self.lease = ManualLease(Servers())

    def reset(self, servers: Servers, urls: list[str], lua: Mapping[str, tuple[str, str]]) -> None:
        """Start with empty memory, as after a crash."""
        services, self.lease = self.services, ManualLease(servers)
        services.freshness.close()
        services.lease.stop()
        services.lease = self.lease
        services.freshness = Freshness(urls, self.lease, counting=CallerLimits.lua)
        services.freshness.primary = services.engines[None]
        services.replicas = Replicas(services.settings, self.lease, services.engines)
        services.response_cache.memory.clear()
        services.caller_states.clear()
        services.request_cache = RequestCache()
        for script in services.freshness.servers[0]._scripts:
            script.text = replaced(script.text, "local QUARANTINE_MS = 10000", FOR_EVER)
            for name in {"common", script.name} & lua.keys():
                script.text = replaced(script.text, *lua[name])
        for wire in services.freshness.servers:
            wire.breaker = CircuitBreaker(0.0)

    def reconnect(self) -> None:
        """Close the connections, as a process does when it notices that they are broken."""
        for wire in self.services.freshness.servers:
            wire.close()


def replaced(text: str, old: str, new: str) -> str:
    """Replace text that must occur exactly once."""
    assert text.count(old) == 1, f"{text.count(old)} times: {old}"
    return text.replace(old, new)


class Request:
    """A read or a write in progress."""

    def __init__(
        self, process: Process, thread: SteppedThread, *, write: int = 0, needed: frozenset[int] = frozenset()
    ) -> None:
        self.process, self.thread, self.write, self.needed = process, thread, write, needed
        self.nonces: list[str] = []
        self.space: bytes | None = None
        self.is_slow = False
        self.is_checked = False

    @property
    def is_over(self) -> bool:
        return self.thread.is_over
