"""Rebuilding the rollups over five million records and a million sets (`make test-large`)."""

import time

import pytest

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups

pytestmark = pytest.mark.large

RAW = {
    "attendance_group_days": "attendance_records",
    "attendance_student_months": "attendance_records",
    "workout_weeks": "workout_sets",
}


def test_all_rollups_are_rebuilt_and_correct_rows_are_not_written_again(large, record_property):
    dates = {"organization_id": None, "first": large.made.first, "last": large.made.last}
    with large.app.app_context():
        with unit_of_work(system=True, read_only=True) as session:
            steps = refresh.steps(session, **dates)
        for name, one in rollups().items():
            own_steps = [step for step in steps if step.rollup == name]
            seconds, again = (rebuilt(one, own_steps) for _ in range(2))
            rows = large.connection.execute(f"SELECT count(*) FROM {RAW[name]}").fetchone()[0]
            summary = f"{name}: {seconds[1].written:,} rows from {rows:,} in {seconds[0]:.1f} s, {len(own_steps)} steps"
            record_property("figure", f"{summary}; again {again[0]:.1f} s")
            print(f"\n{summary}; again {again[0]:.1f} s")
            assert (again[1].written, again[1].removed) == (0, 0)
        largest = [step for step in steps if step.organization_id == large.made.organization_id][-3:]
        with unit_of_work(system=True, read_only=True) as session:
            found = [
                refresh.check(session, rollups()[step.rollup], step.organization_id, step.month, most=3)
                for step in largest
            ]

    assert found == [[]] * len(largest)


def rebuilt(rollup, steps):
    """Rebuild; return the duration in seconds and the counts."""
    begun, total = time.perf_counter(), refresh.RefreshCount()
    for step in steps:
        with unit_of_work(system=True) as session:
            total += refresh.rebuild(session, rollup, step.organization_id, step.month)
    return time.perf_counter() - begun, total
