"""A group with students, whose sessions are marked on any day."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from campshub.core.db import writes
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from campshub.students.models import Enrolment
from tests.conftest import Client, Tenant
from tests.dates import TIME_ZONE, today

LONG_AGO = today() - timedelta(days=390)


@dataclass
class Course:
    """A group, its trainer and its students."""

    tenant: Tenant
    id: str
    trainer: Client
    students: list[str] = field(default_factory=list)

    @property
    def admin(self) -> Client:
        return self.tenant.the(Role.ADMIN)

    def session(self, day: date, hour: int | None = None, **fields: Any) -> str:
        """Create a session of the group; with an hour, it starts then."""
        body = {"group_id": self.id, "local_date": str(day), "slot": new_id().hex[-8:], "status": "open", **fields}
        if hour is not None:
            body["starts_at"] = datetime.combine(day, time(hour), TIME_ZONE).isoformat()
        return self.admin.made("/api/attendance/sessions/", body)["id"]

    def mark(self, session: str, *codes: str | dict[str, Any] | None, overwrite: bool = False) -> None:
        """Mark the first students with these codes."""
        given = [{"code": one} if isinstance(one, str) else one for one in codes]
        records = [{"student_id": s, **one} for s, one in zip(self.students, given, strict=False) if one]
        body = {"records": records, "overwrite": overwrite}
        response = self.admin.put(f"/api/attendance/sessions/{session}/records/", body)
        assert response.status == 200, response.raw.text
        assert response.json["summary"]["error"] == 0, response.json

    def history(self, *codes: str, student: int = 0, until: date | None = None) -> None:
        """Mark a student once a day, the last time on a date (today)."""
        for back, code in enumerate(reversed(codes)):
            session = self.session((until or today()) - timedelta(days=back), 9)
            self.mark(session, *[None] * student, code)


@pytest.fixture
def enrol(app, tenant) -> Callable[..., None]:
    """Return a function that enrols a student in a group."""

    def enrolled(group_id: str, student_id: str, **fields: Any) -> None:
        row = {"begins_on": LONG_AGO, "ends_on": None, "status": "active", **fields}
        row |= {"group_id": uuid.UUID(group_id), "student_id": uuid.UUID(student_id)}
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            writes.insert(session, Enrolment, [row])

    return enrolled


@pytest.fixture
def course(tenant, api, student, enrol) -> Callable[..., Course]:
    """Return a maker of groups with so many students, who have been in it for a year."""

    def make(count: int = 2, **of_student: Any) -> Course:
        trainer = tenant.someone(Role.TRAINER)
        body = {"code": new_id().hex, "name": "Blue", "trainer_ids": [str(trainer.user_id)]}
        made = Course(tenant, api.made("/api/groups/", body)["id"], trainer)
        for number in range(count):
            fields = {"given_name": f"N{number}", "joined_on": str(LONG_AGO), **of_student}
            made.students.append(student(**fields)["id"])
            enrol(made.id, made.students[-1])
        return made

    return make


@pytest.fixture
def client(tenant, app) -> Callable[[str], Client]:
    """Return a maker of a login for a student."""

    def make(student_id: str) -> Client:
        who = tenant.someone(Role.CLIENT)
        response = tenant.the(Role.ADMIN).patch(f"/api/students/{student_id}/", {"user_id": str(who.user_id)})
        assert response.status == 200, response.raw.text
        return who

    return make
