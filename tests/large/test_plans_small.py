"""The same reads on little data, where PostgreSQL would rather read everything: told not to, it must find an index.

With reading from end to end and sorting forbidden, a plan that does either has no index to go by.
"""

import re

import pytest

from campshub.core.db.models import new_id
from tests.conftest import TEMPLATE
from tests.large import data, plans
from tests.large.conftest import opened

PEOPLE = ["admin", "trainer", "client"]  # whose rules of what they see differ
SMALL = data.Scale(organizations=3, students=1_200, largest=600, records=6_000, months=6, sets=600)
# Pages that are sorted, since there is no other way.
SORTED = (
    ("/api/students/ (q [0-3]|sort -?relevance)", "those found by the search: ranked, or put in the order of names"),
    ("/api/students/statistics/", "figures, no page: the groups with most students first"),
    ("/api/api-keys/", "each key's few addresses, the one last used first"),
    ("/api/attendance/codes/", "a handful of an organization's own and the platform's, in one order"),
    ("/api/muscles/", "some dozen, the platform's"),
    ("/api/attendance/analytics/", "figures that are stale are counted, and put in order with those that are kept"),
    ("/api/progress/weeks/", "as above; and the weeks of all whom one sees are added up"),
    ("/api/users/", "their names stand in no tenant's table, so no tenant's index has them"),
    ("/api/workout-logs/<uuid:log_id>/ bare", "one log's exercises and sets"),
    ("/api/workout-logs/<uuid:log_id>/sets/ ", "one log's sets, exercise by exercise"),
    ("/api/exercises/", "each exercise's few muscles, by their shares; the words searched for"),
)


@pytest.fixture(scope="module")
def small(stack, worker_id):
    name = f"campshub_small_{new_id().hex}"
    stack.create_database(name, TEMPLATE)
    try:
        yield from opened(stack, name, SMALL, "enable_seqscan = off", "enable_sort = off")
    finally:
        stack.drop_database(name)


def test_every_read_can_go_by_an_index_and_leaves_other_months_alone(small):
    wrong, seen = [], 0
    with plans.planning(small.app) as caught:
        for read in plans.reads(small.app, small.connection, small.made, PEOPLE):
            for name, plan, _ in plans.followed(small.people[read.who], read, caught):
                seen += 1
                if plan.disabled and not any(re.search(pattern, name) for pattern, _ in SORTED):
                    wrong.append((name, plan.disabled))
                wrong += [(name, month) for month in sorted(plan.months - plans.months_of(read))]

    assert wrong == []
    assert seen > 500
