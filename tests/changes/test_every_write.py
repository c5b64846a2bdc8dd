"""Every write of every operation is in the change sets: also bulk writes, merges, cascades and moves."""

import pytest

from tests.seeds import seed, spends
from tests.surface import operations
from tests.test_budgets import run_operation

# By table: the feed, and the column with the id of the feed's row.
WRITTEN = {
    "students": ("students", "id"),
    "groups": ("groups", "id"),
    "group_trainers": ("groups", "group_id"),
    "enrolments": ("enrolments", "id"),
    "attendance_sessions": ("sessions", "id"),
    "attendance_records": ("records", "id"),
    "attendance_codes": ("codes", "id"),
    "workout_logs": ("workout_logs", "id"),
    "workout_log_exercises": ("workout_logs", "log_id"),
    "workout_sets": ("workout_logs", "log_id"),
}
# Rows whose last writing transaction has no change set that names them. ``xmin`` has the lower 32 bits of its number,
# or of that of a savepoint in it; then both have the time of the transaction's beginning.
MISSED = """
SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (
         SELECT FROM change_sets s WHERE s.organization_id = t.organization_id AND s.entity = '{1}'
            AND t.{2} = ANY(s.ids) AND (s.transaction_id %% (1::bigint << 32) = t.xmin::text::bigint
              OR s.transaction_id %% (1::bigint << 32) < t.xmin::text::bigint AND s.recorded_at = t.updated_at)))
  FROM {0} t WHERE t.organization_id = %s
"""
MODULES = {"students", "attendance", "workouts"}


@pytest.fixture(scope="module")
def written(app):
    """Organizations in which every operation of the feeds' modules has written."""
    shared, tenants = seed(app, "Quokka"), []
    for operation in (one for one in operations(app) if one.method != "GET" and one.module in MODULES):
        seeds = seed(app, "Wombat") if spends(operation) else shared
        response = run_operation(seeds, operation)
        assert response.status < 300, (operation.name, response.raw.get_data(as_text=True))
        tenants.append(seeds.tenant.id)
    return set(tenants)


def test_every_row_is_in_a_change_set_of_its_last_transaction(written, sql):
    missed, seen = {}, set()
    for tenant_id in written:
        for table, names in WRITTEN.items():
            rows, without = sql(MISSED.format(table, *names), tenant_id)[0]
            seen |= {table} if rows else set()
            if without:
                missed[table] = without

    assert missed == {}
    assert seen == WRITTEN.keys()


def test_removed_rows_are_in_change_sets(written, sql):
    removed = sql(
        "SELECT DISTINCT entity FROM change_sets WHERE is_removed AND organization_id = ANY(%s)", list(written)
    )

    assert ("records",) in removed
