"""The same reads on little data, where PostgreSQL prefers sequential scans: with those disabled, it must find an index.

With sequential scans and sorts disabled, a plan that uses either has no suitable index.
"""

import re

import pytest

from campshub.core.db.models import new_id
from tests.conftest import TEMPLATE
from tests.large import data, plans
from tests.large.conftest import opened

PEOPLE = ["admin", "trainer", "client"]  # with different visibility rules
SMALL = data.Scale(organizations=3, students=1_200, largest=600, records=6_000, months=6, sets=600)
# Pages that are sorted, since there is no other way.
SORTED = (
    ("/api/students/ (q [0-3]|sort -?relevance)", "search results: ranked, or sorted by name"),
    ("/api/students/statistics/", "aggregates, no page: the groups with most students first"),
    ("/api/api-keys/", "each key's few addresses, the one last used first"),
    ("/api/attendance/codes/", "a handful of an organization's own and the platform's, in one order"),
    ("/api/muscles/", "some dozen, the platform's"),
    ("/api/attendance/analytics/", "stale rollups are computed, and sorted together with the stored ones"),
    ("/api/progress/weeks/", "as above; and the weeks of all visible students are added up"),
    ("/api/users/", "their names are in no tenant's table, so no tenant's index has them"),
    ("/api/workout-logs/<uuid:log_id>/ bare", "one log's exercises and sets"),
    ("/api/workout-logs/<uuid:log_id>/sets/ ", "one log's sets, exercise by exercise"),
    ("/api/exercises/", "each exercise's few muscles, by their shares; the search terms"),
)


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
