"""Which enrolments a group accepts: a free place on each of their days, in an active group, within its term."""

import random
import threading
from contextlib import suppress
from datetime import date, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.students.service import places

MOST_WAIT_S = 2
DAY = timedelta(days=1)


def refused(response):
    return (response.status, response.problem["code"])


def at_once(*calls):
    """Make calls at the same moment; return their responses in order."""
    gate, responses = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number, call):
        gate.wait()
        responses[number] = call()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return responses


@pytest.mark.parametrize(
    ("begins_on", "ends_on", "status"),
    [
        ("2026-01-10", None, 409),
        ("2026-02-28", "2026-03-01", 409),
        ("2026-01-10", "2026-01-31", 201),
        ("2026-02-01", "2026-02-01", 409),
        ("2026-03-02", None, 409),  # someone comes on 1 May
        ("2026-03-02", "2026-04-30", 201),
        ("2026-06-01", None, 201),
    ],
)
def test_each_day_of_an_enrolment_needs_a_place(group, student, enrol, begins_on, ends_on, status):
    made = group(capacity=1)
    enrol(made, student(), begins_on="2026-02-01", ends_on="2026-03-01")
    enrol(made, student(), begins_on="2026-05-01", ends_on="2026-05-31")

    response = enrol(made, student(), begins_on=begins_on, ends_on=ends_on)

    assert response.status == status
    assert status == 201 or response.problem["code"] == "group_full"


def test_only_students_in_the_group_take_a_place(api, group, student, enrol, patch):
    made = group(capacity=1)
    deleted, left = student(), student()
    enrol(made, student(), status="pending")
    enrol(made, deleted)
    api.delete(f"/api/students/{deleted['id']}/")
    enrol(made, left)
    api.patch(f"/api/students/{left['id']}/", {"left_on": "2026-03-01"})
    patch(
        enrol(made, student(), begins_on="2026-04-01", ends_on="2026-09-01").json,
        status="withdrawn",
        ends_on="2026-03-31",
    )

    assert refused(enrol(made, student(), begins_on="2026-03-01")) == (409, "group_full")
    assert enrol(made, student(), begins_on="2026-03-02").status == 201


def test_overlapping_enrolments_of_a_person_take_one_place(group, student, enrol, patch):
    made, someone = group(capacity=2), student()
    patch(enrol(made, someone, ends_on="2026-06-01").json, status="withdrawn", ends_on="2026-05-01")

    assert enrol(made, someone, begins_on="2026-02-01").status == 201
    assert enrol(made, student(), begins_on="2026-03-01").status == 201
    assert refused(enrol(made, student(), begins_on="2026-03-01")) == (409, "group_full")


def test_a_change_needs_a_place_on_each_added_day(api, group, student, enrol, patch):
    made = group(capacity=1)
    first = enrol(made, student(), begins_on="2026-02-01", ends_on="2026-03-01").json
    second = enrol(made, student(), begins_on="2026-03-02", ends_on="2026-04-01").json

    for changes in ({"ends_on": None}, {"ends_on": "2026-03-02"}):
        assert refused(patch(first, **changes)) == (409, "group_full")
    assert refused(patch(second, begins_on="2026-03-01")) == (409, "group_full")
    assert patch(second, ends_on=None).status == 200
    assert patch(second, begins_on="2026-03-05", ends_on="2026-03-20").status == 200
    assert patch(first, ends_on="2026-03-04").status == 200
    assert patch(second, status="withdrawn", ends_on="2026-03-10").status == 200
    assert patch(first, begins_on="2026-01-01", ends_on="2026-03-04").status == 200
    assert refused(patch(first, ends_on="2026-03-10")) == (409, "group_full")
    assert refused(patch(first, begins_on="2026-02-01", ends_on=None)) == (409, "group_full")


def test_resuming_an_enrolment_needs_a_place(group, student, enrol, patch):
    made = group(capacity=1)
    first = enrol(made, student()).json
    patch(first, status="withdrawn", ends_on="2026-02-01")
    enrol(made, student(), begins_on="2026-02-02")

    assert refused(patch(first, status="active")) == (409, "group_full")
    assert patch(first, status="active", ends_on="2026-02-01").status == 200


def test_lowering_the_capacity_removes_no_one_and_admits_no_one(api, group, student, enrol, patch):
    made = group(capacity=3)
    enrolments = [enrol(made, student()).json for _ in range(3)]

    lowered = api.patch(f"/api/groups/{made['id']}/", {"capacity": 1})

    assert (lowered.status, lowered.json["capacity"], lowered.json["enrolled"]) == (200, 1, 3)
    assert refused(enrol(made, student())) == (409, "group_full")
    for enrolment in enrolments[:2]:
        assert patch(enrolment, ends_on="2026-05-01").status == 200
    assert refused(enrol(made, student(), begins_on="2026-05-01")) == (409, "group_full")
    patch(enrolments[2], ends_on="2026-05-01")
    assert enrol(made, student(), begins_on="2026-05-02").status == 201


def test_capacity_agrees_with_counting_day_by_day(api, sql, group, student, enrol):
    """Random enrolments in a group of two, compared with a count of each day's roster."""
    chance, first = random.Random(12), date(2026, 1, 1)
    made, people, placed = group(capacity=2), [student() for _ in range(6)], []
    outcomes = []
    for _ in range(60):
        begins_on = first + chance.randrange(60) * DAY
        ends_on = begins_on + chance.randrange(25) * DAY
        number = chance.randrange(len(people))
        days = [begins_on + n * DAY for n in range((ends_on - begins_on).days + 1)]
        overlaps = any(who == number and day in taken for who, taken in placed for day in days)
        fits = all(sum(day in taken for who, taken in placed if who != number) < 2 for day in days)
        expected = 201 if fits and not overlaps else 409
        outcomes.append((expected, enrol(made, people[number], begins_on=begins_on, ends_on=ends_on).status))
        if expected == 201:
            placed.append((number, days))

    assert [real for _, real in outcomes] == [expected for expected, _ in outcomes]
    assert {expected for expected, _ in outcomes} == {201, 409}


@pytest.fixture
def checked_together(monkeypatch):
    """Let calls that have found a free place wait for each other before they take it, unless a lock blocks one."""
    gate, require = threading.Barrier(2), places.require

    def waiting(*arguments, **options):
        require(*arguments, **options)
        with suppress(threading.BrokenBarrierError):
            gate.wait(MOST_WAIT_S)

    monkeypatch.setattr(places, "require", waiting)


@pytest.mark.usefixtures("checked_together")
@pytest.mark.parametrize("way", ["two extended", "one enrolled, one extended", "two enrolled"])
def test_two_concurrent_changes_take_one_place(api, tenant, group, student, sql, way):
    made = group(capacity=1)
    url = f"/api/groups/{made['id']}/"

    def extended():
        client, enrolment = tenant.someone(Role.ADMIN), new_id()
        sql(
            "INSERT INTO enrolments (organization_id, id, student_id, group_id, begins_on, ends_on)"
            " VALUES (%s, %s, %s, %s, '2026-01-01', '2026-01-02') RETURNING 1",
            *(tenant.id, enrolment, student()["id"], made["id"]),
        )
        return lambda: client.patch(f"{url}enrolments/{enrolment}/", {"ends_on": None})

    def enrolled():
        client, body = tenant.someone(Role.ADMIN), {"student_id": student()["id"], "begins_on": "2026-01-03"}
        return lambda: client.post(f"{url}enrolments/", body)

    responses = at_once(
        extended() if way == "two extended" else enrolled(), enrolled() if way == "two enrolled" else extended()
    )

    refused_one = max(responses, key=lambda response: response.status)
    assert sorted(response.status < 300 for response in responses) == [False, True]
    assert refused(refused_one) == (409, "group_full")
    assert len(api.get(f"{url}roster/?on=2026-03-05").json["items"]) == 1


@pytest.mark.parametrize("_time", range(3))
def test_concurrent_enrolling_extending_and_lowering_never_exceed_the_capacity(
    api, tenant, group, student, enrol, _time
):
    made = group(capacity=2)
    ended = enrol(made, student(), ends_on="2026-02-01").json
    url = f"/api/groups/{made['id']}/"
    clients = [tenant.someone(Role.ADMIN) for _ in range(4)]
    first, second = ({"student_id": student()["id"], "begins_on": "2026-02-01"} for _ in range(2))

    lowered, *responses = at_once(
        lambda: clients[0].patch(url, {"capacity": 1}),
        lambda: clients[1].patch(f"{url}enrolments/{ended['id']}/", {"ends_on": None}),
        lambda: clients[2].post(f"{url}enrolments/", first),
        lambda: clients[3].post(f"{url}enrolments/", second),
    )

    on_roster = len(api.get(f"{url}roster/?on=2026-03-01").json["items"])
    assert lowered.status == 200
    assert {response.status for response in responses} <= {200, 201, 409}
    assert on_roster == sum(response.status < 300 for response in responses)
    assert 1 <= on_roster <= 2


def test_an_archived_group_admits_no_one_and_lets_everyone_leave(api, group, student, enrol, patch):
    made = group()
    present, leaving, waiting = enrol(made, student()), enrol(made, student()), enrol(made, student(), status="pending")
    api.patch(f"/api/groups/{made['id']}/", {"status": "archived"})

    for response in (
        enrol(made, student()),
        enrol(made, student(), status="pending"),
        patch(waiting.json, status="active"),
        patch(present.json, begins_on="2026-01-01"),
    ):
        assert refused(response) == (409, "group_closed")
    assert patch(leaving.json, status="withdrawn").status == 200
    assert refused(patch(leaving.json, status="active")) == (409, "group_closed")
    assert patch(present.json, ends_on="2026-02-01").status == 200
    assert refused(patch(present.json, ends_on=None)) == (409, "group_closed")
    assert patch(waiting.json, status="withdrawn").status == 200


@pytest.mark.parametrize(
    ("dates", "pointers"),
    [
        ({"begins_on": "2026-01-31", "ends_on": "2026-02-01"}, {"/begins_on"}),
        ({"begins_on": "2026-07-01", "ends_on": "2026-07-01"}, {"/begins_on", "/ends_on"}),
        ({"begins_on": "2026-02-01", "ends_on": "2026-07-01"}, {"/ends_on"}),
        ({"begins_on": "2026-01-01", "ends_on": "2026-12-31"}, {"/begins_on", "/ends_on"}),
        ({"begins_on": "2026-02-01", "ends_on": "2026-06-30"}, None),
        ({"begins_on": "2026-06-30", "ends_on": "2026-06-30"}, None),
        ({"begins_on": "2026-02-01"}, {"/ends_on"}),  # the term has ended, and the enrolment would continue
    ],
)
def test_dates_outside_the_term_are_refused(group, student, enrol, dates, pointers):
    made = group(begins_on="2026-02-01", ends_on="2026-06-30")

    response = enrol(made, student(), **dates)

    if pointers is None:
        assert response.status == 201
    else:
        assert (response.status, response.problem["code"], response.pointers) == (409, "group_closed", pointers)


def test_a_change_must_stay_in_the_term(api, group, student, enrol, patch, today):
    last = today + 30 * DAY
    made = group(begins_on="2026-02-01", ends_on=str(last))
    enrolment = enrol(made, student(), begins_on="2026-02-01", ends_on="2026-03-01").json

    assert refused(patch(enrolment, begins_on="2026-01-31")) == (409, "group_closed")
    assert refused(patch(enrolment, ends_on=last + DAY)) == (409, "group_closed")
    assert patch(enrolment, ends_on=None).status == 200
    assert patch(enrolment, ends_on="2026-03-01").status == 200
    api.patch(f"/api/groups/{made['id']}/", {"begins_on": "2026-04-01"})
    assert patch(enrolment, ends_on=last).status == 200  # begins_on stays the same
    assert patch(enrolment, status="withdrawn", ends_on="2026-03-15").status == 200
    api.patch(f"/api/groups/{made['id']}/", {"ends_on": str(today - DAY)})
    assert refused(patch(enrolment, status="active")) == (409, "group_closed")


def test_an_enrolment_without_an_end_fits_a_term_that_has_not_ended(group, student, enrol, today):
    running = group(begins_on=str(today - DAY), ends_on=str(today))
    ahead = group(begins_on=str(today + DAY), ends_on=str(today + 9 * DAY))

    assert enrol(running, student(), begins_on=today).status == 201
    assert enrol(ahead, student(), begins_on=today + DAY).status == 201
    assert refused(enrol(ahead, student(), begins_on=today)) == (409, "group_closed")


def test_a_retry_succeeds_although_the_group_has_closed(api, group, student, enrol):
    made, someone, enrolment_id = group(capacity=1), student(), str(new_id())
    first = enrol(made, someone, id=enrolment_id)
    api.patch(f"/api/groups/{made['id']}/", {"status": "archived"})

    again = enrol(made, someone, id=enrolment_id)

    assert (first.status, again.status, again.json["id"]) == (201, 200, enrolment_id)
