"""The session of a group's date and slot is created or found by its URL."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role
from tests import simultaneous

simultaneously = simultaneous.simultaneously


def url(group, day, slot="09:00"):
    return f"/api/groups/{group}/sessions/{day}/{slot}/"


@pytest.fixture
def group_id(api):
    return api.made("/api/groups/", {"code": "S", "name": "Blue"})["id"]


def test_the_first_call_creates_the_session_and_the_next_ones_find_it(api, group_id, today):
    first = api.put(url(group_id, today), {"status": "open", "notes": "Hall 2"})
    again = api.put(url(group_id, today, "9:00"), {"notes": "another note"})

    assert (first.status, first.json["slot"], first.json["notes"]) == (201, "09:00", "Hall 2")
    assert (again.status, again.json) == (200, first.json)


def test_calls_at_once_create_one_session(api, group_id, today, simultaneously):
    responses = simultaneously(*[lambda: api.put(url(group_id, today), {})] * 6)

    assert sorted(response.status for response in responses) == [200] * 5 + [201]
    assert len({response.json["id"] for response in responses}) == 1


def test_a_cancelled_session_is_not_created_again(api, group_id, today):
    made = api.put(url(group_id, today), {}).json
    api.patch(f"/api/attendance/sessions/{made['id']}/", {"status": "cancelled"})

    refused = api.put(url(group_id, today), {})

    assert (refused.status, refused.problem["code"]) == (409, "session_cancelled")
    assert refused.problem["present"]["id"] == made["id"]


@pytest.mark.parametrize(
    ("day", "slot", "pointer"),
    [
        ("2026-2-1", "09:00", "/local_date"),
        ("20260201", "09:00", "/local_date"),
        ("tomorrow", "09:00", "/local_date"),
        (None, "x" * 41, "/slot"),
        (None, "%E2%80%8B", "/slot"),
        (None, "a%0Ab", "/slot"),
    ],
)
def test_a_malformed_date_or_slot_is_refused(api, group_id, today, day, slot, pointer):
    refused = api.put(url(group_id, day or today, slot), {})

    assert (refused.status, refused.pointers) == (422, {pointer})


def test_a_slot_that_is_not_utf_8_is_not_found(api, group_id, today):
    assert [api.put(url(group_id, today, slot), {}).status for slot in ("%ff", "%fe")] == [404, 404]


def test_the_rules_of_new_sessions_apply(tenant, api, group_id, today):
    far = api.put(url(group_id, today + timedelta(days=90)), {})
    stranger = tenant.the(Role.TRAINER).put(url(group_id, today), {})

    assert (far.status, far.problem["code"]) == (422, "date_out_of_range")
    assert stranger.status == 404


def test_if_match_is_compared_with_the_session_that_exists(api, group_id, today):
    made = api.put(url(group_id, today), {})

    assert api.put(url(group_id, today), {}, headers={"If-Match": '"9"'}).status == 412
    assert api.put(url(group_id, today), {}, headers={"If-Match": made.headers["ETag"]}).status == 200
