"""Groups, and students who are enrolled in them."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from campshub.core.db.models import new_id
from tests import simultaneous

simultaneously = simultaneous.simultaneously


@pytest.fixture
def today() -> date:
    """Return the organization's own date."""
    return datetime.now(UTC).astimezone(ZoneInfo("Asia/Kolkata")).date()


@pytest.fixture
def group(api):
    """Return a maker of groups."""
    return lambda **fields: api.made("/api/groups/", {"code": new_id().hex, "name": "Blue", **fields})


@pytest.fixture
def enrol(api):
    """Return a function that enrols a student in a group and returns the response."""

    def enrolled(group, student, **fields):
        body = {"student_id": student["id"], "begins_on": "2026-01-10", **fields}
        body = {name: str(value) if isinstance(value, date) else value for name, value in body.items()}
        return api.post(f"/api/groups/{group['id']}/enrolments/", body)

    return enrolled


@pytest.fixture
def patch(api):
    """Return a function that changes an enrolment and returns the response."""

    def changed(enrolment, **changes):
        changes = {name: str(value) if isinstance(value, date) else value for name, value in changes.items()}
        return api.patch(f"/api/groups/{enrolment['group_id']}/enrolments/{enrolment['id']}/", changes)

    return changed


@pytest.fixture
def views(api):
    """Return a function that returns how many students each view of a group shows today, and the roster of a date."""

    def seen(group, on=None):
        def roster(query=""):
            return [row["id"] for row in api.get(f"/api/groups/{group['id']}/roster/{query}").json["items"]]

        counts = {row["group_id"]: row["count"] for row in api.get("/api/students/statistics/").json["by_group"]}
        return {
            "roster": len(roster()),
            "on": roster(f"?on={on}") if on else None,
            "enrolled": api.get(f"/api/groups/{group['id']}/").json["enrolled"],
            "filter": len(api.get(f"/api/students/?group_id={group['id']}").json["items"]),
            "statistics": counts.get(group["id"], 0),
        }

    return seen
