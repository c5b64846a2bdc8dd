"""Mixed traffic: users who read and write in a closed loop, each on a connection of its own, and check what they read.

``python -m bench.traffic PLAN`` runs in a process of its own, under gevent. It prints a line when it has warmed up and
one with what it saw at the end. A read that started after a write was acknowledged and shows less is stale.
"""

import itertools
import json
import random
import re
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent import monkey

WARM = "warm"
EXAMPLES = 5
FIRST_ERROR = 400
BUFFER = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: close", re.IGNORECASE)


class Wire:
    """One kept connection, with as little between the user and the bytes as can be."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read its answer; return the status, 0 where the connection failed, and the body."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
            self._socket.sendall(request)
            return self._answer(self._socket)
        except (OSError, ValueError):
            self.close()
            return 0, b""

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._some(connection)
        head, body = received[:end], [received[end + 4 :]]
        length = _LENGTH.search(head)
        missing = (int(length[1]) if length else 0) - len(body[0])
        while missing > 0:
            body.append(self._some(connection))
            missing -= len(body[-1])
        if _CLOSES.search(head):
            self.close()
        return int(head[9:12]), b"".join(body)

    def _some(self, connection: socket.socket) -> bytes:
        if not (received := connection.recv(BUFFER)):
            raise OSError("the server has closed the connection")
        return received

    def close(self) -> None:
        """Let the connection go; the next request makes another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Floors:
    """The version under which no read may show a row any more, by scope and row."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = {}

    def acknowledge(self, scope: str, versions: dict[str, int]) -> None:
        """Note what a write has answered."""
        known = self._known.setdefault(scope, {})
        for row, version in versions.items():
            known[row] = max(version, known.get(row, 0))

    def now(self, scope: str) -> dict[str, int]:
        """Return what a read that starts now must show at least."""
        return dict(self._known.get(scope, {}))

    @staticmethod
    def missed(floors: dict[str, int], shown: dict[str, int], *, whole: bool) -> list[str]:
        """Return the rows that a read shows too old; with ``whole`` also those that it does not show at all."""
        return [row for row, version in floors.items() if (row in shown or whole) and shown.get(row, 0) < version]


def shown(kind: str, body: bytes) -> dict[str, int]:
    """Return the versions of the rows that an answer shows."""
    if kind == "other":
        return {}
    answer = orjson.loads(body)
    if kind == "register":
        return {row["student_id"]: row["mark"]["version"] for row in answer["items"] if row["mark"]}
    rows = answer["items"] if kind == "page" else [answer]
    return {row["id"]: row["version"] for row in rows}


class Traffic:
    """All users together."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.floors = Floors()
        self.dice = random.Random(plan["seed"])  # noqa: S311 - dice, not secrets
        self.numbers = itertools.count(1)
        self.taken: dict[str, list[float]] = {"read": [], "write": []}
        self.statuses: Counter[str] = Counter()
        self.stale: list[str] = []
        self.stale_reads = 0
        self.checked = 0
        self.measures_from = 0.0
        places = plan["organizations"]
        self.readers = [place["read_weight"] for place in places]
        self.writers = [place["write_weight"] for place in places]
        for place in places:
            place["weights"] = [read["weight"] for read in place["reads"]]

    def run(self) -> dict[str, Any]:
        """Let all users work; return what they saw after the warm-up."""
        begun = time.monotonic()
        self.measures_from = begun + self.plan["warm_up_s"]
        until = self.measures_from + self.plan["seconds"]
        users = [gevent.spawn(self._user, until) for _ in range(self.plan["users"])]
        gevent.sleep(self.plan["warm_up_s"])
        print(WARM, flush=True)
        gevent.joinall(users, raise_error=True)
        return {
            "seconds": time.monotonic() - self.measures_from,
            "taken": self.taken,
            "statuses": self.statuses,
            "checked": self.checked,
            "stale_reads": self.stale_reads,
            "stale": self.stale,
        }

    def _user(self, until: float) -> None:
        wire = Wire(self.plan["host"], self.plan["port"])
        places = self.plan["organizations"]
        while time.monotonic() < until:
            if self.dice.random() < self.plan["writes"]:
                self._write(wire, self.dice.choices(places, self.writers)[0])
            else:
                self._read(wire, self.dice.choices(places, self.readers)[0])
        wire.close()

    def _read(self, wire: Wire, place: dict[str, Any]) -> None:
        read = self.dice.choices(place["reads"], place["weights"])[0]
        floors = self.floors.now(read["scope"])
        status, body = self._timed("read", wire, place, "GET", read["path"])
        if status and status < FIRST_ERROR and floors:
            self._check(read, floors, body)

    def _check(self, read: dict[str, Any], floors: dict[str, int], body: bytes) -> None:
        rows = shown(read["kind"], body)
        if read["kind"] == "one":
            floors = {row: version for row, version in floors.items() if row in rows}
        missed = Floors.missed(floors, rows, whole=read["kind"] == "register")
        self.checked += 1
        if missed:
            self.stale_reads += 1
            self.stale.extend(f"{read['path']}: {row}" for row in missed[:EXAMPLES])
            del self.stale[EXAMPLES:]

    def _write(self, wire: Wire, place: dict[str, Any]) -> None:
        kinds = self.plan["kinds_of_writes"]
        kind = self.dice.choices(list(kinds), list(kinds.values()))[0]
        getattr(self, f"_{kind}")(wire, place)

    def _mark(self, wire: Wire, place: dict[str, Any]) -> None:
        register = self.dice.choice(place["registers"])
        students = self.dice.sample(register["students"], min(self.plan["marks"], len(register["students"])))
        rows = [{"student_id": i, "code": self.dice.choice(("present", "absent", "late"))} for i in students]
        body = {"records": rows, "overwrite": True}
        path = f"/api/attendance/sessions/{register['session']}/records/"
        status, answer = self._timed("write", wire, place, "PUT", path, body)
        if status == 200:  # noqa: PLR2004 - OK
            results = orjson.loads(answer)["results"]
            versions = {row["student_id"]: row["version"] for row in results if row["version"]}
            self.floors.acknowledge(register["session"], versions)

    def _change(self, wire: Wire, place: dict[str, Any]) -> None:
        student = self.dice.choice(place["students"])
        body = {"phone": f"+00 555 {next(self.numbers):07}"}
        status, answer = self._timed("write", wire, place, "PATCH", f"/api/students/{student}/", body)
        if status == 200:  # noqa: PLR2004 - OK
            self.floors.acknowledge(place["scope"], {student: orjson.loads(answer)["version"]})

    def _create(self, wire: Wire, place: dict[str, Any]) -> None:
        code = f"{self.plan['prefix']}-{next(self.numbers)}"
        body = {"code": code, "given_name": "Zoya", "family_name": "Zyx"}  # at the end of every list
        self._timed("write", wire, place, "POST", "/api/students/", body)

    def _lift(self, wire: Wire, place: dict[str, Any]) -> None:
        log = self.dice.choice(place["logs"])
        body = {"log_exercise_id": log["exercise"], "reps": 5, "rest_seconds": self.plan["rest_seconds"]}
        self._timed("write", wire, place, "POST", f"/api/workout-logs/{log['log']}/sets/", body)

    def _timed(
        self, kind: str, wire: Wire, place: dict[str, Any], method: str, path: str, body: Any = None
    ) -> tuple[int, bytes]:
        content = b"" if body is None else orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.plan['host']}\r\nAuthorization: Bearer {place['token']}\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        begun = time.monotonic()
        status, answer = wire.ask(head.encode() + b"\r\n" + content)
        if begun >= self.measures_from:
            self.taken[kind].append((time.monotonic() - begun) * 1000)
            self.statuses[f"{kind} {status or 'connection'}"] += 1
        return status, answer


if __name__ == "__main__":
    monkey.patch_all()
    print(json.dumps(Traffic(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run()))
