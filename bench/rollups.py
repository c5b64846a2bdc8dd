"""Rollups over millions of rows: what they save a reader, what they cost a writer, how long they take to compute.

The same aggregates are read in turns, from the rollup and from the raw rows, by the same select that the product
computes them with. Registers are marked with the triggers that record stale aggregates and without them, in turns.
"""

import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from sqlalchemy import Subquery, func, select

from bench.client import ApiClient
from bench.dataset import Dataset, application
from bench.marking import marked, new_meeting, students_of
from bench.servers import gunicorn
from campshub.attendance.queries.rollups import DAYS, MONTHS
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import Rollup, rollups
from campshub.workouts.queries.rollups import WEEKS

READS = 7  # of each way in a round
GROUP_MONTH = "a month's figures of each group"
GROUP_DAYS = "the same, day by day"
STUDENT_YEAR = "a student's attendance, twelve months"
STUDENT_WEEKS = "a student's training, twelve weeks"
MANY, FEW = "marking 1,000", "marking 30"
_TABLE = "attendance_records"
_ON, _OFF = "with", "without"


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Mark with and without triggers, rebuild all rollups, read them in both ways; return the cost of each."""
    app = application(dataset.settings())
    try:
        found = _writing(dataset, rounds=rounds)
        with app.app_context():
            found.update(_refreshing())
            dataset.clean()
            found.update(_counting(dataset))
            with dataset.stack.primary.connect(dataset.stack.database) as sql:
                sql.execute("VACUUM ANALYZE attendance_group_days, attendance_student_months, workout_weeks")
            found.update(_reading(dataset, rounds=rounds))
    finally:
        dataset.clean()
    return found


def _writing(dataset: Dataset, *, rounds: int) -> dict[str, Any]:
    """Mark registers through the whole chain, with the triggers and without them."""
    taken: dict[str, dict[str, list[float]]] = {what: {_ON: [], _OFF: []} for what in (MANY, FEW)}
    with gunicorn("wsgi:app", dataset.settings(), name="rollups") as url:
        api = ApiClient(url, dataset.headers(url))
        students = students_of(api)
        for number in range(rounds + 1):
            for how in (_ON, _OFF) if number % 2 else (_OFF, _ON):
                with nullcontext() if how == _ON else dataset.without_triggers(_TABLE, "note"):
                    # The first request detects the changed table and is not counted.
                    for what, count in ((None, 1_000), (MANY, 1_000), (FEW, 30)):
                        meeting = new_meeting(api, dataset.made.last.isoformat())
                        body = {"records": [{"student_id": one, "code": "present"} for one in students[:count]]}
                        took = marked(api, f"/api/attendance/sessions/{meeting}/records/", body)
                        if what is not None and number:  # the first round warms up
                            taken[what][how].append(took)
    return {
        f"{what}, with triggers": {
            "ms": round(statistics.median(times[_ON]), 1),
            "without, ms": round(statistics.median(times[_OFF]), 1),
            "times": round(statistics.median(times[_ON]) / statistics.median(times[_OFF]), 2),
        }
        for what, times in taken.items()
    }


def _refreshing() -> dict[str, Any]:
    """Refresh what the marking has recorded as stale."""
    stale_rows, begun = 0, time.perf_counter()
    while True:
        with unit_of_work(system=True) as session:
            counted = refresh.refresh_due(session)
        stale_rows += counted.stale_rows
        if counted.is_whole:
            break
    return {"folding": {"what": f"{stale_rows:,} stale rows", "seconds": round(time.perf_counter() - begun, 2)}}


def _counting(dataset: Dataset) -> dict[str, Any]:
    """Build every rollup from nothing, and once more when nothing is left to write."""
    found = {}
    with dataset.stack.primary.connect(dataset.stack.database) as sql:
        sql.execute(f"TRUNCATE {', '.join(rollups())}")
    for name, one in sorted(rollups().items()):
        with unit_of_work(system=True, read_only=True) as session:
            steps = [
                step
                for step in refresh.steps(session, organization_id=None, first=None, last=None)
                if step.rollup == name
            ]
            rows = session.scalar(select(func.count()).select_from(one.raw))
        (first, _), (again, counted) = (_rebuilt(one, steps) for _ in range(2))
        if counted.written or counted.removed:
            raise RuntimeError(f"{name}: a second rebuilding changed {counted}")
        with unit_of_work(system=True, read_only=True) as session:
            from_rollup = session.scalar(select(func.count()).select_from(one.model))
        what = f"{from_rollup:,} rows from {rows:,} in {len(steps)} steps"
        found[f"rebuild of {name}"] = {"what": what, "seconds": first, "again, seconds": again}
    return found


def _rebuilt(one: Rollup, steps: list[refresh.RefreshStep]) -> tuple[float, refresh.RefreshCount]:
    begun, total = time.perf_counter(), refresh.RefreshCount()
    for step in steps:
        with unit_of_work(system=True) as session:
            total += refresh.rebuild(session, one, step.organization_id, step.month)
    return round(time.perf_counter() - begun, 1), total


def _reading(dataset: Dataset, *, rounds: int) -> dict[str, Any]:
    """Read the same aggregates from the rollup, with its stale rows considered, and from the raw rows."""
    made = dataset.made
    end = made.last.replace(day=1) - timedelta(days=1)
    begin = end.replace(day=1)  # a whole month
    year, weeks = (made.last - timedelta(days=364)).replace(day=1), made.last - timedelta(weeks=12)
    student = made.student_id
    with unit_of_work(system=True, read_only=True, organization_id=made.organization_id) as session:
        return {
            what: _compared(session, one, _dates(one, made.organization_id, first, last, who), rounds, by)
            for what, one, first, last, who, by in (
                (GROUP_MONTH, DAYS, begin, end, None, "group_id"),
                (GROUP_DAYS, DAYS, begin, end, None, None),
                (STUDENT_YEAR, MONTHS, year, made.last, student, None),
                (STUDENT_WEEKS, WEEKS, weeks - timedelta(days=weeks.weekday()), made.last, student, None),
            )
        }


def _dates(one: Rollup, organization_id: uuid.UUID, first: Any, last: Any, who: Any) -> dict[str, list[Any]]:
    """Return the same bounds for the rollup, for the stale rows and for the raw rows."""
    rollup_date = "week" if one is WEEKS else one.date
    found = {}
    for name, model, day in (
        ("rollup", one.model, rollup_date),
        ("stale", one.stale, one.date),
        ("raw", one.raw, "local_date"),
    ):
        lowest = first.replace(day=1) if day == "month" else first
        bounds = [getattr(model, day) >= lowest, getattr(model, day) <= last]
        own = [model.student_id == who] if who is not None else []
        found[name] = [model.organization_id == organization_id, *bounds, *own]
    return found


def _statement(one: Rollup, way: Subquery, by: str | None) -> Any:
    """Return the statement that reads aggregates, row by row or added up by a column."""
    if by is None:
        return select(*(way.c[column.name] for column in one.table.columns)).order_by(
            *(way.c[column] for column in one.primary)
        )
    sums = [func.sum(way.c[name]) for name in one.aggregates]
    return select(way.c[by], *sums).group_by(way.c[by]).order_by(way.c[by])


def _compared(
    session: Session, one: Rollup, bounds: dict[str, list[Any]], rounds: int, by: str | None
) -> dict[str, Any]:
    """Read both ways in turns; the results must be equal."""
    ways: dict[str, Subquery] = {
        "rollup": one.current(**bounds),
        "raw": one.counted().where(*bounds["raw"]).subquery("counted"),
    }
    reads: dict[str, Callable[[], list[Any]]] = {}
    for name, way in ways.items():
        rows = _statement(one, way, by)
        reads[name] = lambda rows=rows: [tuple(row) for row in session.connection().execute(rows)]  # type: ignore[misc]
    if reads["rollup"]() != reads["raw"]():
        raise RuntimeError(f"{one.name}: the rollup differs from the raw rows")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds * READS):
        for name, way_of in reads.items():
            begun = time.perf_counter()
            found = way_of()
            taken[name].append((time.perf_counter() - begun) * 1000)
    from_rollup, raw = (statistics.median(taken[name]) for name in ("rollup", "raw"))
    return {
        "what": f"{len(found):,} rows",
        "ms": round(from_rollup, 2),
        "raw, ms": round(raw, 2),
        "times": round(raw / from_rollup, 1),
    }
