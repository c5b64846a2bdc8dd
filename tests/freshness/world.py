"""A small world for the protocol: processes with the real code and a real Redis, and a simulated PostgreSQL.

Requests enter the application normally, and run step by step (``stepping``). Each read is checked against the two
promises: it misses no write that was acknowledged before it started, and none that an earlier read has shown.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from campshub.core.db import session, unit_of_work
from campshub.core.db.models import new_id
from campshub.core.freshness import protocol
from campshub.core.freshness.lease import LEASE_S
from campshub.core.http import dispatch, read_routing
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis
from tests.freshness.cache_server import CacheServer, Copy
from tests.freshness.postgres_side import Servers, Transaction, caller_row
from tests.freshness.processes import ACCESS, TAG, Process, Request
from tests.freshness.stepping import SteppedThread, lost, pause_point

NO_LIMIT_MS = 10_000_000  # the test decides when time passes, however slow the machine


class Broken(AssertionError):
    """A promise is broken."""


class Clock:
    """The time of the code under test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= LEASE_S
        pause_point("wait")


class World:
    """The processes, the servers, and all requests."""

    def __init__(self, apps: list[Flask], cache: CacheServer) -> None:
        self.cache = cache
        self.processes = [Process(f"process-{number}", app) for number, app in enumerate(apps)]
        self.organization_id, self.user_id = new_id(), new_id()
        self.token: str | None = None
        self.reset()

    def reset(self, lua: Mapping[str, Any] | None = None) -> None:
        """Start a new world with the same parts."""
        self.servers, self.clock = Servers(), Clock()
        self.shown: frozenset[int] = frozenset()
        self.requests: list[Request] = []
        self.copy: Copy = {}
        self.cache.client.flushall()
        for process in self.processes:
            urls = [self.cache.join(process.name)]
            process.reset(self.servers, urls, lua or {})

    def close(self) -> None:
        """End all requests."""
        for request in self.requests:
            if not request.is_over:
                request.thread.crash()

    # Requests --------------------------------------------------------------------------------------------------------

    def read(self, process: int = 0, name: str = "p", *, replica: bool = True) -> Request:
        """Start a read; it pauses before its first step. Without the replica it can only use the primary."""
        self.processes[process].lease.sees_replica = replica
        request = self._start(process, "GET", name)
        request.needed = self.shown
        return self.go(request)

    def write(self, number: int, process: int = 0, tag: str = TAG) -> Request:
        """Start a write; it pauses before its first step."""
        if tag == ACCESS:
            self.servers.to_role.append(number)
        return self.go(self._start(process, "POST", tag, write=number))

    def _start(self, number: int, method: str, name: str, write: int = 0) -> Request:
        process = self.processes[number]
        if self.token is None:
            with process.app.app_context():
                self.token = process.services.tokens.issue(
                    user_id=self.user_id,
                    organization_id=self.organization_id,
                    session_id=UUID(int=1),
                    session_version=1,
                )
        headers = {"Authorization": f"Bearer {self.token}"}

        def call() -> Any:
            return process.app.test_client().open(f"/api/promised/{name}/", method=method, headers=headers)

        request = Request(process, SteppedThread(call), write=write)
        self.requests.append(request)
        return request

    def go(self, request: Request) -> Request:
        """Take one step of a request; check its result when it has ended."""
        if request.thread.at == "wait":
            self._half_a_second()
        request.thread.step()
        if request.is_over and not request.is_checked:
            self._finished(request)
        return request

    def to(self, request: Request, *points: str) -> Request:
        """Let a request continue to a pause point."""
        while request.thread.at not in points:
            assert not request.is_over, f"never at {points}: {request.thread.passed}"
            self.go(request)
        return request

    def past(self, request: Request, name: str) -> Request:
        """Let a request continue to a pause point and past it."""
        return self.go(self.to(request, name))

    def end(self, request: Request) -> frozenset[int]:
        """Let a request continue to its end; return the writes that a read has shown."""
        while not request.is_over:
            self.go(request)
        return self.seen(request) if not request.write else frozenset()

    def crash(self, request: Request) -> None:
        """Crash its process before the next step."""
        request.thread.crash()
        request.is_checked = True

    def seen(self, request: Request) -> frozenset[int]:
        body = request.thread.result.get_json()
        return frozenset(body["writes"]) | self.servers.writes_shown_by(body["role"])

    def _finished(self, request: Request) -> None:
        response, request.is_checked = request.thread.result, True
        there = frozenset(commit.write for commit in self.servers.log)
        if request.write:
            if response.status_code == 204:
                self.shown |= {request.write}
            return
        if response.status_code != 200:
            raise Broken(f"{response.status_code}: {response.text}")
        if response.headers.get("Campshub-Freshness") == "unverified":
            return
        missing = (request.needed & there) - self.seen(request)
        if missing:
            raise Broken(f"a read misses {sorted(missing)}, {request.thread.passed}")
        self.shown |= self._binding(self.seen(request))

    def _binding(self, seen: frozenset[int]) -> frozenset[int]:
        """Of the writes that a read has shown, return those that later reads must show.

        There are three exceptions. A write that could not be stamped binds once no process has a lease of an older
        epoch. A write whose commit takes long binds once it is acknowledged. A write that a replica shows before the
        primary binds once the primary shows it.
        """
        late, epoch = set(), 0
        oldest = min([p.lease.grant.epoch for p in self.processes if p.lease.grant is not None], default=None)
        for commit in self.servers.log:
            epoch += commit.adds_epoch
            if commit.adds_epoch and oldest is not None and oldest < epoch:
                late.add(commit.write)
        slow = {r.write for r in self.requests if r.is_slow} - self.shown
        return (seen - late - slow) & self.servers.seen(session.PRIMARY)

    # Surroundings ----------------------------------------------------------------------------------------------------

    def renew(self, process: int = 0) -> None:
        self.processes[process].lease.renew()

    def lapsed(self) -> list[int]:
        """Return the processes whose lease differs from what the primary would grant now."""
        now = (self.servers.epoch, self.servers.identity)
        grants = [process.lease.grant for process in self.processes[:2]]
        return [number for number, one in enumerate(grants) if one is None or (one.epoch, one.primary) != now]

    def run_out(self, process: int = 0) -> None:
        self.processes[process].lease.run_out()

    def replay(self) -> None:
        self.servers.replayed = min(self.servers.replayed + 1, self.servers.flushed)

    def _half_a_second(self) -> None:
        """Expire the leases that were not renewed since the last commit."""
        for process in self.processes:
            grant = process.lease.grant
            if grant is not None and grant.epoch < self.servers.epoch:
                process.lease.run_out()

    def cut(self, process: int) -> None:
        """Cut a single process off from Redis."""
        self.cache.cut(self.processes[process].name)
        self.processes[process].reconnect()

    def is_cut(self) -> bool:
        return any(self.cache.is_cut(process.name) for process in self.processes)

    def heal(self) -> None:
        for process in self.processes:
            self.cache.join(process.name)

    def empty(self) -> None:
        self.cache.client.flushall()

    def restart(self, copy: Copy | None = None, *, is_noticed: bool = True) -> None:
        """Restart Redis, with an earlier copy or empty."""
        cut = [process.name for process in self.processes if self.cache.is_cut(process.name)]
        self.cache.restart(copy)
        for name in cut:
            self.cache.cut(name)
        if is_noticed:
            for process in self.processes:
                process.reconnect()

    def take_copy(self) -> None:
        self.copy = self.cache.copy()

    def promote(self) -> None:
        """Promote the replica, which must not happen before the leases have expired."""
        for process in self.processes:
            process.lease.run_out()
        self.servers.promote()

    def spaces(self) -> set[bytes]:
        keys = self.cache.client.keys("identity:*")
        return {value.split(b":")[1] for value in self.cache.client.mget(keys)} if keys else set()

    def end_quarantine(self) -> None:
        """Make each identity older than ten seconds."""
        for key in self.cache.client.keys("identity:*"):
            run_id, space, _ = self.cache.client.get(key).split(b":")
            self.cache.client.set(key, b":".join((run_id, space, b"0")))

    def ten_seconds(self) -> None:
        """Let ten seconds pass for everything: leases, deadlines, quarantine, and writes before their commit."""
        self.clock.now += 11
        for process in self.processes:
            process.lease.run_out()
        for request in self.requests:
            self.make_overdue(request)
            request.is_slow |= bool(request.write) and not request.is_over
        self.end_quarantine()

    @property
    def may_trust(self) -> bool:
        """Whether every write that began under another identity has ended, as it has after ten seconds."""
        spaces = self.spaces()
        return all(r.is_over or not r.write or r.space is None or r.space in spaces for r in self.requests)

    def make_overdue(self, request: Request) -> None:
        """Make the pending entries of a write older than ten seconds."""
        for key in self.cache.client.keys("pending:*") if request.nonces else ():
            self.cache.client.zadd(key, dict.fromkeys(request.nonces, 0), xx=True)

    def settle(self, *processes: int) -> None:
        """Start with an identity out of quarantine, and with leases; no stamp has been needed yet."""
        for process in processes or (0,):
            self.renew(process)
            self.end(self.read(process))
        self.end_quarantine()

    # The steps of the code -------------------------------------------------------------------------------------------

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Add the pause points between the steps, and the simulated PostgreSQL."""
        patch.setattr(dispatch, "begin", self._begin)
        patch.setattr(read_routing, "begin", self._begin)
        patch.setattr(unit_of_work, "begin", self._begin)
        patch.setattr(read_routing, "commit", lambda _session: None)
        patch.setattr(protocol, "_read_position", self._answer_position)
        patch.setattr(protocol, "DEADLINE_MS", NO_LIMIT_MS)
        patch.setattr(protocol, "time", self)
        patch.setattr(protocol, "elapsed", self.elapsed)
        run, send = PipelinedRedis.run, PipelinedRedis.send
        patch.setattr(PipelinedRedis, "run", lambda wire, script, *given: self._run(run, wire, script, given))
        patch.setattr(PipelinedRedis, "send", lambda wire, *given: (pause_point("store"), send(wire, *given))[1])

    def elapsed(self) -> float:
        return self.clock.now

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def _begin(self, unit: session.Unit) -> Any:
        if unit.checks_caller and unit.read_only:
            pause_point("enter")
        request = self._current()
        is_fresh = unit.server != session.REPLICA or self.servers.has(unit.needed_lsn)
        unit.primary, unit.caller_row = (
            self.servers.identity,
            caller_row(self.servers.role(unit.server), fresh=is_fresh),
        )
        return Transaction(self.servers, unit, request.write if request else 0)

    def _answer_position(self, _primary: Any, requests: Any) -> None:
        pause_point("position")
        for request in requests:
            request.reply = (self.servers.position(), self.servers.identity)

    def _run(self, run: Any, wire: PipelinedRedis, script: Any, given: tuple[Any, ...]) -> Any:
        pause_point(script.name)
        request = self._current()
        if script.name == "begin" and request is not None:
            request.nonces.append(given[0])
        response = run(wire, script, *given)
        if lost():
            raise CacheUnavailable
        if script.name == "begin" and request is not None:
            request.space = response
        return response

    def _current(self) -> Request | None:
        thread = SteppedThread.current()
        return next((request for request in self.requests if request.thread is thread), None)
