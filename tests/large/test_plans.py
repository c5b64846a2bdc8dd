"""The plan of every read with a million students and five million records (`make test-large`)."""

import re

import pytest

from tests.large import plans

pytestmark = pytest.mark.large

BIG = {
    "attendance_records",
    "attendance_sessions",
    "enrolments",
    "students",
    "workout_log_exercises",
    "workout_log_ids",
    "workout_logs",
    "workout_sets",
}
# What a page of fifty may read, and what may go into a sort for it: a group of a thousand, each with the related rows;
# for a trainer the thousand students of ten groups, or ten logs of each.
MOST_ROWS, MOST_SORTED = 7_200, 4_600
ORGANIZATION = 100_000
# Reads that need more, and why: a pattern of their names, rows, rows sorted.
MORE = (
    (
        "students/statistics/",
        3.2 * ORGANIZATION,
        ORGANIZATION,
        "counts all students and all enrolments; cached for as long as nothing changes",
    ),
    (
        "/api/students/ tag",
        2.2 * ORGANIZATION,
        ORGANIZATION / 8,
        "no policy lets an array's operator use an index, so students are read until fifty have the tag",
    ),
    (
        "/api/students/ .* as head",
        2.2 * ORGANIZATION,
        ORGANIZATION,
        "a trainer of all thousand groups; the planner may take all of their students for few",
    ),
    ("/api/workout-logs/ .* as head", 5 * ORGANIZATION, 4_600, "as above, with their logs"),
    (
        "/api/workout-logs/ exercise_id . as trainer",
        12_000,
        4_600,
        "the logs of a thousand students in 400 days, each checked for the exercise",
    ),
    (
        "/api/attendance/records/ .* as trainer",
        60_000,
        1,
        "walks the requested days until fifty records are of the trainer's ten groups in a thousand",
    ),
    (
        "/api/progress/weeks/",
        5 * ORGANIZATION,
        1.5 * ORGANIZATION,
        "adds up the weeks of all visible students before it cuts a page; cached for as long as nothing changes",
    ),
    (
        "/api/attendance/analytics/groups/ a year",
        0.25 * ORGANIZATION,
        0.25 * ORGANIZATION,
        "puts a year's days of all groups in order before it cuts a page; cached for as long as nothing changes",
    ),
    ("/attendance/ a year as head", 15_000, 1_000, "a student's year, each record with the groups that are trained"),
)
# Sequential scan where an organization has most of a month's rows, which is then faster.
MAY_SCAN = re.compile(r"/api/workout-logs/ .* as head")
SLOWEST = 25


def allowed(name):
    return next(((rows, most) for pattern, rows, most, _ in MORE if re.search(pattern, name)), (MOST_ROWS, MOST_SORTED))


def test_no_read_accesses_more_rows_than_allowed(large):
    wrong, measured = [], []
    with plans.planning(large.app) as caught:
        for read in plans.reads(large.app, large.connection, large.made, list(large.people)):
            for name, plan, milliseconds in plans.followed(large.people[read.who], read, caught):
                measured.append((milliseconds, name, plan.rows, plan.sorted, len(plan.months)))
                rows, most_sorted = allowed(name)
                if plan.rows > rows or plan.sorted > most_sorted:
                    wrong.append((name, f"{plan.rows} rows, {plan.sorted} sorted"))
                if plan.scanned & BIG and not MAY_SCAN.search(name):
                    wrong.append((name, f"reads {plan.scanned & BIG} from end to end"))
                wrong += [(name, f"looks into {month}") for month in sorted(plan.months - plans.months_of(read))]
    print(f"\n{len(measured)} statements; the slowest responses, in milliseconds:")
    for milliseconds, name, rows, sorted_rows, months in sorted(measured, reverse=True)[:SLOWEST]:
        print(f"{milliseconds:8.1f}  {name}: {rows:,} rows, {sorted_rows:,} sorted, {months} months")
    times = sorted(milliseconds for milliseconds, *_ in measured)
    print(f"half of them under {times[len(times) // 2]:.1f}, 99 in 100 under {times[len(times) * 99 // 100]:.1f}")

    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong)
    assert len(measured) > 500


def test_each_exception_is_needed(large):
    names = {read.name for read in plans.reads(large.app, large.connection, large.made, list(large.people))}

    assert [pattern for pattern, *_ in MORE if not any(re.search(pattern, name) for name in names)] == []
