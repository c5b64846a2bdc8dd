"""Mixed traffic: users who read and write in a closed loop, each on its own connection, and check what they read.

``python -m bench.traffic PLAN`` runs in a separate process, under gevent. It prints a line when it has warmed up and
one with its results at the end. A read that started after a write was acknowledged and shows less is stale.
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


class RawConnection:
    """One persistent connection. All users share one process, and httpx would add 0.2 ms of CPU to every request."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read its response; return the status, 0 where the connection failed, and the body."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=30)
            self._socket.sendall(request)
            return self._read_response(self._socket)
        except (OSError, ValueError):
            self.close()
            return 0, b""

    def _read_response(self, connection: socket.socket) -> tuple[int, bytes]:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive(connection)
        head, body = received[:end], [received[end + 4 :]]
        length = _LENGTH.search(head)
        missing = (int(length[1]) if length else 0) - len(body[0])
        while missing > 0:
            body.append(self._receive(connection))
            missing -= len(body[-1])
        if _CLOSES.search(head):
            self.close()
        return int(head[9:12]), b"".join(body)

    def _receive(self, connection: socket.socket) -> bytes:
        if not (received := connection.recv(BUFFER)):
            raise OSError("the server has closed the connection")
        return received

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Floors:
    """The minimum version that a read must show of each row, by scope and row."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = {}

    def acknowledge(self, scope: str, versions: dict[str, int]) -> None:
        """Record the versions in the response to a write."""
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
    """Return the versions of the rows that a response shows."""
    if kind == "other":
        return {}
    response = orjson.loads(body)
    if kind == "register":
        return {row["student_id"]: row["mark"]["version"] for row in response["items"] if row["mark"]}
    rows = response["items"] if kind == "page" else [response]
    return {row["id"]: row["version"] for row in rows}


class Traffic:
    """All users together."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.floors = Floors()
        self.rng = random.Random(plan["seed"])  # noqa: S311 - not for secrets
        self.numbers = itertools.count(1)
        self.taken: dict[str, list[float]] = {"read": [], "write": []}
        self.statuses: Counter[str] = Counter()
        self.stale: list[str] = []
        self.stale_reads = 0
        self.checked = 0
        self.measures_from = 0.0
        organizations = plan["organizations"]
        self.readers = [organization["read_weight"] for organization in organizations]
        self.writers = [organization["write_weight"] for organization in organizations]
        for organization in organizations:
            organization["weights"] = [read["weight"] for read in organization["reads"]]

    def run(self) -> dict[str, Any]:
        """Run all users; return their results after the warm-up."""
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
        connection = RawConnection(self.plan["host"], self.plan["port"])
        organizations = self.plan["organizations"]
        while time.monotonic() < until:
            if self.rng.random() < self.plan["writes"]:
                self._write(connection, self.rng.choices(organizations, self.writers)[0])
            else:
                self._read(connection, self.rng.choices(organizations, self.readers)[0])
        connection.close()

    def _read(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        read = self.rng.choices(organization["reads"], organization["weights"])[0]
        floors = self.floors.now(read["scope"])
        status, body = self._timed("read", connection, organization, "GET", read["path"])
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

    def _write(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        kinds = self.plan["kinds_of_writes"]
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        getattr(self, f"_{kind}")(connection, organization)

    def _mark(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        register = self.rng.choice(organization["registers"])
        students = self.rng.sample(register["students"], min(self.plan["marks"], len(register["students"])))
        rows = [{"student_id": i, "code": self.rng.choice(("present", "absent", "late"))} for i in students]
        body = {"records": rows, "overwrite": True}
        path = f"/api/attendance/sessions/{register['session']}/records/"
        status, response = self._timed("write", connection, organization, "PUT", path, body)
        if status == 200:  # noqa: PLR2004 - OK
            results = orjson.loads(response)["results"]
            versions = {row["student_id"]: row["version"] for row in results if row["version"]}
            self.floors.acknowledge(register["session"], versions)

    def _change(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        student = self.rng.choice(organization["students"])
        body = {"phone": f"+00 555 {next(self.numbers):07}"}
        status, response = self._timed("write", connection, organization, "PATCH", f"/api/students/{student}/", body)
        if status == 200:  # noqa: PLR2004 - OK
            self.floors.acknowledge(organization["scope"], {student: orjson.loads(response)["version"]})

    def _create(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        code = f"{self.plan['prefix']}-{next(self.numbers)}"
        body = {"code": code, "given_name": "Zoya", "family_name": "Zyx"}  # at the end of every list
        self._timed("write", connection, organization, "POST", "/api/students/", body)

    def _add_set(self, connection: RawConnection, organization: dict[str, Any]) -> None:
        log = self.rng.choice(organization["logs"])
        body = {"log_exercise_id": log["exercise"], "reps": 5, "rest_seconds": self.plan["rest_seconds"]}
        self._timed("write", connection, organization, "POST", f"/api/workout-logs/{log['log']}/sets/", body)

    def _timed(
        self,
        kind: str,
        connection: RawConnection,
        organization: dict[str, Any],
        method: str,
        path: str,
        body: Any = None,
    ) -> tuple[int, bytes]:
        content = b"" if body is None else orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.plan['host']}\r\n"
        head += f"Authorization: Bearer {organization['token']}\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        begun = time.monotonic()
        status, response = connection.send(head.encode() + b"\r\n" + content)
        if begun >= self.measures_from:
            self.taken[kind].append((time.monotonic() - begun) * 1000)
            self.statuses[f"{kind} {status or 'connection'}"] += 1
        return status, response


if __name__ == "__main__":
    monkey.patch_all()
    print(json.dumps(Traffic(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run()))
