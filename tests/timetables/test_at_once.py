"""Generators and changes that run at the same moment."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from campshub.timetables.queries import schedules
from campshub.timetables.service import ahead, generation
from tests.waiting import until

DAY = timedelta(days=1)
WORKERS = 6
TABLES = {"meeting": "FROM groups", "calendar": "FROM groups", "holiday": "FROM calendars"}
WAITING = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s AND query LIKE '%%FOR UPDATE%%'"
)


@pytest.fixture
def generate_at_once(app, tenant):
    """Return a function that runs generators at the same moment and returns how many sessions each created."""

    def run(workers=WORKERS, beside=()):
        gate = threading.Barrier(workers + len(beside))

        def one(_number):
            with app.app_context():
                gate.wait()
                return ahead.create_all(tenant.id)

        def other(call):
            gate.wait()
            return call()

        with ThreadPoolExecutor(workers + len(beside)) as pool:
            others = [pool.submit(other, call) for call in beside]
            counts = list(pool.map(one, range(workers)))
            responses = [future.result() for future in others]
        assert {failed for _, failed in counts} == {0}
        return [created for created, _ in counts], responses

    return run


def test_generators_at_once_create_each_session_once(api, timetable, generate_at_once, today):
    api.patch("/api/organization/", {"session_days_ahead": 0})
    groups = [timetable() for _ in range(4)]
    for group in groups:
        for weekday in range(7):
            group.meeting(weekday)
    before = sum(len(group.sessions()) for group in groups)
    api.patch("/api/organization/", {"session_days_ahead": 60})

    counts, _ = generate_at_once()

    found = [(one["group_id"], one["local_date"]) for group in groups for one in group.sessions()]
    assert set(Counter(found).values()) == {1}
    assert sum(counts) == len(found) - before
    assert {day for _, day in found} >= {str(today + n * DAY) for n in range(1, 61)}


def test_a_change_beside_generators_leaves_one_session_in_each_week(api, tenant, timetable, generate_at_once, today):
    api.patch("/api/organization/", {"session_days_ahead": 60})
    blue, monday = timetable(), today + (7 - today.weekday()) * DAY
    admins = [tenant.someone(Role.ADMIN) for _ in range(3)]
    meeting = blue.meeting(2, first_date=str(monday))
    for weekday in (4, 1, 3):
        url = f"{blue.url}meetings/{meeting['id']}/change/"
        body = {"from_date": str(monday), "weekday": weekday}

        _, responses = generate_at_once(3, [partial(who.post, url, body) for who in admins])

        assert sorted(response.status for response in responses) == [200, 409, 409]
        (changed,) = (response for response in responses if response.status == 200)
        meeting = changed.json["meeting"]
        days = [date.fromisoformat(day) for day in blue.dates()]
        assert {day.weekday() for day in days} == {weekday}
        assert len({day.isocalendar()[:2] for day in days}) == len(days) >= 7


@pytest.mark.parametrize("kind", ["meeting", "calendar", "holiday"])
def test_a_change_waits_for_a_generator_that_has_read_the_plan(app, api, tenant, timetable, today, sql, kind, run_jobs):
    blue, day = timetable(), today + DAY
    api.patch("/api/organization/", {"session_days_ahead": 0})
    meeting = blue.meeting(day.weekday())
    calendar = api.made("/api/calendars/", {"name": "Year"})["id"]
    free = {"name": "Free", "first_date": str(day)}
    if kind == "holiday":
        api.put(f"{blue.url}calendar/", {"calendar_id": calendar})
    else:
        api.made(f"/api/calendars/{calendar}/holidays/", free)
    api.patch("/api/organization/", {"session_days_ahead": 7})
    change = {
        "meeting": lambda: blue.end(meeting),
        "calendar": lambda: api.put(f"{blue.url}calendar/", {"calendar_id": calendar}),
        "holiday": lambda: api.post(f"/api/calendars/{calendar}/holidays/", free),
    }[kind]

    with ThreadPoolExecutor(1) as pool, app.app_context():
        with unit_of_work(organization_id=tenant.id) as session:
            schedules.lock_schedules(session, [UUID(blue.group)])
            future = pool.submit(change)
            until(lambda: future.done() or sql(WAITING, f"%{TABLES[kind]}%"))
            assert not future.done()
            window = generation.window_of(session, datetime.now(UTC))
            created = generation.create_ahead(session, [UUID(blue.group)], window)
        assert future.result().status in (200, 201)
    run_jobs("timetables.apply_calendar")

    assert [row["local_date"] for row in created] == [day]
    assert str(day) not in blue.dates()
