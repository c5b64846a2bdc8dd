"""A change of the plan moves only future sessions without marks, and reports the others."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role

DAY = timedelta(days=1)
SESSIONS = "/api/attendance/sessions/"
ZONE = ZoneInfo("Asia/Kolkata")


@pytest.fixture
def monday(today):
    """Return the Monday of next week: all of that week is in the future and within the usual fourteen days."""
    return today + (7 - today.weekday()) * DAY


@pytest.fixture
def weekly(api, timetable, monday):
    """A group that meets on Wednesdays, with the sessions of four weeks from next week on."""
    api.patch("/api/organization/", {"session_days_ahead": 35})
    blue = timetable()
    meeting = blue.meeting(2, start_time="09:00", end_time="10:00", slot="Main", first_date=str(monday))
    assert blue.dates()[:4] == [str(monday + (2 + 7 * n) * DAY) for n in range(4)]
    return blue, meeting


def mark(api, blue, session, student):
    enrolment = {"student_id": student["id"], "begins_on": "2020-01-01"}
    assert api.post(f"{blue.url}enrolments/", enrolment).status in (200, 201, 409)
    row = {"student_id": student["id"], "code": "present"}
    assert api.put(f"{SESSIONS}{session['id']}/records/", {"records": [row]}).status == 200


def why(response):
    return {row["local_date"]: row["why"] for row in response.json["effects"]["left"]}


def dates(response, kind):
    return [row["local_date"] for row in response.json["effects"][kind]]


def test_a_change_from_a_date_on_moves_the_sessions_after_it(weekly, monday):
    blue, meeting = weekly
    before = {one["local_date"]: one["id"] for one in blue.sessions()}
    from_date = monday + 7 * DAY

    changed = blue.change(meeting, from_date=str(from_date), weekday=4, start_time="17:00", end_time="18:00", place="B")

    assert changed.status == 200
    old = blue.api.get(f"{blue.url}meetings/{meeting['id']}/").json
    new = changed.json["meeting"]
    assert (old["last_date"], new["first_date"]) == (str(from_date - DAY), str(from_date))
    assert (new["series_id"], new["slot"], new["place"], new["weekday"]) == (meeting["id"], "Main", "B", 4)
    after = blue.sessions()
    assert [one["local_date"] for one in after[:2]] == [str(monday + 2 * DAY), str(from_date + 4 * DAY)]
    assert (after[0]["meeting_id"], after[1]["meeting_id"]) == (meeting["id"], new["id"])
    # The session of the same week is the same row.
    assert after[1]["id"] == before[str(from_date + 2 * DAY)]
    start = datetime.fromisoformat(after[1]["starts_at"]).astimezone(ZONE)
    assert (start.date(), f"{start:%H:%M}") == (from_date + 4 * DAY, "17:00")
    moved = changed.json["effects"]["moved"]
    assert moved[0]["from_date"] == str(from_date + 2 * DAY)
    assert len(moved) == len(before) - 1 or dates(changed, "removed")
    assert dates(changed, "left") == []


def test_sessions_with_marks_and_closed_or_changed_ones_are_left_and_reported(weekly, api, student, monday, generate):
    blue, meeting = weekly
    wednesdays = [monday + (2 + 7 * n) * DAY for n in range(4)]
    first, second, third, fourth = blue.sessions()[:4]
    asha = student()
    mark(api, blue, first, asha)
    assert api.patch(f"{SESSIONS}{second['id']}/", {"status": "cancelled"}).status == 200
    assert api.patch(f"{SESSIONS}{third['id']}/", {"slot": "Other"}).status == 200
    assert api.post(f"{SESSIONS}{fourth['id']}/submit/").status == 200

    changed = blue.change(meeting, from_date=str(monday), weekday=3)

    reasons = {
        str(day): reason
        for day, reason in zip(wednesdays, ("has_marks", "cancelled", "changed", "submitted"), strict=True)
    }
    assert why(changed) == reasons
    kept = {one["id"]: one for one in blue.sessions()}
    for one in (first, second, third, fourth):
        assert kept[one["id"]]["local_date"] == one["local_date"]
    # Those weeks have had their session: no second one is created on Thursday.
    assert generate() == 0
    thursdays = {str(day + DAY) for day in wednesdays}
    assert thursdays.isdisjoint(blue.dates())


def test_notes_do_not_hold_a_session_back(weekly, api, monday):
    blue, meeting = weekly
    first = blue.sessions()[0]
    api.patch(f"{SESSIONS}{first['id']}/", {"notes": "Bring water.", "status": "open"})

    changed = blue.change(meeting, from_date=str(monday), weekday=3)

    assert dates(changed, "left") == []
    assert api.get(f"{SESSIONS}{first['id']}/").json["local_date"] == str(monday + 3 * DAY)


def test_a_session_is_not_moved_into_a_slot_that_is_taken(weekly, api, monday):
    blue, meeting = weekly
    body = {"group_id": blue.group, "local_date": str(monday + 3 * DAY), "slot": "Main"}
    api.made(SESSIONS, body)

    changed = blue.change(meeting, from_date=str(monday), weekday=3)

    assert why(changed) == {str(monday + 2 * DAY): "session_exists"}
    assert str(monday + 10 * DAY) in dates(changed, "moved")


def test_an_ended_meeting_removes_its_open_sessions(weekly, api, student, monday, generate):
    blue, meeting = weekly
    first, *_ = blue.sessions()
    mark(api, blue, first, student())

    ended = blue.end(meeting, monday)

    assert ended.json["meeting"]["last_date"] == str(monday - DAY)
    assert why(ended) == {first["local_date"]: "has_marks"}
    assert len(dates(ended, "removed")) >= 3
    assert blue.dates() == [first["local_date"]]
    assert generate() == 0
    again = blue.end(meeting, monday)
    assert (again.status, again.problem["code"]) == (409, "meeting_ended")


def test_a_meeting_in_every_second_week_loses_the_sessions_between(weekly, monday):
    blue, meeting = weekly

    changed = blue.change(meeting, from_date=str(monday), weeks="second")

    assert dates(changed, "removed")[:2] == [str(monday + 9 * DAY), str(monday + 23 * DAY)]
    assert dates(changed, "moved") == []  # linked to the new version, at the same time
    more = blue.change(changed.json["meeting"], from_date=str(monday), weeks="every")
    assert dates(more, "created")[:2] == [str(monday + 9 * DAY), str(monday + 23 * DAY)]


def test_a_change_concerns_only_its_own_meeting(weekly, monday):
    blue, meeting = weekly
    blue.meeting(0, slot="Other", first_date=str(monday))
    others = [one for one in blue.sessions() if one["slot"] == "Other"]

    blue.end(meeting, monday)

    assert blue.sessions() == others


def test_the_past_cannot_be_changed(weekly, today):
    blue, meeting = weekly
    for response in (blue.change(meeting, from_date=str(today - DAY)), blue.end(meeting, today - DAY)):
        assert (response.status, response.pointers) == (422, {"/from_date"})
        assert response.problem["errors"][0]["code"] == "from_in_past"


def test_a_change_needs_the_version_that_the_caller_read(weekly):
    blue, meeting = weekly
    url = f"{blue.url}meetings/{meeting['id']}/change/"
    body = {"from_date": str(blue.today + DAY), "place": "B"}

    assert blue.api.post(url, body, headers={"If-Match": '"7"'}).status == 412
    assert blue.api.post(url, body, headers={"If-Match": f'"{meeting["version"]}"'}).status == 200


def test_a_slot_that_another_meeting_has_is_refused_and_nothing_changes(weekly, monday):
    blue, meeting = weekly
    other = blue.meeting(3, slot="Main")
    before = blue.sessions()

    refused = blue.change(meeting, from_date=str(monday), weekday=3)

    assert (refused.status, refused.problem["code"]) == (409, "slot_taken")
    assert refused.problem["present"]["id"] == other["id"]
    assert blue.api.get(f"{blue.url}meetings/{meeting['id']}/").json["last_date"] is None
    assert blue.sessions() == before


def test_the_audit_log_names_who_moved_a_session(weekly, api, monday):
    blue, meeting = weekly
    first = blue.sessions()[0]
    blue.change(meeting, from_date=str(monday), weekday=3)

    entries = api.get(f"/api/audit/?entity=attendance_sessions&entity_id={first['id']}").json["items"]

    assert [one["action"] for one in entries][:2] == ["changed", "created"]
    assert entries[0]["after"]["local_date"] == str(monday + 3 * DAY)


def test_trainers_and_others_may_not_change_the_plan(weekly, tenant):
    blue, meeting = weekly
    url = f"{blue.url}meetings/{meeting['id']}/end/"
    for role in (Role.TRAINER, Role.NUTRITIONIST, Role.CLIENT):
        assert tenant.the(role).post(url, {"from_date": "2199-01-01"}).status == 403
