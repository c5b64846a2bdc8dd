from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role

DAY = timedelta(days=1)
SESSIONS = "/api/attendance/sessions/"


@pytest.fixture
def soon(today):
    """Return the weekday of tomorrow, on which a meeting has two sessions in the usual fourteen days."""
    return (today + DAY).weekday()


def shown(rows):
    return [row["local_date"] for row in rows]


def test_a_new_meeting_creates_the_sessions_of_the_coming_days(timetable, today, soon):
    blue = timetable()
    meeting = blue.meeting(soon, start_time="09:00", end_time="10:30", place="Hall")

    found = blue.sessions()

    assert shown(found) == [str(today + DAY), str(today + 8 * DAY)]
    zone = ZoneInfo("Asia/Kolkata")
    for one in found:
        start, end = (datetime.fromisoformat(one[name]).astimezone(zone) for name in ("starts_at", "ends_at"))
        assert (f"{start:%Y-%m-%d %H:%M}", f"{end:%H:%M}") == (f"{one['local_date']} 09:00", "10:30")
        assert (one["slot"], one["status"], one["meeting_id"]) == ("09:00", "scheduled", meeting["id"])
        assert one["planned_on"] == one["local_date"]
        assert one["submitted_by"] is None


def test_the_organization_decides_how_far_ahead_sessions_are_created(api, timetable, generate, today, soon):
    blue = timetable()
    blue.meeting(soon)
    assert len(blue.dates()) == 2

    assert api.patch("/api/organization/", {"session_days_ahead": 60}).status == 200

    assert generate() == 7
    assert blue.dates() == [str(today + DAY + n * 7 * DAY) for n in range(9)]
    assert generate() == 0
    refused = api.patch("/api/organization/", {"session_days_ahead": 61})
    assert (refused.status, refused.pointers) == (422, {"/session_days_ahead"})


def test_a_group_meets_several_times_a_day_in_different_slots(timetable, soon):
    blue = timetable()
    blue.meeting(soon, start_time="09:00", end_time="10:00")
    blue.meeting(soon, start_time="17:00", end_time="18:00", slot="Evening")

    assert [one["slot"] for one in blue.sessions()] == ["09:00", "Evening"] * 2


def test_a_slot_of_a_weekday_belongs_to_one_meeting(timetable, soon):
    blue = timetable()
    first = blue.meeting(soon, last_date="2020-12-31")
    url, body = f"{blue.url}meetings/", {"weekday": soon, "start_time": "23:58", "end_time": "23:59"}

    taken = blue.api.post(url, {**body, "first_date": "2020-12-31"})

    assert (taken.status, taken.problem["code"]) == (409, "slot_taken")
    assert taken.problem["present"]["id"] == first["id"]
    assert blue.api.post(url, {**body, "first_date": "2021-01-01"}).status == 201
    assert blue.api.post(url, {**body, "first_date": "2020-12-31", "slot": "Late"}).status == 201
    assert blue.api.post(url, {**body, "first_date": "2020-12-31", "weekday": (soon + 1) % 7}).status == 201


def test_every_second_week_and_a_night_across_midnight(timetable, api, today, soon, generate):
    api.patch("/api/organization/", {"session_days_ahead": 42})
    blue = timetable()
    blue.meeting(soon, weeks="second", anchor_date=str(today + 8 * DAY))

    found = blue.sessions()

    assert shown(found) == [str(today + n * DAY) for n in (8, 22, 36)]
    end = datetime.fromisoformat(found[0]["ends_at"]).astimezone(ZoneInfo("Asia/Kolkata"))
    assert end.date() == today + 9 * DAY


def test_odd_and_even_weeks_take_turns(timetable, api, today, soon):
    api.patch("/api/organization/", {"session_days_ahead": 40})
    blue = timetable()
    blue.meeting(soon, weeks="odd", slot="Odd")
    blue.meeting(soon, weeks="even", slot="Even")

    found = blue.sessions()

    assert shown(found) == [str(today + DAY + n * 7 * DAY) for n in range(6)]
    weeks = [datetime.fromisoformat(one["local_date"]).isocalendar().week % 2 for one in found]
    assert [one["slot"] == "Odd" for one in found] == [week == 1 for week in weeks]


def test_dates_outside_of_the_groups_dates_are_left_out(timetable, today, soon):
    blue = timetable(begins_on=str(today + 5 * DAY), ends_on=str(today + 12 * DAY))
    blue.meeting(soon)

    assert blue.dates() == [str(today + 8 * DAY)]


@pytest.mark.parametrize("change", [{"status": "archived"}, {"status": "draft"}])
def test_a_group_that_is_not_active_gets_no_sessions(timetable, soon, generate, change):
    blue = timetable()
    blue.meeting(soon)
    blue.end(blue.meeting(soon, slot="A"))  # whose sessions are gone
    white = timetable(**change)
    response = white.api.post(
        f"{white.url}meetings/",
        {"weekday": soon, "start_time": "09:00", "end_time": "10:00", "first_date": "2020-01-01"},
    )

    assert response.status == (409 if change["status"] == "archived" else 201)
    assert generate() == 0
    assert (white.dates(), len(blue.dates())) == ([], 2)


def test_a_deleted_group_gets_no_sessions(timetable, api, soon, generate):
    blue = timetable()
    api.patch("/api/organization/", {"session_days_ahead": 0})
    blue.meeting(soon)
    api.patch("/api/organization/", {"session_days_ahead": 14})
    api.delete(blue.url)

    assert generate() == 0


def test_a_cancelled_session_stays_cancelled(timetable, soon, generate, api):
    blue = timetable()
    blue.meeting(soon)
    first, second = blue.sessions()
    assert api.patch(f"{SESSIONS}{first['id']}/", {"status": "cancelled"}).status == 200

    assert generate() == 0
    assert blue.dates() == [second["local_date"]]


def test_a_session_that_someone_created_in_the_slot_counts_whatever_its_status(timetable, api, today, soon, generate):
    blue = timetable()
    slots = [{"group_id": blue.group, "local_date": str(today + n * DAY), "slot": "23:58"} for n in (1, 8)]
    cancelled, held = (api.made(SESSIONS, one) for one in slots)
    api.patch(f"{SESSIONS}{cancelled['id']}/", {"status": "cancelled"})

    blue.meeting(soon)

    assert generate() == 0
    assert {one["id"] for one in blue.sessions()} == {cancelled["id"], held["id"]}


def test_a_session_that_was_moved_is_not_created_again(timetable, api, today, soon, generate):
    blue = timetable()
    blue.meeting(soon)
    first, _ = blue.sessions()
    moved = {"local_date": str(today + 3 * DAY), "starts_at": None, "ends_at": None}
    assert api.patch(f"{SESSIONS}{first['id']}/", moved).status == 200

    assert generate() == 0
    assert blue.dates() == [str(today + 3 * DAY), str(today + 8 * DAY)]


def test_a_repeated_create_returns_the_same_meeting(timetable, soon, generate):
    blue = timetable()
    body = {"weekday": soon, "start_time": "09:00", "end_time": "10:00", "first_date": "2020-01-06"}
    body["id"] = "0192f8a0-7c3e-7b1a-9d2e-3f4a5b6c7d8e"
    first, second = (blue.api.post(f"{blue.url}meetings/", body) for _ in range(2))

    assert (first.status, second.status) == (201, 200)
    assert first.json == second.json
    assert len(blue.dates()) == 2


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"end_time": "23:58"}, "/end_time", "no_length"),
        ({"start_time": "24:00"}, "/start_time", "invalid"),
        ({"start_time": "9:00"}, "/start_time", "invalid"),
        ({"last_date": "2020-01-05"}, "/last_date", "last_before_first"),
        ({"weekday": 7}, "/weekday", "invalid"),
        ({"weeks": "third"}, "/weeks", "invalid"),
        ({"trainer_ids": ["0192f8a0-7c3e-7b1a-9d2e-3f4a5b6c7d8e"]}, "/trainer_ids/0", "unknown_reference"),
    ],
)
def test_a_meeting_that_does_not_fit_is_refused(timetable, fields, pointer, code):
    blue = timetable()
    body = {"weekday": 0, "start_time": "23:58", "end_time": "01:00", "first_date": "2020-01-06", **fields}

    refused = blue.api.post(f"{blue.url}meetings/", body)

    assert (refused.status, refused.pointers) == (422, {pointer})
    assert refused.problem["errors"][0]["code"] == code


def test_meetings_are_listed_by_weekday_with_the_versions_of_a_date(timetable, tenant, today):
    blue = timetable()
    trainer = str(tenant.the(Role.TRAINER).user_id)
    late = blue.meeting(4, start_time="18:00", end_time="19:00", trainer_ids=[trainer])
    early = blue.meeting(1, start_time="07:00", end_time="08:00", last_date="2020-12-31")
    url = f"{blue.url}meetings/"

    assert [one["id"] for one in blue.api.get(url).json["items"]] == [early["id"], late["id"]]
    assert [one["id"] for one in blue.api.get(f"{url}?on={today}").json["items"]] == [late["id"]]
    assert [one["id"] for one in blue.api.get(f"{url}?series_id={late['id']}").json["items"]] == [late["id"]]
    assert blue.api.get(f"{url}{late['id']}/").json["trainer_ids"] == [trainer]


def test_trainers_see_the_meetings_of_their_groups_only_and_cannot_change_them(timetable, tenant, soon):
    trainer = tenant.the(Role.TRAINER)
    mine, another = timetable(trainer_ids=[str(trainer.user_id)]), timetable()
    meetings = [one.meeting(soon) for one in (mine, another)]
    urls = [f"{one.url}meetings/{meeting['id']}/" for one, meeting in zip((mine, another), meetings, strict=True)]

    assert [trainer.get(url).status for url in urls] == [200, 404]
    assert [trainer.get(f"{one.url}meetings/").status for one in (mine, another)] == [200, 404]
    assert trainer.post(f"{urls[0]}end/", {"from_date": "2199-01-01"}).status == 403


def test_a_planned_session_is_cancelled_instead_of_deleted(timetable, api, soon, generate):
    blue = timetable()
    blue.meeting(soon)
    first, second = blue.sessions()

    refused = api.delete(f"{SESSIONS}{first['id']}/")
    assert (refused.status, refused.problem["code"]) == (409, "session_planned")
    assert api.post(f"{SESSIONS}{first['id']}/cancel/", {"reason": "Rain"}).status == 200
    assert generate() == 0
    assert blue.dates() == [second["local_date"]]
