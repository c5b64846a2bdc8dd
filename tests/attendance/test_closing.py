"""Registers that are submitted and locked after the times that the organization has set."""

from datetime import UTC, datetime, timedelta

import pytest

from campshub.attendance.service import closing
from campshub.core.security.permissions import Role

ORGANIZATION = "/api/organization/"


@pytest.fixture
def close(app):
    """Return a function that closes the registers as the job does at a point in time."""

    def closed(now):
        with app.app_context():
            return closing.close_registers(now)

    return closed


@pytest.fixture
def marked(a_class):
    """Return a class with a mark whose session has ended, and the end."""
    starts = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
    starts = starts.replace(hour=5, minute=0, second=0)  # 10:30 in India, on the same date
    ends = starts + timedelta(hours=1)
    roster = a_class(2, on=starts.date(), starts_at=starts.isoformat(), ends_at=ends.isoformat())
    roster.mark("late")
    return roster, ends


def status(roster):
    return roster.api.get(roster.url).json["status"]


def test_nothing_is_closed_without_a_setting(api, marked, close):
    roster, ends = marked
    close(ends + timedelta(days=400))
    assert status(roster) == "scheduled"
    assert api.get(ORGANIZATION).json["submit_after_hours"] is None


def test_a_register_is_submitted_once_after_the_time(api, marked, close):
    roster, ends = marked
    api.patch(ORGANIZATION, {"submit_after_hours": 4})

    close(ends + timedelta(hours=4) - timedelta(seconds=1))
    before = status(roster)
    close(ends + timedelta(hours=4))
    submitted = api.get(roster.url).json
    close(ends + timedelta(hours=5))

    assert before == "scheduled"
    assert (submitted["status"], submitted["submitted_by"]) == ("submitted", None)
    assert api.get(roster.url).json == submitted
    entry = api.get("/api/audit/?entity=attendance_sessions&action=changed").json["items"][0]
    assert (entry["user_id"], entry["reason"]) == (None, "Submitted automatically after 4 hours.")
    assert entry["after"]["status"] == "submitted"


def test_a_register_without_a_mark_is_not_submitted_but_locked(api, a_class, close, today):
    roster = a_class(1, on=today - timedelta(days=9))
    api.patch(ORGANIZATION, {"submit_after_hours": 1, "lock_after_days": 3})
    end = datetime.now(UTC) - timedelta(days=8)

    close(end + timedelta(days=2))
    before = status(roster)
    close(end + timedelta(days=5))

    assert (before, status(roster)) == ("scheduled", "locked")


def test_a_locked_register_needs_the_permission(api, tenant, a_class, close, today):
    trainer = tenant.the(Role.TRAINER)
    roster = a_class(1, trainer=trainer, on=today - timedelta(days=9))
    roster.mark("late")
    api.post(f"{roster.url}submit/")
    submitted = api.get(roster.url).json
    api.patch(ORGANIZATION, {"lock_after_days": 3})
    close(datetime.now(UTC))

    locked = api.get(roster.url).json
    assert (locked["status"], locked["submitted_by"]) == ("locked", submitted["submitted_by"])
    assert roster.mark("absent", api=trainer, overwrite=True, reason="Wrong.").status == 409


def test_a_reopened_register_is_closed_again_only_after_the_time(api, marked, close):
    roster, ends = marked
    api.patch(ORGANIZATION, {"submit_after_hours": 4, "lock_after_days": 90})
    close(ends + timedelta(hours=5))
    assert status(roster) == "submitted"
    api.post(f"{roster.url}reopen/")
    reopened = datetime.now(UTC)

    close(reopened + timedelta(hours=3))
    before = status(roster)
    close(reopened + timedelta(hours=4, minutes=1))

    assert (before, status(roster)) == ("open", "submitted")


def test_a_cancelled_session_stays_cancelled(api, a_class, close, today):
    roster = a_class(1, on=today - timedelta(days=9))
    api.patch(roster.url, {"status": "cancelled"})
    api.patch(ORGANIZATION, {"submit_after_hours": 1, "lock_after_days": 1})
    close(datetime.now(UTC))
    assert status(roster) == "cancelled"


def test_registers_of_a_suspended_organization_and_of_others_stay_open(api, marked, close, tenant, sql, other):
    _, ends = marked
    api.patch(ORGANIZATION, {"submit_after_hours": 1})
    other.the(Role.ADMIN).patch(ORGANIZATION, {"lock_after_days": 1})
    sql("UPDATE organizations SET status = 'suspended' WHERE id = %s RETURNING id", tenant.id)
    close(ends + timedelta(days=2))

    found = sql("SELECT status FROM attendance_sessions WHERE organization_id = %s", tenant.id)
    assert found == [("scheduled",)]


@pytest.mark.parametrize("values", [{"submit_after_hours": 0}, {"submit_after_hours": 721}, {"lock_after_days": 366}])
def test_times_out_of_range_are_refused(api, values):
    assert api.patch(ORGANIZATION, values).status == 422
    assert api.patch(ORGANIZATION, dict.fromkeys(values)).status == 200
