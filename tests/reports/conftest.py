import csv
import io
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import OutboxMessage
from campshub.core.jobs.runner import Outcome, run_one
from campshub.core.security.permissions import Role
from devstack import packages
from tests.conftest import Client, Tenant

TODAY = datetime.now(ZoneInfo("Asia/Kolkata")).date()  # a run may end on the next day: do not derive a period from it
MONDAY = TODAY - timedelta(days=TODAY.weekday() + 7)  # of last week


@dataclass
class School:
    """A group with a trainer and three members, with functions to mark them and to create reports."""

    tenant: Tenant
    group_id: str
    trainer: Client
    people: dict[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> Client:
        return self.tenant.the(Role.ADMIN)

    def mark(self, day: date, slot: str = "09:00", **codes: str) -> None:
        """Mark members, by their lower-case given names, in a session of a day."""
        fields = {"group_id": self.group_id, "local_date": str(day), "slot": slot, "status": "open"}
        session = self.admin.made("/api/attendance/sessions/", fields)["id"]
        records = [{"student_id": self.people[name], "code": code} for name, code in codes.items()]
        response = self.admin.put(f"/api/attendance/sessions/{session}/records/", {"records": records})
        assert response.status == 200, response.raw.text

    def report(self, kind: str, format: str = "csv", who: Client | None = None, **parameters: str) -> dict:
        """Request a report and run its job; return the report as the API shows it."""
        who = who or self.admin
        requested = who.post("/api/reports/", {"kind": kind, "format": format, "parameters": parameters})
        assert requested.status == 202, requested.raw.text
        self.work(requested.json["job_id"])
        return who.get(f"/api/reports/{requested.json['id']}/").json

    def work(self, job_id: str) -> list[Outcome]:
        """Run a job until it ends."""
        outcomes = []
        with self.tenant.app.app_context():
            services = self.tenant.app.extensions["campshub"]
            while (outcome := run_one(services, self.tenant.id, UUID(job_id))) is not Outcome.NOTHING:
                outcomes.append(outcome)
                assert outcome in {Outcome.DONE, Outcome.MORE}, outcome
        return outcomes

    def work_off(self) -> None:
        """Run all other pending jobs of the organization."""
        with self.tenant.app.app_context():
            services = self.tenant.app.extensions["campshub"]
            with unit_of_work(system=True, read_only=True) as session:
                pending = select(OutboxMessage.id).where(OutboxMessage.organization_id == self.tenant.id)
                ids = session.scalars(pending.where(OutboxMessage.finished_at.is_(None))).all()
            for message_id in ids:
                run_one(services, self.tenant.id, message_id)

    def file(self, report: dict) -> bytes:
        """Download a report's file with its link."""
        assert report["state"] == "ready", report
        response = Client(self.tenant.app).get(report["download"]["url"])
        assert response.status == 200, response.raw.text
        return response.raw.get_data()

    def rows(self, kind: str, who: Client | None = None, **parameters: str) -> list[dict[str, str]]:
        """Create a report as CSV; return its rows by their titles."""
        text = self.file(self.report(kind, who=who, **parameters)).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))


def a_school(tenant: Tenant) -> School:
    admin, trainer = tenant.the(Role.ADMIN), tenant.the(Role.TRAINER)
    fields = {"code": "7B", "name": "Class 7B", "trainer_ids": [str(trainer.user_id)]}
    school = School(tenant, admin.made("/api/groups/", fields)["id"], trainer)
    for code, given_name, family_name in (("R1", "Asha", "Rao"), ("R2", "Ravi", "Iyer"), ("R3", "Anna", "Silva")):
        guardian = {
            "name": f"Guardian {family_name}",
            "phone": "+91 98765 43210",
            "email": f"{code}@example.org".lower(),
        }
        person = {"code": code, "given_name": given_name, "family_name": family_name, "guardians": [guardian]}
        student_id = admin.made("/api/students/", person)["id"]
        term = {"student_id": student_id, "begins_on": str(TODAY - timedelta(days=60))}
        admin.made(f"/api/groups/{school.group_id}/enrolments/", term)
        school.people[given_name.lower()] = student_id
    return school


@pytest.fixture(scope="session", autouse=True)
def _fonts():
    """The fonts in which reports are set."""
    assert packages.fonts() == []


@pytest.fixture
def school(tenant) -> School:
    return a_school(tenant)
