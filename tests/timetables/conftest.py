"""A group with weekly meetings, whose sessions are created ahead."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import OutboxMessage
from campshub.core.jobs.runner import Outcome, run_one

DAY = timedelta(days=1)
SESSIONS = "/api/attendance/sessions/"


@pytest.fixture
def today() -> date:
    """Return the organization's own date."""
    return datetime.now(UTC).astimezone(ZoneInfo("Asia/Kolkata")).date()


@dataclass
class Timetable:
    """A group as its admin sees it, with its weekly meetings."""

    api: Any
    group: str
    today: date

    @property
    def url(self) -> str:
        return f"/api/groups/{self.group}/"

    def meeting(self, weekday: int, **fields: Any) -> dict[str, Any]:
        """Create a weekly meeting that began long ago."""
        body = {"weekday": weekday, "start_time": "23:58", "end_time": "01:00", "first_date": "2020-01-06", **fields}
        return self.api.made(f"{self.url}meetings/", body)

    def change(self, meeting: dict[str, Any], **fields: Any) -> Any:
        body = {"from_date": str(self.today + DAY), **fields}
        return self.api.post(f"{self.url}meetings/{meeting['id']}/change/", body)

    def end(self, meeting: dict[str, Any], from_date: date | None = None) -> Any:
        body = {"from_date": str(from_date or self.today + DAY)}
        return self.api.post(f"{self.url}meetings/{meeting['id']}/end/", body)

    def sessions(self) -> list[dict[str, Any]]:
        return self.api.get(f"{self.url}sessions/?limit=200").json["items"]

    def dates(self) -> list[str]:
        """Return the dates of the sessions that are not cancelled."""
        return [one["local_date"] for one in self.sessions() if one["status"] != "cancelled"]

    def ahead(self, weekday: int, days: int = 14) -> list[date]:
        """Return the dates of a weekday after today that have sessions."""
        coming = (self.today + n * DAY for n in range(1, days + 1))
        return [day for day in coming if day.weekday() == weekday]


@pytest.fixture
def timetable(api, today) -> Callable[..., Timetable]:
    """Return a maker of groups without meetings."""

    def make(**fields: Any) -> Timetable:
        group = api.made("/api/groups/", {"code": new_id().hex, "name": "Blue", **fields})
        return Timetable(api, group["id"], today)

    return make


@pytest.fixture
def generate(app, tenant):
    """Return a function that runs the command for the organization and returns how many sessions it created."""

    def run() -> int:
        arguments = ("timetables", "generate", "--organization", str(tenant.id), "--json")
        result = app.test_cli_runner().invoke(args=arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["created"]

    return run


@pytest.fixture
def run_jobs(app, tenant):
    """Return a function that runs the organization's pending jobs of a name and returns their outcomes."""

    def run(name: str) -> list[Outcome]:
        pending = select(OutboxMessage.id).where(
            OutboxMessage.organization_id == tenant.id, OutboxMessage.job == name, OutboxMessage.finished_at.is_(None)
        )
        with app.app_context():
            with unit_of_work(system=True, read_only=True) as session:
                ids = session.scalars(pending).all()
            return [run_one(app.extensions["campshub"], tenant.id, message_id) for message_id in ids]

    return run
