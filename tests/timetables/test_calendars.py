from datetime import timedelta

import pytest

from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role

DAY = timedelta(days=1)
CALENDARS = "/api/calendars/"
JOB = "timetables.apply_calendar"


@pytest.fixture
def daily(timetable, today):
    """A group that meets on each weekday, in an organization that creates sessions for two weeks."""
    blue = timetable()
    for weekday in range(7):
        blue.meeting(weekday)
    return blue


@pytest.fixture
def year(api):
    """A calendar without terms and holidays."""
    return api.made(CALENDARS, {"name": "Year"})["id"]


def follow(group, calendar_id):
    response = group.api.put(f"{group.url}calendar/", {"calendar_id": calendar_id})
    assert response.status == 200, response.raw.text
    return response.json


def holiday(api, calendar_id, first_date, last_date=None, name="Trip"):
    body = {"name": name, "first_date": str(first_date), "last_date": last_date and str(last_date)}
    return api.made(f"{CALENDARS}{calendar_id}/holidays/", body)


def days(today, *numbers):
    return [str(today + number * DAY) for number in numbers]


def test_holidays_are_left_out(timetable, api, today, year):
    blue = timetable()
    holiday(api, year, today + 3 * DAY)
    holiday(api, year, today + 5 * DAY, today + 11 * DAY)
    follow(blue, year)
    for weekday in range(7):
        blue.meeting(weekday)

    found = set(blue.dates()) - {str(today)}

    assert found == set(days(today, 1, 2, 4, 12, 13, 14))


def test_dates_outside_of_the_terms_are_left_out(timetable, api, today, year):
    blue = timetable()
    for first, last in ((2, 4), (8, 9)):
        body = {"name": f"Term {first}", "first_date": days(today, first)[0], "last_date": days(today, last)[0]}
        api.made(f"{CALENDARS}{year}/terms/", body)
    follow(blue, year)
    for weekday in range(7):
        blue.meeting(weekday)

    assert blue.dates() == days(today, 2, 3, 4, 8, 9)


def test_a_group_that_begins_to_follow_a_calendar_loses_the_sessions_of_its_holidays(daily, api, today, year):
    holiday(api, year, today + 3 * DAY, today + 4 * DAY)

    followed = follow(daily, year)

    assert (followed["calendar_id"], followed["calendar_name"]) == (year, "Year")
    assert [one["local_date"] for one in followed["effects"]["removed"]] == days(today, 3, 4)
    assert set(days(today, 3, 4)).isdisjoint(daily.dates())
    assert follow(daily, year)["effects"] == {"created": [], "moved": [], "removed": [], "left": []}
    stopped = follow(daily, None)
    assert stopped["calendar_id"] is None
    assert [one["local_date"] for one in stopped["effects"]["created"]] == days(today, 3, 4)


def test_a_job_applies_a_change_of_the_calendar_to_all_groups_that_follow_it(
    daily, timetable, api, today, year, run_jobs
):
    other, third = timetable(), daily.api.made(CALENDARS, {"name": "Other"})["id"]
    other.meeting((today + 3 * DAY).weekday())
    follow(daily, year)
    follow(other, third)
    kept = daily.sessions()[3]
    marked = next(one for one in daily.sessions() if one["local_date"] == str(today + 4 * DAY))
    assert api.post(f"/api/attendance/sessions/{marked['id']}/submit/").status == 200

    made = holiday(api, year, today + 3 * DAY, today + 4 * DAY)
    assert kept["id"] in {one["id"] for one in daily.sessions()}
    assert run_jobs(JOB) == [Outcome.DONE]

    assert str(today + 3 * DAY) not in daily.dates()
    assert str(today + 4 * DAY) in daily.dates()  # its register is submitted
    assert str(today + 3 * DAY) in other.dates()
    url = f"{CALENDARS}{year}/holidays/{made['id']}/"
    assert api.patch(url, {"first_date": str(today + 4 * DAY)}).status == 200
    assert run_jobs(JOB) == [Outcome.DONE]
    assert str(today + 3 * DAY) in daily.dates()
    assert api.delete(url).status == 204
    assert run_jobs(JOB) == [Outcome.DONE]
    assert api.get(url).status == 404


def test_a_calendar_that_a_group_follows_cannot_be_deleted(timetable, api, today, year):
    blue = timetable()
    holiday(api, year, today)
    api.made(f"{CALENDARS}{year}/terms/", {"name": "T", "first_date": str(today), "last_date": str(today)})
    follow(blue, year)

    refused = api.delete(f"{CALENDARS}{year}/")
    assert (refused.status, refused.problem["code"]) == (409, "calendar_in_use")
    follow(blue, None)
    assert api.delete(f"{CALENDARS}{year}/").status == 204
    assert api.get(f"{CALENDARS}{year}/terms/").status == 404


def test_calendars_and_their_days_are_listed(timetable, api, year):
    blue, other = timetable(), api.made(CALENDARS, {"name": "Another"})["id"]
    follow(blue, year)
    first = holiday(api, year, "2026-12-25", "2026-12-26", "Christmas")["id"]
    second = holiday(api, year, "2027-01-26")["id"]
    url = f"{CALENDARS}{year}/holidays/"

    def ids(address):
        return [one["id"] for one in api.get(address).json["items"]]

    assert ids(CALENDARS) == [other, year]
    assert ids(f"{CALENDARS}?group_id={blue.group}") == [year]
    assert ids(url) == [first, second]
    assert ids(f"{url}?from=2026-12-26&to=2027-01-25") == [first]
    assert ids(f"{url}?from=2026-12-27") == [second]
    assert api.get(f"{url}{second}/").json["last_date"] == "2027-01-26"
    assert api.get(f"{CALENDARS}{other}/holidays/{first}/").status == 404


@pytest.mark.parametrize("kind", ["terms", "holidays"])
def test_the_last_date_is_not_before_the_first(api, year, kind):
    url, body = f"{CALENDARS}{year}/{kind}/", {"name": "T", "first_date": "2027-01-02", "last_date": "2027-01-01"}
    refused = api.post(url, body)
    made = api.made(url, {**body, "last_date": "2027-01-03"})
    changed = api.patch(f"{url}{made['id']}/", {"first_date": "2027-01-04"})

    for response in (refused, changed):
        assert (response.status, response.pointers) == (422, {"/last_date"})


def test_two_calendars_do_not_have_one_name(api, year):
    taken = api.post(CALENDARS, {"name": "YEAR"})
    assert (taken.status, taken.problem["code"]) == (409, "name_taken")
    other = api.made(CALENDARS, {"name": "Other"})
    assert api.patch(f"{CALENDARS}{other['id']}/", {"name": "Year"}).status == 409
    assert api.patch(f"{CALENDARS}{other['id']}/", {"name": "Next year"}).json["name"] == "Next year"


def test_an_unknown_calendar_and_a_group_that_is_not_seen_are_refused(timetable, tenant, year):
    blue = timetable()
    refused = blue.api.put(f"{blue.url}calendar/", {"calendar_id": blue.group})

    assert (refused.status, refused.pointers) == (422, {"/calendar_id"})
    trainer = tenant.the(Role.TRAINER)
    assert trainer.get(f"{blue.url}calendar/").status == 404
    assert trainer.get(f"{CALENDARS}{year}/").status == 200
    assert trainer.put(f"{blue.url}calendar/", {"calendar_id": year}).status == 403
