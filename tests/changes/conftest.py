"""A client that keeps a copy by following a change feed, as docs/api.md describes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role


@dataclass
class Copy:
    """A copy of what a client sees."""

    client: Any
    url: str
    limit: int = 200
    token: str | None = None
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    # The ids that the last call returned.
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    pages: int = 0

    def page(self) -> Any:
        """Return the response to the next call."""
        mark = "&" if "?" in self.url else "?"
        since = f"&since={self.token}" if self.token else ""
        return self.client.get(f"{self.url}{mark}limit={self.limit}{since}")

    def follow(self) -> "Copy":
        """Read all pages until the copy is complete."""
        self.changed, self.deleted, self.pages, has_more = [], [], 0, True
        while has_more:
            response = self.page()
            assert response.status == 200, response.raw.get_data(as_text=True)
            page = response.json
            for item in page["items"]:
                self.items[item["id"]] = item
            for gone in page["deleted"]:
                self.items.pop(gone, None)
            self.changed += [item["id"] for item in page["items"]]
            self.deleted += page["deleted"]
            self.token, has_more, self.pages = page["next"], page["has_more"], self.pages + 1
        return self


@pytest.fixture
def copy(api) -> Callable[..., Copy]:
    """Return a maker of copies that have been read once."""
    return lambda url, client=None, **options: Copy(client or api, url, **options).follow()


@pytest.fixture
def today() -> date:
    """The date on which visibility depends."""
    return datetime.now(UTC).date()


@pytest.fixture
def trainer(tenant):
    return tenant.the(Role.TRAINER)


@pytest.fixture
def group(api, trainer):
    """Return a maker of groups of the trainer."""
    return lambda trainers=(trainer,), **given: api.made(
        "/api/groups/",
        {"code": new_id().hex, "name": "Blue", "trainer_ids": [str(t.user_id) for t in trainers], **given},
    )


@pytest.fixture
def enrol(api, today):
    """Return a function that enrols a student in a group from ten days ago on."""

    def enrolled(group_id: str, student_id: str, **given: Any) -> dict[str, Any]:
        begins_on = given.pop("begins_on", today - timedelta(days=10))
        body = {"student_id": student_id, "begins_on": str(begins_on), **given}
        return api.made(f"/api/groups/{group_id}/enrolments/", body)

    return enrolled


@pytest.fixture
def meeting(api, today):
    """Return a maker of sessions of a group, or of open gym."""
    return lambda group_id=None, **given: api.made(
        "/api/attendance/sessions/",
        {"group_id": group_id, "local_date": str(today), "slot": new_id().hex[-8:], **given},
    )


@pytest.fixture
def mark(api):
    """Return a function that marks students of a session; it returns the ids of the records."""

    def marked(session_id: str, *student_ids: str, code: str = "present") -> list[str]:
        records = [{"student_id": one, "code": code} for one in student_ids]
        response = api.put(f"/api/attendance/sessions/{session_id}/records/", {"records": records, "overwrite": True})
        assert response.status == 200, response.raw.get_data(as_text=True)
        return [row["id"] for row in response.json["results"]]

    return marked
