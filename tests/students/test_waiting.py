from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from campshub.students.service import waiting
from tests.pending_jobs import run_pending

DAY = timedelta(days=1)


@pytest.fixture
def join(enrol, student):
    """Return a function that enrols a student in a group, or puts them on its waiting list."""

    def joined(group, **fields):
        response = enrol(group, fields.pop("student", None) or student(), wait_if_full=True, **fields)
        assert response.status == 201, response.raw.text
        return response.json

    return joined


@pytest.fixture
def listed(api):
    """Return a function that returns the ids on a group's waiting list."""

    def ids(group):
        rows = api.get(f"/api/groups/{group['id']}/waiting-list/").json["items"]
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["id"] for row in rows]

    return ids


@pytest.fixture
def shown(api):
    """Return a function that returns the status and the first day of an enrolment."""

    def show(enrolment):
        row = api.get(f"/api/groups/{enrolment['group_id']}/enrolments/{enrolment['id']}/").json
        assert not row["is_waiting"] or row["status"] == "pending"
        return row["status"], row["begins_on"]

    return show


@pytest.fixture
def run_jobs(app, tenant):
    """Return a function that runs the pending jobs about waiting lists."""
    return partial(run_pending, app, tenant.id, "students.promote_waiting")


def test_a_full_group_has_a_waiting_list_in_the_order_of_requests(group, join, listed, api):
    made = group(capacity=1)
    first, second, third = (join(made) for _ in range(3))

    assert [(one["status"], one["is_waiting"]) for one in (first, second, third)] == [
        ("active", False),
        ("pending", True),
        ("pending", True),
    ]
    assert listed(made) == [second["id"], third["id"]]
    assert api.get(f"/api/groups/{made['id']}/").json["enrolled"] == 1
    page = api.get(f"/api/groups/{made['id']}/waiting-list/?limit=1").json
    following = api.get(f"/api/groups/{made['id']}/waiting-list/?limit=1&cursor={page['next_cursor']}").json
    assert [row["position"] for row in (*page["items"], *following["items"])] == [1, 2]


@pytest.mark.parametrize("status", ["withdrawn", "completed"])
def test_the_first_one_gets_the_place_of_a_student_who_leaves(group, join, patch, listed, shown, today, status):
    made = group(capacity=1)
    present, first, second = (join(made) for _ in range(3))

    patch(present, status=status, ends_on=today - DAY)

    assert shown(first) == ("active", str(today))
    assert listed(made) == [second["id"]]


def test_a_place_that_becomes_free_later_is_given_when_its_days_come(group, join, patch, listed, shown, today):
    made = group(capacity=1)
    present, waits, later = join(made), join(made), join(made, begins_on=today + 30 * DAY)

    patch(present, status="withdrawn", ends_on=today + 20 * DAY)

    # The place is free after the twentieth day: the first one wants it from today on, the second one later.
    assert shown(later) == ("active", str(today + 30 * DAY))
    assert listed(made) == [waits["id"]]


@pytest.mark.parametrize(("capacity", "promoted"), [(2, 1), (3, 2), (9, 3), (None, 3)])
def test_a_higher_capacity_promotes_as_many_as_there_are_places(group, join, listed, api, capacity, promoted):
    made = group(capacity=1)
    ids = [join(made)["id"] for _ in range(4)][1:]

    assert api.patch(f"/api/groups/{made['id']}/", {"capacity": capacity}).status == 200

    assert listed(made) == ids[promoted:]
    assert api.get(f"/api/groups/{made['id']}/").json["enrolled"] == 1 + promoted


def test_a_deleted_student_and_one_who_has_left_free_their_places(group, join, student, listed, api, today, run_jobs):
    made, people = group(capacity=2), [student(), student()]
    for person in people:
        join(made, student=person)
    _, second, third = (join(made) for _ in range(3))

    assert api.delete(f"/api/students/{people[0]['id']}/").status == 204
    assert run_jobs() == [Outcome.DONE]
    assert listed(made) == [second["id"], third["id"]]
    assert api.patch(f"/api/students/{people[1]['id']}/", {"left_on": str(today - DAY)}).status == 200
    assert run_jobs() == [Outcome.DONE]
    assert listed(made) == [third["id"]]
    assert api.get(f"/api/groups/{made['id']}/").json["enrolled"] == 2


def test_a_job_gives_the_places_that_the_passing_of_days_has_freed(app, tenant, group, join, listed, shown, today, sql):
    made = group(capacity=1)
    present, waits = join(made, ends_on=today), join(made)
    ended = "UPDATE enrolments SET begins_on = begins_on - 9, ends_on = ends_on - 1 WHERE id = %s RETURNING 1"
    assert sql(ended, present["id"]) == [(1,)]

    with app.app_context():
        assert [waiting.promote_all(tenant.id) for _ in range(2)] == [1, 0]

    assert shown(waits) == ("active", str(today))
    assert listed(made) == []


def test_who_cannot_be_enrolled_any_more_is_passed_over(group, join, student, patch, listed, api, today, shown):
    made = group(capacity=1)
    present, gone, passed = join(made), student(), student()
    join(made, student=gone)
    past = join(made, student=passed, ends_on=today + DAY)
    last = join(made)
    api.patch(f"/api/students/{gone['id']}/", {"left_on": str(today - DAY)})
    patch(past, ends_on=today - DAY)

    patch(present, status="withdrawn", ends_on=today - DAY)

    assert shown(last) == ("active", str(today))
    assert shown(past)[0] == "pending"


def test_who_has_been_enrolled_otherwise_is_passed_over(group, join, student, enrol, patch, shown, today):
    made, person = group(capacity=1), student()
    present, waits, last = join(made), join(made, student=person), join(made)
    patch(present, ends_on=today + 20 * DAY)
    assert shown(waits)[0] == shown(last)[0] == "pending"
    assert enrol(made, person, begins_on=today + 30 * DAY, ends_on=today + 40 * DAY).status == 201

    assert patch(present, status="withdrawn", ends_on=today - DAY).status == 200

    assert shown(waits)[0] == "pending"


def test_an_archived_group_promotes_no_one(group, join, patch, listed, api, today):
    made = group(capacity=1)
    present, waits = join(made), join(made)
    api.patch(f"/api/groups/{made['id']}/", {"status": "archived"})
    patch(present, status="withdrawn", ends_on=today - DAY)

    assert listed(made) == [waits["id"]]
    assert api.patch(f"/api/groups/{made['id']}/", {"status": "active"}).status == 200
    assert listed(made) == []


def test_a_pending_enrolment_that_does_not_wait_is_not_promoted(group, enrol, student, api, listed):
    made = group(capacity=1)
    enrol(made, student())
    pending = enrol(made, student(), status="pending").json

    api.patch(f"/api/groups/{made['id']}/", {"capacity": 5})

    assert (pending["is_waiting"], listed(made)) == (False, [])
    assert api.get(f"/api/groups/{made['id']}/").json["enrolled"] == 1


def test_a_student_waits_once_and_not_for_a_group_that_they_are_in(group, join, enrol, student):
    made, person, inside = group(capacity=1), student(), student()
    present = join(made, student=inside)
    waits = join(made, student=person)

    for someone, row in ((person, waits), (inside, present)):
        again = enrol(made, someone, wait_if_full=True, begins_on="2026-01-11")
        assert (again.status, again.problem["code"]) == (409, "already_enrolled")
        assert again.problem["present"]["id"] == row["id"]


def test_a_repeated_request_returns_the_same_place_on_the_list(group, join, enrol, student):
    made, person = group(capacity=1), student()
    join(made)
    row_id = "0192f8a0-7c3e-7b1a-9d2e-3f4a5b6c7d8f"
    responses = [enrol(made, person, wait_if_full=True, id=row_id) for _ in range(2)]

    assert [response.status for response in responses] == [201, 200]
    assert responses[0].json == responses[1].json


def test_who_leaves_the_list_is_not_on_it(group, join, patch, listed, api):
    made = group(capacity=1)
    join(made)
    first, second = join(made), join(made)

    assert patch(first, status="withdrawn").json["is_waiting"] is False
    assert listed(made) == [second["id"]]


def test_no_place_is_lost_or_given_twice_while_many_come_and_leave(api, tenant, group, student, join, enrol, today):
    capacity = 4
    made = group(capacity=capacity)
    present = [join(made) for _ in range(capacity + 6)][:capacity]
    newcomers = [student() for _ in range(8)]
    admin = tenant.the(Role.ADMIN)
    url = f"/api/groups/{made['id']}/"
    ends = {"status": "withdrawn", "ends_on": str(today - DAY)}
    leaves = [partial(admin.patch, f"{url}enrolments/{one['id']}/", ends) for one in present]
    comes = [partial(enrol, made, person, wait_if_full=True, begins_on=str(today)) for person in newcomers]
    grows = [partial(admin.patch, url, {"capacity": capacity + 2})]

    calls = [call for group_of in zip(leaves, comes, comes[4:], strict=False) for call in group_of]
    with ThreadPoolExecutor(14) as pool:
        statuses = list(pool.map(lambda call: call().status, [*calls, *grows]))

    assert set(statuses) <= {200, 201}
    final = api.get(url).json
    waiting_now = api.get(f"{url}waiting-list/").json["items"]
    assert final["enrolled"] == final["capacity"] == capacity + 2
    assert len(waiting_now) == 6 + 8 - final["enrolled"]
    dates = api.get(f"{url}roster/?on={today + 400 * DAY}").json["items"]
    assert len(dates) == final["capacity"]


def test_trainers_and_clients_see_what_they_may_see_of_a_waiting_list(tenant, group, join, student, api):
    trainer, client = tenant.the(Role.TRAINER), tenant.the(Role.CLIENT)
    made = group(capacity=1, trainer_ids=[str(trainer.user_id)])
    join(made)
    join(made)
    join(made, student=student(user_id=str(client.user_id)))
    url = f"/api/groups/{made['id']}/waiting-list/"

    assert trainer.get(url).json["items"] == []  # they see the students of the group, not those who wait for it
    assert client.get(url).status == 404  # a client sees the groups that they are in
    assert len(tenant.the(Role.NUTRITIONIST).get(url).json["items"]) == 2
