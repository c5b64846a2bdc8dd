"""The same walk on the servers themselves: PostgreSQL with a replica that is held back, and the cache Redis.

Coarser than ``world``: a commit and the question for the position after it are one round trip, which nothing can come
between here; a lease runs as it does in production.
"""

import time
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
from tests.conftest import Client, new_place
from tests.freshness.gates import Walk, gate, lost
from tests.freshness.world import Broken

ADDRESSES = {"p": "/api/students/", "q": "/api/students/?limit=200"}


class Sent:
    """A read or a write on its way through one process."""

    def __init__(self, process: int, walk: Walk, code: str | None, needed: frozenset[str]) -> None:
        self.process, self.walk, self.code, self.needed = process, walk, code, needed
        self.nonces: list[str] = []
        self.is_told = False


class OnServers:
    """Processes with everything that is real, and what their reads have shown."""

    def __init__(self, stack: Stack, apps: list[Flask], patch: pytest.MonkeyPatch) -> None:
        self.stack, self.apps = stack, apps
        self.client: Any = redis.Redis.from_url(stack.environment(stack.database)["REDIS_URL"])
        self.cut: set[int] = set()
        self.sent: list[Sent] = []
        self._put_gates(patch)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin with an organization that nobody has read, in a Redis out of quarantine."""
        place = new_place(self.apps[0])
        headers = place.the(Role.ADMIN).headers
        self.clients = [Client(app, headers) for app in self.apps]
        self.shown: frozenset[str] = frozenset()
        self.sent = []
        self.heal()
        for process in range(len(self.apps)):
            self.end(self.read(process))
        self.trust()

    def close(self) -> None:
        """Let nothing be left standing at a gate."""
        for one in self.going():
            one.walk.crash()
        self.client.close()

    def going(self) -> list[Sent]:
        return [one for one in self.sent if not one.walk.is_over]

    # Requests --------------------------------------------------------------------------------------------------------

    def read(self, process: int, name: str = "p") -> Sent:
        client = self.clients[process]
        return self._start(process, lambda: client.get(ADDRESSES[name]), None)

    def write(self, process: int) -> Sent:
        client, code = self.clients[process], f"W{len(self.sent)}"
        body = {"code": code, "given_name": "A", "family_name": "B"}
        return self._start(process, lambda: client.post("/api/students/", body), code)

    def _start(self, process: int, what: Any, code: str | None) -> Sent:
        one = Sent(process, Walk(what), code, self.shown)
        self.sent.append(one)
        return one

    def go(self, one: Sent, until: str = "over") -> None:
        """Let a request take a step, and go on to a gate."""
        if not one.walk.is_over:
            one.walk.step()
        while not one.walk.is_over and one.walk.at != until:
            one.walk.step()
        if one.walk.is_over and not one.is_told:
            one.is_told = True
            self._finished(one)

    def end(self, one: Sent) -> None:
        while not one.walk.is_over or not one.is_told:
            self.go(one)

    def crash(self, one: Sent) -> None:
        one.is_told = True
        one.walk.crash()

    def _finished(self, one: Sent) -> None:
        answer = one.walk.result
        if one.code is not None:
            if answer.status == 201:
                self.shown |= {one.code}
            return
        if answer.status != 200:
            raise Broken(f"{answer.status}: {answer.response.text}")
        seen = frozenset(item["code"] for item in answer.json["items"])
        if one.needed - seen:
            raise Broken(f"a read misses {sorted(one.needed - seen)}, {one.walk.passed}")
        # One that could not be stamped binds once it is acknowledged: until then a lease may know the older epoch.
        unstamped = {other.code for other in self.sent if other.code and "begin" not in other.walk.passed}
        unstamped |= {other.code for other in self.sent if other.code and other.process in self.cut}
        self.shown |= seen - unstamped

    # Surroundings ----------------------------------------------------------------------------------------------------

    def trust(self) -> None:
        """Let ten seconds pass since each identity was made."""
        for key in self.client.keys("identity:*"):
            run_id, space, _ = self.client.get(key).split(b":")
            self.client.set(key, b":".join((run_id, space, b"0")))

    def is_clean(self) -> bool:
        """Tell whether no write is on its way whose entry an emptied Redis may have lost."""
        return not any(one.code for one in self.going())

    def make_overdue(self, one: Sent) -> None:
        for key in self.client.keys("pending:*"):
            self.client.zadd(key, dict.fromkeys(one.nonces, 0), xx=True)

    def heal(self) -> None:
        self.cut.clear()

    def catch_up(self) -> None:
        """Let the replica replay all there is, and hold it back again; every process comes to know of it."""
        self.stack.resume_replay()
        self.stack.catch_up()
        self.stack.pause_replay()
        since = elapsed()
        for app in self.apps:
            lease = app.extensions["campshub"].lease
            until(lambda lease=lease: (seen := lease.replayed(0)) is not None and seen.seen_at > since)

    def served(self) -> dict[str, float]:
        """Return how many reads each server has answered."""
        return {name: metrics.reads.labels(name)._value.get() for name in ("replica", "primary")}

    # The steps of the code -------------------------------------------------------------------------------------------

    def _put_gates(self, patch: pytest.MonkeyPatch) -> None:
        """Put the gates between the steps."""
        self._before(patch, protocol, "_ask_position", "position")
        self._before(patch, unit_of_work, "commit", "commit")
        self._before(patch, read_routing, "_on", "read")
        run, send = PipelinedRedis.run, PipelinedRedis.send
        patch.setattr(PipelinedRedis, "run", lambda wire, script, *given: self._run(run, wire, script, given))
        patch.setattr(PipelinedRedis, "send", lambda wire, *given: (gate("store"), send(wire, *given))[1])

    def _before(self, patch: pytest.MonkeyPatch, place: Any, name: str, step: str) -> None:
        function = getattr(place, name)

        def stopping(*given: Any) -> Any:
            gate(step)
            return function(*given)

        patch.setattr(place, name, stopping)

    def _run(self, run: Any, wire: PipelinedRedis, script: Any, given: tuple[Any, ...]) -> Any:
        gate(script.name)
        one = next((one for one in self.sent if one.walk is Walk.here()), None)
        if one is not None and one.process in self.cut:
            raise CacheUnavailable
        if script.name == "begin" and one is not None:
            one.nonces.append(given[0])
        answer = run(wire, script, *given)
        if lost():
            raise CacheUnavailable
        return answer


def until(condition: Any, patience_s: float = 20.0) -> None:
    """Wait for what other threads do."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.005)
