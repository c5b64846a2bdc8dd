"""The same reads on little data, where PostgreSQL prefers sequential scans: with those disabled, it must find an index.

With sequential scans and sorts disabled, a plan that uses either has no suitable index.
"""

import re

import pytest

from campshub.core.db.models import new_id
from tests.conftest import TEMPLATE
from tests.declared import merged
from tests.large import data, plans
from tests.large.conftest import opened

PEOPLE = ["admin", "trainer", "client"]  # with different visibility rules
SMALL = data.Scale(organizations=3, students=1_200, largest=600, records=6_000, months=6, sets=600)
# Pages that are sorted, since there is no other way.
SORTED = merged("large.sorted")


@pytest.fixture(scope="module")
def small(stack, worker_id):
    name = f"campshub_small_{new_id().hex}"
    stack.create_database(name, TEMPLATE)
    try:
        yield from opened(stack, name, SMALL, "enable_seqscan = off", "enable_sort = off")
    finally:
        stack.drop_database(name)


def test_every_read_can_use_an_index_and_reads_no_other_months(small):
    wrong, count = [], 0
    with plans.planning(small.app) as caught:
        for read in plans.reads(small.app, small.connection, small.made, PEOPLE):
            for name, plan, _ in plans.followed(small.people[read.who], read, caught):
                count += 1
                if plan.disabled and not any(re.search(pattern, name) for pattern, _ in SORTED):
                    wrong.append((name, plan.disabled))
                wrong += [(name, month) for month in sorted(plan.months - plans.months_of(read))]

    assert wrong == []
    assert count > 500
