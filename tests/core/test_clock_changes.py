"""Responses that depend on today's date, in an organization whose clock goes forward or back."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from campshub.core.http import fast_path, middleware
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

BACK, FORWARD = "2026-10-25", "2027-03-28"  # Berlin's clocks, at 01:00 UTC


@pytest.fixture
def clock(monkeypatch):
    """Set the clock that the API uses."""

    def set_to(text: str) -> None:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return at.astimezone(tz)

        monkeypatch.setattr(middleware, "datetime", Clock)
        monkeypatch.setattr(fast_path, "time", SimpleNamespace(time=at.timestamp, perf_counter=time.perf_counter))

    return set_to


@pytest.mark.parametrize(
    ("day", "before", "last_hour", "next_day"),
    [
        (BACK, "2026-10-24T10:00", "2026-10-25T22:30", "2026-10-25T23:30"),
        (FORWARD, "2027-03-27T10:00", "2027-03-28T21:30", "2027-03-28T22:30"),
    ],
)
def test_the_day_ends_at_midnight_after_a_clock_change(app, trusted, clock, day, before, last_hour, next_day):
    admin = new_tenant(app, time_zone="Europe/Berlin").the(Role.ADMIN)
    group = admin.made("/api/groups/", {"code": "B", "name": "Blue"})["id"]
    student = admin.made("/api/students/", {"code": "S", "given_name": "Asha", "family_name": "Rao"})["id"]
    given = {"student_id": student, "begins_on": "2026-01-01", "ends_on": day}
    admin.made(f"/api/groups/{group}/enrolments/", given)

    def roster(at):
        clock(at)
        # The second response comes from the process's memory, with the caller state that the process has cached.
        responses = [admin.get(f"/api/groups/{group}/roster/") for _ in range(2)]
        assert [response.status for response in responses] == [200, 200]
        assert responses[1].queries == []
        first, second = ([row["id"] for row in response.json["items"]] for response in responses)
        assert first == second
        return first

    assert roster(before) == [student]
    assert roster(last_hour) == [student]
    assert roster(next_day) == []


def test_a_cached_response_is_not_used_after_the_last_date_of_a_substitute(app, trusted, clock, sql):
    tenant = new_tenant(app, time_zone="UTC")
    admin, trainer, today = tenant.the(Role.ADMIN), tenant.the(Role.TRAINER), datetime.now(UTC).date()
    group = admin.made("/api/groups/", {"code": "B", "name": "Blue"})["id"]
    url, days = f"/api/groups/{group}/", {"first_date": str(today), "last_date": str(today)}
    admin.made(f"{url}substitutes/", {"trainer_id": str(trainer.user_id), **days})
    clock(f"{today}T10:00")
    first, cached = trainer.get(url), trainer.get(url)
    assert (first.status, cached.status, cached.queries) == (200, 200, [])

    # The database's clock cannot be moved, so the row moves instead, without a stamp.
    moved = "UPDATE group_substitutes SET first_date = first_date - 1, last_date = last_date - 1 WHERE group_id = %s"
    assert sql(f"{moved} RETURNING 1", group) == [(1,)]
    clock(f"{today}T23:59")
    assert (trainer.get(url).status, trainer.get(url).queries) == (200, [])
    clock(f"{today + timedelta(days=1)}T00:01")
    assert trainer.get(url).status == 404
