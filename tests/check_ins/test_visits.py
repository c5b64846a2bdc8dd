"""Visits of open gym: several a day, one at a time, ended automatically, and counted."""

import itertools
import threading
import uuid
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.check_ins.service import visits
from campshub.check_ins.service.folding import AutomaticEnd, fold
from campshub.core.db.unit_of_work import unit_of_work
from tests.check_ins.conftest import BULK, URL, event, moment

KOLKATA = ZoneInfo("Asia/Kolkata")
NOON = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)
FOUR_HOURS = AutomaticEnd(4, None, KOLKATA)


@pytest.fixture
def visits_of(sql):
    """Return a reader of a student's visits, as minutes from ``now``."""

    def read(student, now):
        rows = sql(
            "SELECT checked_in_at, checked_out_at, is_automatic FROM visits WHERE student_id = %s ORDER BY 1",
            uuid.UUID(student),
        )
        return [(minutes(a, now), minutes(b, now), is_automatic) for a, b, is_automatic in rows]

    return read


def minutes(at, now):
    return None if at is None else round((at - now).total_seconds() / 60)


def sent(client, student, now, *moments):
    for kind, offset in moments:
        body = event(None, student, kind=kind, at=now + timedelta(minutes=offset))
        response = client.post(URL, body)
        assert response.status == 200, response.raw.text
    return response


def test_several_visits_a_day_in_any_order(api, student, visits_of):
    moments, now = [("in", -200), ("out", -150), ("in", -100), ("out", -10)], moment()

    for order in itertools.permutations(moments):
        one = student()["id"]
        sent(api, one, now, *order)
        assert visits_of(one, now) == [(-200, -150, False), (-100, -10, False)], order


def test_an_event_of_a_visit_shows_the_visit_and_repeats_it(api, student):
    one = student()["id"]
    body = event(None, one)

    first, again = api.post(URL, body).json, api.post(URL, body).json

    assert (first["record"], first["session_id"], first["visit"]["id"]) == (None, None, body["id"])
    assert again == {**first, "outcome": "repeated"}


def test_a_second_check_in_belongs_to_the_visit(api, student, visits_of):
    one, now = student()["id"], moment()

    sent(api, one, now, ("in", -60), ("in", -30), ("out", -5), ("out", -2))

    assert visits_of(one, now) == [(-60, -2, False)]


def test_a_check_out_without_a_check_in_waits_for_it(api, student, visits_of):
    one, now = student()["id"], moment()

    assert sent(api, one, now, ("out", -5)).json["visit"] is None
    sent(api, one, now, ("in", -40))

    assert visits_of(one, now) == [(-40, -5, False)]


def test_two_check_ins_at_once_open_one_visit(api, student, kiosk, visits_of, sql):
    one, devices, gate = student()["id"], [kiosk() for _ in range(6)], threading.Barrier(6)

    def check_in(device):
        gate.wait()
        assert device.post(URL, event(None, one)).status == 200

    threads = [threading.Thread(target=check_in, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sql("SELECT count(*) FROM visits WHERE student_id = %s", uuid.UUID(one)) == [(1,)]
    assert sql("SELECT count(*) FROM check_in_events WHERE student_id = %s", uuid.UUID(one)) == [(6,)]


def test_a_forgotten_visit_is_ended_by_the_job_and_corrected_by_a_late_check_out(app, api, student, visits_of):
    forgotten, present, now = student()["id"], student()["id"], moment()
    sent(api, forgotten, now, ("in", -239))
    sent(api, present, now, ("in", -10))
    before = api.get("/api/attendance/occupancy/").json["present"]

    with app.app_context(), unit_of_work(system=True) as session:
        visits.end_forgotten(session, now=now + timedelta(minutes=2))

    assert visits_of(forgotten, now) == [(-239, 1, True)]
    assert visits_of(present, now) == [(-10, None, False)]
    assert (before, api.get("/api/attendance/occupancy/").json["present"]) == (2, 1)
    sent(api, forgotten, now, ("out", 3))
    assert visits_of(forgotten, now) == [(-239, 3, False)]


def test_a_visit_that_is_uploaded_late_is_ended_at_once(api, student, visits_of):
    one, now = student()["id"], moment()
    upload = {"events": [event(None, one, at=now - timedelta(hours=9)), event(None, one, at=now)]}

    response = api.post(BULK, upload)

    assert response.json["summary"]["created"] == 2
    assert visits_of(one, now) == [(-540, -300, True), (0, None, False)]


@pytest.mark.parametrize(
    ("arrived", "closes_at", "ends_after_minutes"),
    [
        (NOON, None, 240),
        (NOON, time(14), 120),  # it is noon in Kolkata
        (NOON, time(12), 240),  # closed since, so the hours decide
        (NOON + timedelta(hours=11), time(1), 120),  # 23:00, until 01:00 of the next day
    ],
)
def test_a_visit_ends_after_hours_or_at_closing(arrived, closes_at, ends_after_minutes):
    ends_at = AutomaticEnd(4, closes_at, KOLKATA).after(arrived)

    assert ends_at - arrived == timedelta(minutes=ends_after_minutes)


def test_a_check_in_after_the_automatic_end_begins_another_visit():
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    moments = [(NOON, "in", first), (NOON + timedelta(hours=5), "in", second)]

    found = fold(moments, FOUR_HOURS, NOON + timedelta(hours=6))

    assert [(one.id, one.is_automatic) for one in found] == [(first, True), (second, False)]
    assert found[0].checked_out_at == NOON + timedelta(hours=4)


def test_an_organization_sets_when_visits_end(api):
    changed = api.patch("/api/organization/", {"open_gym_hours": 2, "open_gym_closes_at": "22:00"})

    assert (changed.json["open_gym_hours"], changed.json["open_gym_closes_at"]) == (2, "22:00")
    for wrong in ("22", "24:00", "22:00:00"):
        assert api.patch("/api/organization/", {"open_gym_closes_at": wrong}).status == 422


def test_people_are_counted_in_each_local_hour(api, student, tenant):
    day = (datetime.now(UTC) - timedelta(days=2)).astimezone(KOLKATA).date()
    noon = datetime.combine(day, time(12), KOLKATA)
    for arrived, left in ((0, 30), (20, 150), (200, 210)):
        one = student()["id"]
        for kind, offset in (("in", arrived), ("out", left)):
            assert api.post(URL, event(None, one, kind=kind, at=noon + timedelta(minutes=offset))).status == 200

    items = api.get(f"/api/attendance/occupancy/hours/?from={day}&to={day}").json["items"]

    assert len(items) == 24
    assert {row["hour"]: row["people"] for row in items if row["people"]} == {12: 2, 13: 1, 14: 1, 15: 1}
    assert {row["local_date"] for row in items} == {str(day)}
    assert datetime.fromisoformat(items[12]["begins_at"]) == noon
    too_long = api.get(f"/api/attendance/occupancy/hours/?from={day}&to={day + timedelta(days=31)}")
    assert (too_long.status, too_long.pointers) == (422, {"/to"})
