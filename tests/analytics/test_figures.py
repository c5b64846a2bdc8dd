"""Rates, streaks, heat maps and punctuality equal what the marks and the rosters say."""

import random
from datetime import date, timedelta

import pytest

from campshub.attendance.models import ATTENDED
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups
from tests.analytics.conftest import LONG_AGO
from tests.dates import today

URL = "/api/attendance/analytics/"
# A whole week in the past.
MONDAY = today() - timedelta(days=today().weekday() + 14)
WEEK = f"from={MONDAY}&to={MONDAY + timedelta(days=6)}"


def rates(who, query):
    response = who.get(f"{URL}rates/?{query}")
    assert response.status == 200, response.raw.text
    return response.json


def refresh_rollups(app, tenant):
    with app.app_context(), unit_of_work(system=True) as session:
        for one in rollups().values():
            refresh.refresh(session, one, tenant.id)


def test_a_mark_that_is_not_taken_lowers_only_the_scheduled_rate(course):
    group = course(4)
    group.mark(group.session(MONDAY), "present", "absent", "excused")
    group.session(MONDAY + timedelta(days=1))
    cancelled = group.session(MONDAY)
    response = group.admin.patch(f"/api/attendance/sessions/{cancelled}/", {"status": "cancelled"})
    assert response.status == 200

    taken = rates(group.admin, f"{WEEK}&by=week&group_id={group.id}")
    scheduled = rates(group.admin, f"{WEEK}&by=week&group_id={group.id}&basis=scheduled")

    assert (taken["marked"], taken["rated"], taken["attended"], taken["rate"]) == (3, 2, 1, 0.5)
    assert (taken["scheduled"], taken["not_taken"]) == (None, None)
    # Of 8 scheduled marks, 5 are not taken and 1 does not count.
    assert (scheduled["scheduled"], scheduled["not_taken"], scheduled["rate"]) == (8, 5, round(1 / 7, 4))


def test_sessions_after_today_are_not_scheduled_yet(course):
    group = course(2)
    group.session(today() + timedelta(days=1))
    group.session(today())

    found = rates(group.admin, f"by=week&basis=scheduled&group_id={group.id}&from={today()}&to={today()}")

    assert (found["scheduled"], found["not_taken"]) == (2, 2)


def test_each_period_is_compared_with_the_one_before(course):
    group = course(2)
    for week, codes in enumerate((("present", "absent"), ("present", "present"), (), ("absent", "absent"))):
        if codes:
            group.mark(group.session(MONDAY - timedelta(days=7 * (3 - week))), *codes)

    found = rates(group.admin, f"by=week&from={MONDAY - timedelta(days=14)}&to={MONDAY}")

    assert [(row["rate"], row["change"]) for row in found["items"]] == [(1.0, 0.5), (None, None), (0.0, None)]
    assert [row["first_date"] for row in found["items"]] == [str(MONDAY - timedelta(days=7 * n)) for n in (2, 1, 0)]


def test_the_range_is_extended_to_whole_periods(course):
    group = course(1)
    group.mark(group.session(MONDAY + timedelta(days=6)), "present")

    found = rates(group.admin, f"by=week&from={MONDAY + timedelta(days=2)}&to={MONDAY + timedelta(days=3)}")

    (week,) = found["items"]
    assert (week["first_date"], week["last_date"], week["attended"]) == (
        str(MONDAY),
        str(MONDAY + timedelta(days=6)),
        1,
    )
    assert rates(group.admin, "by=month")["items"][-1]["first_date"] == str(today().replace(day=1))
    assert len(rates(group.admin, "by=month")["items"]) == 12


def test_trainers_see_their_groups_and_clients_themselves(course, client):
    mine, other = course(2), course(1)
    mine.mark(mine.session(MONDAY), "present", "absent")
    other.mark(other.session(MONDAY), "absent")
    me = client(mine.students[0])

    for basis in ("taken", "scheduled"):
        seen = {
            who: rates(api, f"{WEEK}&by=week&basis={basis}")["rated"]
            for who, api in (("admin", mine.admin), ("trainer", mine.trainer), ("client", me))
        }
        assert seen == {"admin": 3, "trainer": 2, "client": 1}, basis
        assert mine.trainer.get(f"{URL}rates/?group_id={other.id}&basis={basis}").status == 404
        assert me.get(f"{URL}rates/?student_id={mine.students[1]}&basis={basis}").status == 404
    assert mine.trainer.get(f"{URL}students/{other.students[0]}/streaks/").status == 404
    assert mine.trainer.get(f"{URL}heat-map/?group_id={other.id}").status == 404
    assert mine.trainer.get(f"{URL}punctuality/?student_id={other.students[0]}").status == 404


@pytest.mark.parametrize("seed", range(3))
def test_scheduled_counts_equal_the_rosters_of_each_day(app, tenant, course, enrol, student, seed):
    """Compare with the rosters, one by one: overlapping enrolments, leavers, guests and cancelled sessions."""
    rng = random.Random(seed)
    group = course(0)
    stays = []
    for number in range(6):
        left_on = MONDAY + timedelta(days=rng.randrange(7)) if number == 5 else None
        person = student(joined_on=str(LONG_AGO), left_on=str(left_on) if left_on else None)["id"]
        group.students.append(person)
        first = MONDAY + timedelta(days=rng.randrange(-3, 5))
        last = rng.choice((None, first + timedelta(days=rng.randrange(5))))
        enrol(group.id, person, begins_on=first, ends_on=last, status="withdrawn" if last else "active")
        stays.append((person, first, last, left_on))
        if last:  # withdrawn, and enrolled again on the same day
            enrol(group.id, person, begins_on=last, status=rng.choice(("active", "pending")))
            stays.append((person, last, None, left_on))
    stays = stays_of(tenant, app, group)
    expected = {"scheduled": 0, "not_taken": 0, "marked": 0}
    for day in (MONDAY + timedelta(days=n) for n in range(7)):
        for _ in range(rng.randrange(3)):
            session = group.session(day)
            roster = {who for who, first, last, left in stays if first <= day <= min(last or day, left or day)}
            codes = [rng.choice(("present", "absent", None)) if who in roster else None for who in group.students]
            if any(codes):
                group.mark(session, *codes)
            marked = sum(code is not None for code in codes)
            expected["marked"] += marked
            expected["scheduled"] += len(roster)
            expected["not_taken"] += len(roster) - marked

    for _ in range(2):
        found = rates(group.admin, f"{WEEK}&by=week&basis=scheduled&group_id={group.id}")
        assert {name: found[name] for name in expected} == expected
        of_students = [rates(group.admin, f"{WEEK}&by=week&basis=scheduled&student_id={who}") for who in group.students]
        assert {name: sum(one[name] for one in of_students) for name in expected} == expected
        refresh_rollups(app, tenant)


def stays_of(tenant, app, group):
    """Return the enrolments that count, as they are stored."""
    rows = group.admin.get(f"/api/groups/{group.id}/enrolments/").json["items"]
    students = {who: group.admin.get(f"/api/students/{who}/").json for who in group.students}

    def day(text):
        return date.fromisoformat(text) if text else None

    return [
        (row["student_id"], day(row["begins_on"]), day(row["ends_on"]), day(students[row["student_id"]]["left_on"]))
        for row in rows
        if row["status"] != "pending"
    ]


def test_streaks_follow_the_order_of_the_sessions_not_of_their_marks(course):
    group = course(1)
    group.history("present", "late", "absent", "present", until=MONDAY)
    evening, morning = group.session(MONDAY + timedelta(days=1), 18), group.session(MONDAY + timedelta(days=1), 8)
    group.mark(evening, "absent")
    group.mark(morning, "present")
    url = f"{URL}students/{group.students[0]}/streaks/"

    found = group.admin.get(url).json

    assert (found["sessions"], found["current_streak"], found["longest_streak"]) == (6, 0, 2)
    assert (found["missed_in_a_row"], found["last_attended_on"]) == (1, str(MONDAY + timedelta(days=1)))
    group.mark(group.session(MONDAY + timedelta(days=2), 8), "excused")
    assert group.admin.get(url).json["missed_in_a_row"] == 1
    group.mark(group.session(MONDAY + timedelta(days=3), 8), "left_early")
    assert (group.admin.get(url).json["current_streak"], group.admin.get(url).json["missed_in_a_row"]) == (1, 0)


def test_a_student_without_marks_has_no_streak(course):
    group = course(1)

    found = group.admin.get(f"{URL}students/{group.students[0]}/streaks/").json

    assert (found["sessions"], found["current_streak"], found["longest_streak"], found["last_attended_on"]) == (
        *(0, 0, 0),
        None,
    )


def test_the_heat_map_uses_the_local_hour_of_the_sessions_start(app, tenant, course):
    group = course(2)
    group.mark(group.session(MONDAY, 0), "present", "absent")  # still Sunday in UTC
    group.mark(group.session(MONDAY + timedelta(days=4), 17), "present", "present")
    group.mark(group.session(MONDAY), "absent")  # no start
    expected = [(1, 0, 1, 0.5), (5, 17, 1, 1.0)]

    for _ in range(2):
        for query in (f"group_id={group.id}", ""):
            cells = group.admin.get(f"{URL}heat-map/?{WEEK}&{query}").json["cells"]
            assert [(c["weekday"], c["hour"], c["sessions"], c["rate"]) for c in cells] == expected
        refresh_rollups(app, tenant)
    (cell, _) = group.admin.get(f"{URL}heat-map/?{WEEK}&student_id={group.students[1]}").json["cells"]
    assert (cell["marked"], cell["rate"]) == (1, 0.0)


def test_punctuality_counts_minutes_where_both_times_are_known(course):
    group = course(3)
    session, at = group.session(MONDAY, 9), f"{MONDAY}T09:{{}}:00+05:30"
    late = [{"code": "late", "check_in_at": at.format(minute)} for minute in ("10", "20")]
    group.mark(session, *late, {"code": "present", "check_in_at": at.format("01")})
    group.mark(group.session(MONDAY), "late", "absent")  # no start

    for query in (f"group_id={group.id}", ""):
        found = group.admin.get(f"{URL}punctuality/?{WEEK}&{query}").json
        assert (found["there"], found["late"], found["late_share"]) == (4, 3, 0.75)
        assert (found["timed"], found["mean_minutes_late"], found["most_minutes_late"]) == (2, 15, 20)
    one = group.admin.get(f"{URL}punctuality/?{WEEK}&student_id={group.students[2]}").json
    assert (one["there"], one["late_share"], one["mean_minutes_late"]) == (1, 0.0, None)


def test_late_marks_are_those_of_the_code_not_of_its_name(course):
    """An organization may let its own code with the key ``present`` count as late."""
    assert "late" in ATTENDED
    group = course(1)
    own = group.admin.post("/api/attendance/codes/", {"key": "present", "label": "Here", "counts_as": "late"})
    assert own.status == 201
    mark = {"code": "present", "check_in_at": f"{MONDAY}T09:07:00+05:30"}
    group.mark(group.session(MONDAY, 9), mark)

    found = group.admin.get(f"{URL}punctuality/?{WEEK}&group_id={group.id}").json

    assert (found["late"], found["most_minutes_late"]) == (1, 7)


def test_ranges_that_are_too_long_or_reversed_are_refused(api):
    for path in ("rates/", "heat-map/", "punctuality/"):
        assert api.get(f"{URL}{path}?from={LONG_AGO - timedelta(days=30)}&to={today()}").pointers == {"/to"}
        assert api.get(f"{URL}{path}?from={today()}&to={MONDAY}").pointers == {"/to"}
