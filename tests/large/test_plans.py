"""The plan of every read with a million students and five million records (`make test-large`)."""

import re

import pytest

from tests.declared import merged
from tests.large import plans

pytestmark = pytest.mark.large

BIG = set(merged("large.tables"))
# What a page of fifty may read, and what may go into a sort for it: a group of a thousand, each with the related rows;
# for a trainer the thousand students of ten groups, or ten logs of each. Modules declare what needs more, and why.
MOST_ROWS, MOST_SORTED = 7_200, 4_600
MORE = merged("large.exceptions")
# Sequential scans that are faster.
MAY_SCAN = merged("large.scans")
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
                if plan.scanned & BIG and not any(re.search(pattern, name) for pattern in MAY_SCAN):
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
