from datetime import datetime, timedelta

import pytest

from campshub.core.security.permissions import Role

DAY = timedelta(days=1)
SESSIONS = "/api/attendance/sessions/"


@pytest.fixture
def soon(today):
    return (today + DAY).weekday()


def shown(client, group, *, first, last):
    response = client.get(f"{group.url}timetable/?from={first}&to={last}")
    assert response.status == 200, response.raw.text
    return response.json["items"]


def kinds(rows):
    return [(row["kind"], row["local_date"]) for row in rows]


def test_a_timetable_shows_sessions_planned_meetings_and_holidays(timetable, api, today, soon):
    blue = timetable()
    calendar = api.made("/api/calendars/", {"name": "Year"})["id"]
    body = {"name": "Trip", "first_date": str(today + 22 * DAY), "last_date": str(today + 23 * DAY)}
    api.made(f"/api/calendars/{calendar}/holidays/", body)
    api.put(f"{blue.url}calendar/", {"calendar_id": calendar})
    meeting = blue.meeting(soon, place="Hall")
    extra = api.made(SESSIONS, {"group_id": blue.group, "local_date": str(today + 2 * DAY), "slot": "Extra"})

    rows = shown(api, blue, first=today + DAY, last=today + 30 * DAY)

    assert kinds(rows) == [
        ("session", str(today + DAY)),
        ("session", str(today + 2 * DAY)),
        ("session", str(today + 8 * DAY)),
        ("planned", str(today + 15 * DAY)),
        ("holiday", str(today + 22 * DAY)),
        ("planned", str(today + 29 * DAY)),
    ]
    first, second, *_ = rows
    assert (first["meeting_id"], first["place"], first["slot"]) == (meeting["id"], "Hall", "23:58")
    assert (second["session_id"], second["meeting_id"], second["place"]) == (extra["id"], None, None)
    assert (rows[3]["session_id"], rows[3]["place"], rows[3]["status"]) == (None, "Hall", None)
    assert (rows[4]["name"], rows[4]["last_date"]) == ("Trip", str(today + 23 * DAY))


def test_a_cancelled_session_is_shown_and_its_meeting_is_not_planned_again(timetable, api, today, soon):
    blue = timetable()
    blue.meeting(soon)
    first, _ = blue.sessions()
    api.patch(f"{SESSIONS}{first['id']}/", {"status": "cancelled"})

    rows = shown(api, blue, first=today + DAY, last=today + DAY)

    assert [(row["kind"], row["status"]) for row in rows] == [("session", "cancelled")]


def test_a_moved_session_is_shown_where_it_is_and_not_planned_where_it_was(timetable, api, today, soon):
    blue = timetable()
    blue.meeting(soon)
    first, _ = blue.sessions()
    moved = {"local_date": str(today + 3 * DAY), "starts_at": None, "ends_at": None}
    assert api.patch(f"{SESSIONS}{first['id']}/", moved).status == 200

    assert kinds(shown(api, blue, first=today + DAY, last=today + 2 * DAY)) == []
    assert kinds(shown(api, blue, first=today + 3 * DAY, last=today + 4 * DAY)) == [("session", str(today + 3 * DAY))]


def test_a_timetable_shows_two_weeks_from_today_and_a_hundred_days_at_most(timetable, today):
    blue = timetable()
    default = blue.api.get(f"{blue.url}timetable/").json
    assert (default["first_date"], default["last_date"]) == (str(today), str(today + 14 * DAY))

    for query in (f"from={today}&to={today - DAY}", f"from={today}&to={today + 101 * DAY}"):
        refused = blue.api.get(f"{blue.url}timetable/?{query}")
        assert (refused.status, refused.pointers) == (422, {"/to"})
    assert blue.api.get(f"{blue.url}timetable/?from={today}&to={today + 100 * DAY}").status == 200


def test_each_change_is_shown_at_once_although_the_timetable_is_cached(timetable, api, today, soon):
    blue = timetable()

    def rows():
        return kinds(shown(api, blue, first=today + DAY, last=today + 7 * DAY))

    assert rows() == []
    meeting = blue.meeting(soon)
    assert rows() == [("session", str(today + DAY))]
    calendar = api.made("/api/calendars/", {"name": "Year"})["id"]
    api.put(f"{blue.url}calendar/", {"calendar_id": calendar})
    api.made(f"/api/calendars/{calendar}/holidays/", {"name": "Trip", "first_date": str(today + 2 * DAY)})
    assert rows()[1:] == [("holiday", str(today + 2 * DAY))]
    blue.end(meeting)
    assert rows() == [("holiday", str(today + 2 * DAY))]


def test_clients_see_the_timetable_of_their_group_without_reasons(timetable, tenant, api, student, today, soon):
    client = tenant.the(Role.CLIENT)
    blue, other = timetable(), timetable()
    me = student(user_id=str(client.user_id))
    api.made(f"{blue.url}enrolments/", {"student_id": me["id"], "begins_on": str(today)})
    blue.meeting(soon)

    rows = shown(client, blue, first=today + DAY, last=today + 20 * DAY)

    assert kinds(rows) == [
        (kind, str(today + n * DAY)) for kind, n in (("session", 1), ("session", 8), ("planned", 15))
    ]
    assert client.get(f"{other.url}timetable/").status == 404
    assert tenant.the(Role.TRAINER).get(f"{blue.url}timetable/").status == 404
    assert tenant.the(Role.NUTRITIONIST).get(f"{blue.url}timetable/").status == 403


def test_local_times_follow_a_new_time_zone_and_what_was_changed_stays(timetable, api, today, soon):
    blue = timetable()
    blue.meeting(soon, start_time="12:00", end_time="13:00")
    first, second = blue.sessions()
    own = {"starts_at": f"{second['local_date']}T05:00:00Z", "ends_at": f"{second['local_date']}T06:00:00Z"}
    assert api.patch(f"{SESSIONS}{second['id']}/", own).status == 200

    assert api.patch("/api/organization/", {"time_zone": "Asia/Kathmandu"}).status == 200

    after = {one["id"]: datetime.fromisoformat(one["starts_at"]) for one in blue.sessions()}
    assert f"{after[first['id']]:%H:%M}" == "06:15"
    assert f"{after[second['id']]:%H:%M}" == "05:00"
