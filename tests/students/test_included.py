"""Properties that a list contains only if the request names them, and the tags that then decide about its cache."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role
from tests.waiting import until

URL = "/api/students/"


@pytest.fixture
def mark(api, today):
    """Return a function that marks a student in a session of a group."""

    def marked(group, student, code="present", on=today):
        body = {"group_id": group["id"], "local_date": str(on), "slot": code}
        meeting = api.made("/api/attendance/sessions/", body)
        rows = {"records": [{"student_id": student["id"], "code": code}]}
        response = api.put(f"/api/attendance/sessions/{meeting['id']}/records/", rows)
        assert response.json["summary"]["created"] == 1, response.json

    return marked


@pytest.fixture
def members(student, group, enrol, today):
    """Return a group, and two students who are in it."""
    place, people = group(), [student(medical_note="nuts"), student()]
    for one in people:
        enrol(place, one, begins_on=today - timedelta(days=60))
    return place, *people


def included(client, query):
    items = client.get(f"{URL}?sort=created&{query}").json["items"]
    return [{name: item[name] for name in ("last_seen_on", "has_medical_note") if name in item} for item in items]


def test_included_properties_are_left_out_unless_they_are_named(api, members, mark, today):
    place, first, second = members
    mark(place, first, on=today - timedelta(days=9))
    mark(place, first, "late", on=today - timedelta(days=3))
    mark(place, first, "absent", on=today - timedelta(days=1))

    seen = str(today - timedelta(days=3))
    assert included(api, "") == [{}, {}]
    assert included(api, "include=last_seen_on") == [{"last_seen_on": seen}, {"last_seen_on": None}]
    assert included(api, "include=has_medical_note") == [{"has_medical_note": True}, {"has_medical_note": False}]
    both = api.get(f"{URL}?sort=created&include=last_seen_on,has_medical_note&fields=id&limit=1")
    assert both.json["items"] == [{"id": first["id"], "last_seen_on": seen, "has_medical_note": True}]
    assert len(both.queries) == 1
    following = api.get(
        f"{URL}?sort=created&include=has_medical_note,last_seen_on&limit=1&cursor={both.json['next_cursor']}"
    )
    assert [item["id"] for item in following.json["items"]] == [second["id"]]
    for query in ("include=secret", "fields=last_seen_on", "include=last_seen_on,"):
        assert api.get(f"{URL}?{query}").status == 422


def test_each_included_property_needs_its_permission(tenant, api, members, mark):
    place, first, _ = members
    trainer, client = tenant.the(Role.TRAINER), tenant.the(Role.CLIENT)
    api.patch(f"/api/groups/{place['id']}/", {"trainer_ids": [str(trainer.user_id)]})
    api.patch(f"{URL}{first['id']}/", {"user_id": str(client.user_id)})

    assert trainer.get(f"{URL}?include=last_seen_on").status == 200
    assert client.get(f"{URL}?include=last_seen_on").status == 200
    for caller in (trainer, client):
        assert caller.get(f"{URL}?include=has_medical_note").status == 403
        assert caller.get(f"{URL}?include=last_seen_on,has_medical_note").status == 403
    assert tenant.the(Role.NUTRITIONIST).get(f"{URL}?include=last_seen_on").status == 403


def test_a_trainer_is_shown_only_marks_that_they_see(tenant, api, members, group, enrol, mark, today):
    place, first, _ = members
    trainer, hidden = tenant.the(Role.TRAINER), group()
    api.patch(f"/api/groups/{place['id']}/", {"trainer_ids": [str(trainer.user_id)]})
    enrol(hidden, first, begins_on=today - timedelta(days=60))
    mark(place, first, on=today - timedelta(days=9))
    mark(hidden, first, on=today - timedelta(days=2))

    assert included(trainer, "include=last_seen_on")[0] == {"last_seen_on": str(today - timedelta(days=9))}
    assert included(api, "include=last_seen_on")[0] == {"last_seen_on": str(today - timedelta(days=2))}


def test_a_mark_makes_only_lists_with_the_last_day_outdated(api, members, mark, today):
    place, first, _ = members
    plain, with_day = f"{URL}?sort=created", f"{URL}?sort=created&include=last_seen_on"
    for url in (plain, with_day):
        until(lambda one=url: api.get(one).queries == [])

    mark(place, first, on=today - timedelta(days=1))

    assert api.get(plain).queries == []
    after = api.get(with_day)
    assert len(after.queries) == 1
    assert after.json["items"][0]["last_seen_on"] == str(today - timedelta(days=1))
