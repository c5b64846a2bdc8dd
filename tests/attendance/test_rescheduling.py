from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

SESSIONS = "/api/attendance/sessions/"
DAY = timedelta(days=1)
WHY = {"reason": "The hall is closed."}


@pytest.fixture
def open_class(a_class, today):
    """A group with a session of tomorrow, at noon."""
    return a_class(2, on=today + DAY, starts_at=f"{today + DAY}T06:30:00Z", ends_at=f"{today + DAY}T08:00:00Z")


def latest(api, session):
    return api.get(f"/api/audit/?entity=attendance_sessions&entity_id={session}").json["items"][0]


def test_a_session_is_cancelled_for_a_reason_that_the_audit_log_has_too(open_class, api):
    first, second = (api.post(f"{open_class.url}cancel/", WHY) for _ in range(2))

    assert (first.status, first.json["status"], first.json["reason"]) == (200, "cancelled", WHY["reason"])
    assert (second.status, second.json["version"]) == (200, first.json["version"])
    entry = latest(api, open_class.session)
    assert (entry["reason"], entry["after"]["status"]) == (WHY["reason"], "cancelled")
    reinstated = api.patch(open_class.url, {"status": "open"})
    assert (reinstated.json["status"], reinstated.json["reason"]) == ("open", None)


@pytest.mark.parametrize("way", ["cancel", "move"])
@pytest.mark.parametrize("reason", [None, "", "  ", "a\nb"])
def test_a_reason_is_required(open_class, api, way, reason):
    body = {} if reason is None else {"reason": reason}
    refused = api.post(f"{open_class.url}{way}/", body)

    assert (refused.status, refused.pointers) == (422, {"/reason"})


def test_a_moved_session_keeps_its_local_times(open_class, api, today):
    moved = api.post(f"{open_class.url}move/", {"local_date": str(today + 3 * DAY), **WHY})

    assert (moved.status, moved.json["local_date"], moved.json["slot"]) == (200, str(today + 3 * DAY), "09:00")
    assert moved.json["reason"] == WHY["reason"]
    assert datetime.fromisoformat(moved.json["starts_at"]).isoformat() == f"{today + 3 * DAY}T06:30:00+00:00"
    assert latest(api, open_class.session)["reason"] == WHY["reason"]


def test_local_times_are_kept_across_a_clock_change(app, today):
    api = new_tenant(app, time_zone="America/New_York").the(Role.ADMIN)
    zone = ZoneInfo("America/New_York")
    here = datetime.now(zone).date()
    first = here - 360 * DAY
    noon = datetime(first.year, first.month, first.day, 12, tzinfo=zone)
    later = (noon + n * DAY for n in range(1, 300))
    last = next(day.date() for day in later if day.utcoffset() != noon.utcoffset())
    group = api.made("/api/groups/", {"code": "N", "name": "North"})["id"]
    body = {"group_id": group, "local_date": str(first), "slot": "12:00", "starts_at": noon.isoformat()}
    made = api.made(SESSIONS, body)

    moved = api.post(f"{SESSIONS}{made['id']}/move/", {"local_date": str(last), **WHY}).json

    shown = datetime.fromisoformat(moved["starts_at"]).astimezone(zone)
    assert (shown.date(), shown.hour) == (last, 12)


def test_a_session_moves_to_another_slot_and_time(open_class, api, today):
    times = {"starts_at": f"{today + DAY}T09:00:00Z", "ends_at": f"{today + DAY}T10:00:00Z"}
    moved = api.post(f"{open_class.url}move/", {"slot": "Late", **times, **WHY})

    assert (moved.status, moved.json["slot"], moved.json["starts_at"][:16]) == (200, "Late", times["starts_at"][:16])
    body = {"group_id": open_class.group, "local_date": str(today + DAY), "slot": "Other"}
    api.made(SESSIONS, body)
    taken = api.post(f"{open_class.url}move/", {"slot": "Other", **WHY})
    assert (taken.status, taken.problem["code"]) == (409, "session_exists")


def test_a_session_with_marks_is_neither_moved_nor_cancelled_nor_deleted(open_class, api, today):
    open_class.mark("present")
    to = {"local_date": str(today + 2 * DAY), **WHY}

    for response in (
        api.post(f"{open_class.url}cancel/", WHY),
        api.post(f"{open_class.url}move/", to),
        api.delete(open_class.url),
    ):
        assert (response.status, response.problem["code"]) == (409, "session_has_marks")
    assert api.get(open_class.url).json["reason"] is None


@pytest.mark.parametrize(("ways", "code"), [(("submit",), "session_submitted"), (("lock",), "session_locked")])
def test_a_closed_register_is_neither_moved_nor_cancelled_nor_deleted(open_class, api, ways, code):
    for way in ways:
        assert api.post(f"{open_class.url}{way}/").status == 200

    for response in (
        api.post(f"{open_class.url}cancel/", WHY),
        api.post(f"{open_class.url}move/", {"slot": "Late", **WHY}),
        api.delete(open_class.url),
    ):
        assert (response.status, response.problem["code"]) == (409, code)


def test_a_cancelled_session_is_not_moved(open_class, api):
    api.post(f"{open_class.url}cancel/", WHY)
    refused = api.post(f"{open_class.url}move/", {"slot": "Late", **WHY})

    assert (refused.status, refused.problem["code"]) == (409, "session_cancelled")


def test_a_session_whose_marks_were_removed_can_be_deleted(open_class, api):
    record = open_class.mark("present").json["results"][0]
    on = api.get(open_class.url).json["local_date"]
    assert api.delete(f"/api/attendance/records/{record['id']}/?on={on}").status == 204

    assert api.delete(open_class.url, headers={"If-Match": '"9"'}).status == 412
    assert api.delete(open_class.url).status == 204
    assert api.get(open_class.url).status == 404
    assert latest(api, open_class.session)["action"] == "deleted"


def test_trainers_reschedule_their_groups_sessions_and_clients_do_not_see_why(tenant, a_class, student, api, today):
    trainer, client = tenant.the(Role.TRAINER), tenant.the(Role.CLIENT)
    mine, another = a_class(0, trainer=trainer), a_class(0)
    me = student(user_id=str(client.user_id))["id"]
    api.made(f"/api/groups/{mine.group}/enrolments/", {"student_id": me, "begins_on": str(today)})

    assert trainer.post(f"{another.url}cancel/", WHY).status == 404
    assert client.post(f"{mine.url}cancel/", WHY).status == 403
    assert trainer.post(f"{mine.url}cancel/", WHY).json["reason"] == WHY["reason"]
    assert client.get(mine.url).json["reason"] is None
    rows = client.get(f"/api/groups/{mine.group}/timetable/?from={today}&to={today}").json["items"]
    assert [(row["status"], row["reason"]) for row in rows] == [("cancelled", None)]
    assert trainer.delete(another.url).status == 404
