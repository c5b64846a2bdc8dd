"""A small world for the protocol: processes with the real code and a real Redis, and PostgreSQL's side beside them.

Requests go through the application's own door, step by step (``gates``). Whatever a read shows is held against the two
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
from campshub.core.freshness.lease import HOLDS_S
from campshub.core.http import dispatch, read_routing
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis
from tests.freshness.cache_server import CacheServer, Copy
from tests.freshness.gates import Walk, gate, lost
from tests.freshness.postgres_side import Servers, Transaction, caller_row
from tests.freshness.processes import ACCESS, TAG, Process, Request

NO_LIMIT_MS = 10_000_000  # time passes when the test says so, however slow the machine


class Broken(AssertionError):
    """A promise is broken."""


class Clock:
    """The time of the code under test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= HOLDS_S
        gate("wait")


class World:
    """Everything there is."""

    def __init__(self, apps: list[Flask], cache: CacheServer) -> None:
        self.cache = cache
        self.processes = [Process(f"process-{number}", app) for number, app in enumerate(apps)]
        self.organization_id, self.user_id = new_id(), new_id()
        self.token: str | None = None
        self.begin_anew()

    def begin_anew(self, lua: Mapping[str, Any] | None = None) -> None:
        """Make a new world of the same parts."""
        self.servers, self.clock = Servers(), Clock()
        self.shown: frozenset[int] = frozenset()
        self.requests: list[Request] = []
        self.copy: Copy = {}
        self.told: list[str] = []
        self.cache.client.flushall()
        for process in self.processes:
            urls = [self.cache.join(process.name)]
            process.begin_anew(self.servers, urls, lua or {})

    def close(self) -> None:
        """Let nothing be left standing at a gate."""
        for request in self.requests:
            if not request.is_over:
                request.walk.crash()

    # Requests --------------------------------------------------------------------------------------------------------

    def read(self, process: int = 0, name: str = "p", *, replica: bool = True) -> Request:
        """Start a read; it stands before its first step. Without the replica it can only be on the primary."""
        self.processes[process].lease.sees_replica = replica
        request = self._start(process, "GET", name)
        request.needed = self.shown
        return self.go(request)

    def write(self, number: int, process: int = 0, tag: str = TAG) -> Request:
        """Start a write; it stands before its first step."""
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

        request = Request(process, Walk(call), write=write)
        self.requests.append(request)
        return request

    def go(self, request: Request) -> Request:
        """Take one step of a request; look at what it shows once it is over."""
        if request.walk.at == "wait":
            self._half_a_second()
        request.walk.step()
        if request.is_over and not request.is_told:
            self._finished(request)
        return request

    def to(self, request: Request, *gates: str) -> Request:
        """Let a request go on until it stands before a gate."""
        while request.walk.at not in gates:
            assert not request.is_over, f"never at {gates}: {request.walk.passed}"
            self.go(request)
        return request

    def past(self, request: Request, name: str) -> Request:
        """Let a request go to a gate and through it."""
        return self.go(self.to(request, name))

    def end(self, request: Request) -> frozenset[int]:
        """Let a request go on to its end; return what a read has shown."""
        while not request.is_over:
            self.go(request)
        return self.seen(request) if not request.write else frozenset()

    def crash(self, request: Request) -> None:
        """Let its process die before the next step."""
        request.walk.crash()
        request.is_told = True

    def seen(self, request: Request) -> frozenset[int]:
        told = request.walk.result.get_json()
        return frozenset(told["writes"]) | self.servers.told_by(told["role"])

    def _finished(self, request: Request) -> None:
        answer, request.is_told = request.walk.result, True
        there = frozenset(commit.write for commit in self.servers.log)
        if request.write:
            if answer.status_code == 204:
                self.shown |= {request.write}
            return
        if answer.status_code != 200:
            raise Broken(f"{answer.status_code}: {answer.text}")
        if answer.headers.get("Campshub-Freshness") == "unverified":
            return
        missing = (request.needed & there) - self.seen(request)
        if missing:
            raise Broken(f"a read misses {sorted(missing)}, {request.walk.passed}")
        self.shown |= self._binding(self.seen(request))

    def _binding(self, seen: frozenset[int]) -> frozenset[int]:
        """Of the writes that a read has shown, return those that later reads must show.

        The exceptions that are made: one that could not be stamped binds once no process holds an older epoch, one
        whose commit takes long once it is acknowledged, and one that a replica shows before the primary does once the
        primary does.
        """
        late, epoch = set(), 0
        oldest = min([p.lease.held.epoch for p in self.processes if p.lease.held is not None], default=None)
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
        """Return the processes whose lease is not what the primary would grant now."""
        now = (self.servers.epoch, self.servers.identity)
        held = [process.lease.held for process in self.processes[:2]]
        return [number for number, one in enumerate(held) if one is None or (one.epoch, one.primary) != now]

    def run_out(self, process: int = 0) -> None:
        self.processes[process].lease.run_out()

    def replay(self) -> None:
        self.servers.replayed = min(self.servers.replayed + 1, self.servers.flushed)

    def _half_a_second(self) -> None:
        """Let the leases run out that were not renewed since the last commit."""
        for process in self.processes:
            held = process.lease.held
            if held is not None and held.epoch < self.servers.epoch:
                process.lease.run_out()

    def cut(self, process: int) -> None:
        """Take away Redis from one process alone."""
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
        """Start Redis again, with an earlier copy or with nothing."""
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
        """Promote the replica, which must not happen before the leases have run out."""
        for process in self.processes:
            process.lease.run_out()
        self.servers.promote()

    def spaces(self) -> set[bytes]:
        keys = self.cache.client.keys("identity:*")
        return {value.split(b":")[1] for value in self.cache.client.mget(keys)} if keys else set()

    def trusts(self) -> None:
        """Let ten seconds pass since each identity was made."""
        for key in self.cache.client.keys("identity:*"):
            run_id, space, _ = self.cache.client.get(key).split(b":")
            self.cache.client.set(key, b":".join((run_id, space, b"0")))

    def ten_seconds(self) -> None:
        """Let ten seconds pass for everyone: leases, deadlines, quarantine, and whoever is about to commit."""
        self.clock.now += 11
        for process in self.processes:
            process.lease.run_out()
        for request in self.requests:
            self.make_overdue(request)
            request.is_slow |= bool(request.write) and not request.is_over
        self.trusts()

    @property
    def may_trust(self) -> bool:
        """Whether every write begun under another identity is over, as it is after ten seconds."""
        spaces = self.spaces()
        return all(r.is_over or not r.write or r.space is None or r.space in spaces for r in self.requests)

    def make_overdue(self, request: Request) -> None:
        """Let ten seconds pass since a write began."""
        for key in self.cache.client.keys("pending:*") if request.nonces else ():
            self.cache.client.zadd(key, dict.fromkeys(request.nonces, 0), xx=True)

    def settle(self, *processes: int) -> None:
        """Have an identity that is out of quarantine, and leases; nobody has needed a stamp yet."""
        for process in processes or (0,):
            self.renew(process)
            self.end(self.read(process))
        self.trusts()

    # The steps of the code -------------------------------------------------------------------------------------------

    def placeholder(self, patch: pytest.MonkeyPatch) -> None:
        """Put the gates between the steps, and PostgreSQL's side in its place."""
        patch.setattr(dispatch, "begin", self._begin)
        patch.setattr(read_routing, "begin", self._begin)
        patch.setattr(unit_of_work, "begin", self._begin)
        patch.setattr(read_routing, "commit", lambda _session: None)
        patch.setattr(protocol, "_ask_position", self._answer_position)
        patch.setattr(protocol, "DEADLINE_MS", NO_LIMIT_MS)
        patch.setattr(protocol, "time", self)
        patch.setattr(protocol, "elapsed", self.elapsed)
        run, send = PipelinedRedis.run, PipelinedRedis.send
        patch.setattr(PipelinedRedis, "run", lambda wire, script, *given: self._run(run, wire, script, given))
        patch.setattr(PipelinedRedis, "send", lambda wire, *given: (gate("store"), send(wire, *given))[1])

    def elapsed(self) -> float:
        return self.clock.now

    def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def _begin(self, unit: session.Unit) -> Any:
        if unit.checks_caller and unit.read_only:
            gate("enter")
        request = self._current()
        is_fresh = unit.server != session.REPLICA or self.servers.has(unit.needed_lsn)
        unit.primary, unit.caller_row = (
            self.servers.identity,
            caller_row(self.servers.role(unit.server), fresh=is_fresh),
        )
        return Transaction(self.servers, unit, request.write if request else 0)

    def _answer_position(self, _primary: Any, errands: Any) -> None:
        gate("position")
        for errand in errands:
            errand.answer = (self.servers.position(), self.servers.identity)

    def _run(self, run: Any, wire: PipelinedRedis, script: Any, given: tuple[Any, ...]) -> Any:
        gate(script.name)
        request = self._current()
        if script.name == "begin" and request is not None:
            request.nonces.append(given[0])
        answer = run(wire, script, *given)
        if lost():
            raise CacheUnavailable
        if script.name == "begin" and request is not None:
            request.space = answer
        return answer

    def _current(self) -> Request | None:
        walk = Walk.here()
        return next((request for request in self.requests if request.walk is walk), None)
