"""One organization of a run: its users, what is written, what is read."""

import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from bench.freshness import shapes
from bench.freshness.client import RecordingClient, Server
from bench.freshness.rows import FAR, Enrolment, Group, Mark, Newcomers, Row, Student, TrainingSet, User
from bench.freshness.shapes import Content, Shape
from bench.freshness.users import PASSWORD
from campshub.core.db.models import new_id

# How often each kind is written, in a hundred writes.
WEIGHTS = {"student": 50, "group": 12, "enrolment": 10, "mark": 12, "set": 11, "newcomers": 4, "user": 1}


@dataclass
class World:
    """An organization, and the tokens of those who read it."""

    tokens: dict[str, str]
    content: Content
    shapes: list[Shape]
    # How often it is written and read, relative to the others.
    weights: tuple[int, int]

    def __post_init__(self) -> None:
        """Map each row to the shapes that show it."""
        self.shown_by: dict[int, list[Shape]] = {}
        for shape in self.shapes:
            for slot in shape.rows:
                self.shown_by.setdefault(slot, []).append(shape)

    @property
    def rows(self) -> list[Row]:
        """All rows that are written."""
        return self.content.rows

    def token_for(self, shape: Shape, rng: random.Random) -> str:
        """Return the token of a user who may read a shape."""
        return self.tokens[rng.choice(shape.roles)]


class Maker:
    """Creates an organization's rows through one entry point."""

    def __init__(self, client: RecordingClient, server: Server, organization: dict[str, Any]) -> None:
        self._client, self._server = client, server
        self._emails = organization["emails"]
        self._token = ""

    def make(self, *, rows: int, weights: tuple[int, int]) -> World:
        """Sign all users in and create so many rows of each kind."""
        tokens = {role: self._sign_in(email) for role, email in self._emails.items()}
        self._token = tokens["admin"]
        ids = {item["email"]: item["id"] for item in self._get("/api/users/")["items"]}
        ledger = self._client.ledger
        groups = [self._group(number, ids[self._emails["trainer"]]) for number in range(rows)]
        group = groups[0].id
        students = [self._student(number) for number in range(rows)]
        enrolments = [self._enrolment(group, student) for student in students]
        session, day, marks = self._marks(group, students)
        sets = self._sets(students)
        newcomers = Newcomers(ledger, "/api/students/", str(new_id()), version=0, count=0)
        me = User(ledger, "/api/me/", ids[self._emails["admin"]])
        content = Content(group, session, day, students, groups, enrolments, marks, sets, newcomers, me)
        return World(tokens, content, shapes.of(content), weights)

    def _student(self, number: int) -> Student:
        body = {"given_name": "Checked", "family_name": "Checked", "preferred_name": "n1", "tags": ["checked"]}
        made = self._send("POST", "/api/students/", {"code": f"C-{number:03}", **body})
        return Student(self._client.ledger, f"/api/students/{made['id']}/", made["id"])

    def _group(self, number: int, trainer: str) -> Group:
        body = {"code": f"G-{number:03}", "name": "n1", "status": "archived" if number else "active"}
        made = self._send("POST", "/api/groups/", {**body, "trainer_ids": [] if number else [trainer]})
        return Group(self._client.ledger, f"/api/groups/{made['id']}/", made["id"])

    def _enrolment(self, group: str, student: Student) -> Enrolment:
        path, last = f"/api/groups/{group}/enrolments/", (FAR + timedelta(days=1)).isoformat()
        body = {"student_id": student.id, "begins_on": "2020-01-01", "ends_on": last}
        made = self._send("POST", path, body)
        return Enrolment(self._client.ledger, f"{path}{made['id']}/", made["id"])

    def _marks(self, group: str, students: list[Student]) -> tuple[str, str, list[Mark]]:
        day = datetime.now(UTC).date().isoformat()
        body = {"group_id": group, "local_date": day, "status": "open", "slot": uuid.uuid4().hex[:12]}
        session = self._send("POST", "/api/attendance/sessions/", body)["id"]
        register = f"/api/attendance/sessions/{session}/records/"
        rows = [{"student_id": student.id, "code": "present", "note": "n1"} for student in students]
        marks = [
            Mark(
                self._client.ledger,
                f"/api/attendance/records/{row['id']}/?on={day}",
                row["id"],
                register=register,
                student_id=row["student_id"],
            )
            for row in self._send("PUT", register, {"records": rows})["results"]
        ]
        return session, day, marks

    def _sets(self, students: list[Student]) -> list[TrainingSet]:
        exercise = self._get("/api/exercises/?limit=1")["items"][0]["id"]
        started = datetime.now(UTC).replace(microsecond=0).isoformat()
        made = []
        for student in students:
            sets = [{"reps": 1, "load": "1", "load_unit": "kg"}]
            body = {
                "student_id": student.id,
                "started_at": started,
                "exercises": [{"exercise_id": exercise, "sets": sets}],
            }
            log = self._send("POST", "/api/workout-logs/", body)
            one = log["exercises"][0]["sets"][0]["id"]
            path = f"/api/workout-logs/{log['id']}/sets/{one}/"
            made.append(TrainingSet(self._client.ledger, path, one, log_id=log["id"]))
        return made

    def _sign_in(self, email: str) -> str:
        return str(self._send("POST", "/api/auth/token/", {"email": email, "password": PASSWORD})["access_token"])

    def _get(self, path: str) -> Any:
        return self._send("GET", path)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        response = self._client.send(self._server, method, path, self._token, body)
        if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise RuntimeError(f"{method} {path}: {response.status} {response.body[:500]!r}")
        return response.json
