"""The same steps on the servers themselves: PostgreSQL with a replica whose replay is paused, and the cache Redis.

This is coarser than ``world``: a commit and the query for the position after it are one round trip without a pause
point; a lease runs as in production.
"""

from typing import Any

import pytest
import redis
from flask import Flask

from campshub.core.db import unit_of_work
from campshub.core.freshness import protocol
from campshub.core.freshness.lease import elapsed
from campshub.core.http import read_routing
from campshub.core.observe import metrics
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis
from campshub.core.security.permissions import Role
from devstack.stack import Stack
from tests.conftest import Client, new_tenant
from tests.freshness.stepping import SteppedThread, lost, pause_point
from tests.freshness.world import Broken
from tests.waiting import until

ADDRESSES = {"p": "/api/students/", "q": "/api/students/?limit=200"}


class Sent:
    """A read or a write in progress, in one process."""

    def __init__(self, process: int, thread: SteppedThread, code: str | None, needed: frozenset[str]) -> None:
        self.process, self.thread, self.code, self.needed = process, thread, code, needed
        self.nonces: list[str] = []
        self.is_checked = False


class OnServers:
    """Processes on real servers, and the writes that their reads have shown."""

    def __init__(self, stack: Stack, apps: list[Flask], patch: pytest.MonkeyPatch) -> None:
        self.stack, self.apps = stack, apps
        self.client: Any = redis.Redis.from_url(stack.environment(stack.database)["REDIS_URL"])
        self.cut: set[int] = set()
        self.sent: list[Sent] = []
        self._add_pause_points(patch)
        self.reset()

    def reset(self) -> None:
        """Start with an organization that no process has read, in a Redis out of quarantine."""
        tenant = new_tenant(self.apps[0])
        headers = tenant.the(Role.ADMIN).headers
        self.clients = [Client(app, headers) for app in self.apps]
        self.shown: frozenset[str] = frozenset()
        self.sent = []
        self.heal()
        for process in range(len(self.apps)):
            self.end(self.read(process))
        self.end_quarantine()

    def close(self) -> None:
        """End all requests."""
        for one in self.going():
            one.thread.crash()
        self.client.close()

    def going(self) -> list[Sent]:
        return [one for one in self.sent if not one.thread.is_over]

    # Requests --------------------------------------------------------------------------------------------------------

    def read(self, process: int, name: str = "p") -> Sent:
        client = self.clients[process]
        return self._start(process, lambda: client.get(ADDRESSES[name]), None)

    def write(self, process: int) -> Sent:
        client, code = self.clients[process], f"W{len(self.sent)}"
        body = {"code": code, "given_name": "A", "family_name": "B"}
        return self._start(process, lambda: client.post("/api/students/", body), code)

    def _start(self, process: int, what: Any, code: str | None) -> Sent:
        one = Sent(process, SteppedThread(what), code, self.shown)
        self.sent.append(one)
        return one

    def go(self, one: Sent, until: str = "over") -> None:
        """Let a request take a step, and continue to a pause point."""
        if not one.thread.is_over:
            one.thread.step()
        while not one.thread.is_over and one.thread.at != until:
            one.thread.step()
        if one.thread.is_over and not one.is_checked:
            one.is_checked = True
            self._finished(one)

    def end(self, one: Sent) -> None:
        while not one.thread.is_over or not one.is_checked:
            self.go(one)

    def crash(self, one: Sent) -> None:
        one.is_checked = True
        one.thread.crash()

    def _finished(self, one: Sent) -> None:
        response = one.thread.result
        if one.code is not None:
            if response.status == 201:
                self.shown |= {one.code}
            return
        if response.status != 200:
            raise Broken(f"{response.status}: {response.raw.text}")
        seen = frozenset(item["code"] for item in response.json["items"])
        if one.needed - seen:
            raise Broken(f"a read misses {sorted(one.needed - seen)}, {one.thread.passed}")
        # A write that could not be stamped binds once it is acknowledged: until then a lease may have the older epoch.
        unstamped = {other.code for other in self.sent if other.code and "begin" not in other.thread.passed}
        unstamped |= {other.code for other in self.sent if other.code and other.process in self.cut}
        self.shown |= seen - unstamped

    # Surroundings ----------------------------------------------------------------------------------------------------

    def end_quarantine(self) -> None:
        """Make each identity older than ten seconds."""
        for key in self.client.keys("identity:*"):
            run_id, space, _ = self.client.get(key).split(b":")
            self.client.set(key, b":".join((run_id, space, b"0")))

    def is_clean(self) -> bool:
        """Return whether no write is in progress whose pending entry an emptied Redis may have lost."""
        return not any(one.code for one in self.going())

    def make_overdue(self, one: Sent) -> None:
        for key in self.client.keys("pending:*"):
            self.client.zadd(key, dict.fromkeys(one.nonces, 0), xx=True)

    def heal(self) -> None:
        self.cut.clear()

    def catch_up(self) -> None:
        """Let the replica replay everything, and pause it again; wait until every process has noticed."""
        self.stack.resume_replay()
        self.stack.catch_up()
        self.stack.pause_replay()
        since = elapsed()
        for app in self.apps:
            lease = app.extensions["campshub"].lease
            until(lambda lease=lease: (seen := lease.replayed(0)) is not None and seen.seen_at > since)

    def served(self) -> dict[str, float]:
        """Return the number of reads by server."""
        return {name: metrics.reads.labels(name)._value.get() for name in ("replica", "primary")}

    # The steps of the code -------------------------------------------------------------------------------------------

    def _add_pause_points(self, patch: pytest.MonkeyPatch) -> None:
        """Add the pause points between the steps."""
        self._before(patch, protocol, "_read_position", "position")
        self._before(patch, unit_of_work, "commit", "commit")
        self._before(patch, read_routing, "_on", "read")
        run, send = PipelinedRedis.run, PipelinedRedis.send
        patch.setattr(PipelinedRedis, "run", lambda wire, script, *given: self._run(run, wire, script, given))
        patch.setattr(PipelinedRedis, "send", lambda wire, *given: (pause_point("store"), send(wire, *given))[1])

    def _before(self, patch: pytest.MonkeyPatch, tenant: Any, name: str, step: str) -> None:
        function = getattr(tenant, name)

        def stopping(*given: Any) -> Any:
            pause_point(step)
            return function(*given)

        patch.setattr(tenant, name, stopping)

    def _run(self, run: Any, wire: PipelinedRedis, script: Any, given: tuple[Any, ...]) -> Any:
        pause_point(script.name)
        one = next((one for one in self.sent if one.thread is SteppedThread.current()), None)
        if one is not None and one.process in self.cut:
            raise CacheUnavailable
        if script.name == "begin" and one is not None:
            one.nonces.append(given[0])
        response = run(wire, script, *given)
        if lost():
            raise CacheUnavailable
        return response
