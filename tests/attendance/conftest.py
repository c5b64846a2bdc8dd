"""A group with a roster, and its session of today."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.students.models import Enrolment


@dataclass
class Class:
    """A group, its students and one of their sessions."""

    api: Any
    group: str
    students: list[str]
    session: str
    trainer: Any = None
    marks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"/api/attendance/sessions/{self.session}/"

    @property
    def records(self) -> str:
        return f"{self.url}records/"

    def mark(self, *codes: str, api: Any = None, **fields: Any) -> Any:
        """Mark the first students with these codes."""
        records = [{"student_id": s, "code": code} for s, code in zip(self.students, codes, strict=False)]
        return (api or self.api).put(self.records, {"records": records, **fields})


@pytest.fixture
def today() -> date:
    """Return the organization's own date."""
    return datetime.now(UTC).astimezone(ZoneInfo("Asia/Kolkata")).date()


@pytest.fixture
def group(api) -> Callable[..., dict[str, Any]]:
    return lambda **fields: api.made("/api/groups/", {"code": new_id().hex, "name": "Blue", **fields})


@pytest.fixture
def students(api) -> Callable[[int], list[str]]:
    """Return a maker of many students."""

    def make(count: int) -> list[str]:
        rows = [{"code": new_id().hex, "given_name": f"N{n:04}", "family_name": "Rao"} for n in range(count)]
        response = api.post("/api/students/bulk/", {"students": rows})
        assert response.json["summary"]["created"] == count
        return [row["id"] for row in response.json["results"]]

    return make


@pytest.fixture
def enrol(app, tenant, today) -> Callable[..., None]:
    """Return a function that enrols students in a group."""

    def enrolled(group_id: str, student_ids: list[str], **fields: Any) -> None:
        rows = [
            {
                "group_id": uuid.UUID(group_id),
                "student_id": uuid.UUID(student_id),
                "begins_on": today - timedelta(days=500),
                "status": "active",
                **fields,
            }
            for student_id in student_ids
        ]
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            writes.insert(session, Enrolment, rows)

    return enrolled


@pytest.fixture
def a_class(api, group, students, enrol, today) -> Callable[..., Class]:
    """Return a maker of a group with so many students and a session."""

    def make(count: int = 3, *, trainer: Any = None, on: date | None = None, **fields: Any) -> Class:
        made = group(trainer_ids=[str(trainer.user_id)] if trainer else [])["id"]
        people = students(count) if count else []
        enrol(made, people)
        session = api.made(
            "/api/attendance/sessions/", {"group_id": made, "local_date": str(on or today), "slot": "09:00", **fields}
        )
        return Class(api, made, people, session["id"], trainer)

    return make
