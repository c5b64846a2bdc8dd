"""Lists filtered by the time of the last change."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

LONG_AGO, NEVER = "2000-01-01T00:00:00Z", "2199-01-01T00:00:00Z"


@pytest.fixture
def lists(api, group, student, enrol, meeting, mark, today):
    """Each list that has the filter, with one row in it."""
    blue, person = group()["id"], student()["id"]
    enrol(blue, person)
    met = meeting(blue)["id"]
    mark(met, person)
    log = {"student_id": person, "started_at": (datetime.now(UTC) - timedelta(hours=3)).isoformat(), "time_zone": "UTC"}
    api.made("/api/workout-logs/", log)
    return [
        *("/api/students/?", "/api/groups/?", f"/api/groups/{blue}/enrolments/?", "/api/attendance/sessions/?"),
        *(f"/api/groups/{blue}/sessions/?", f"/api/attendance/records/?from={today}&", "/api/workout-logs/?"),
    ]


def test_lists_have_rows_changed_at_or_after_an_instant(api, lists):
    for url in lists:
        (row,) = api.get(url).json["items"]
        changed_at = quote(row["updated_at"])

        assert [one["id"] for one in api.get(f"{url}updated_from={changed_at}").json["items"]] == [row["id"]], url
        assert len(api.get(f"{url}updated_from={LONG_AGO}").json["items"]) == 1, url
        assert api.get(f"{url}updated_from={NEVER}").json["items"] == [], url
