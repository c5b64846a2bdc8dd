"""Jobs wait for a replica that has replayed the position they need."""

import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from campshub.core.db.models import new_id
from campshub.core.db.session import begin, commit, db
from campshub.core.db.unit import Position, Unit
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import replicas
from campshub.core.freshness.protocol import comparable
from campshub.students.models import Group
from campshub.students.names import group_keys


def position_of(app, tenant) -> Position:
    """Write a row, and return the position of its commit."""
    with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
        code = new_id().hex
        session.add(Group(code=code, name="Group", kind="class", **group_keys(code, "Group")))
    return session.unit.ended_at


def groups_at(app, tenant, position: Position) -> tuple[str, int]:
    """Read as a job does; return the server that served it, and the number of groups."""
    with app.app_context():
        unit = Unit(engine=db.engines[None], organization_id=tenant.id, checks_caller=False)
        replica = app.extensions["campshub"].replicas.wait_for(unit, position)
        with replica.reading(unit, comparable(position.lsn)) if replica else nullcontext(unit) as lent:
            session = begin(lent)
            count = session.scalar(select(func.count()).select_from(Group))
            commit(session)
            session.close()
        return lent.server, count


@pytest.fixture
def waiting(monkeypatch):
    """Record how long jobs wait, and call a function at the first wait."""

    def wait(app, seconds, meanwhile=lambda: None):
        waits: list[float] = []

        def sleep(seconds):
            if not waits:
                meanwhile()
            waits.append(seconds)
            time.sleep(seconds)

        monkeypatch.setattr(app.extensions["campshub"].replicas, "_wait_s", seconds)
        monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        return waits

    return wait


def test_a_unit_of_work_reports_the_position_of_its_commit(stack, apps, tenant):
    before = position_of(apps[0], tenant)
    after = position_of(apps[0], tenant)

    query = "SELECT server_identity(), %s::pg_lsn < %s::pg_lsn"
    (row,) = stack.primary.query(query, before.lsn, after.lsn, database=stack.database)
    assert row == (after.primary, True)
    with apps[0].app_context(), unit_of_work(organization_id=tenant.id, read_only=True) as session:
        session.scalar(select(func.count()).select_from(Group))
    assert session.unit.ended_at is None


def test_a_job_waits_until_the_replica_has_its_position(stack, apps, tenant, waiting):
    stack.pause_replay()
    position = position_of(apps[0], tenant)
    waits = waiting(apps[1], 30, stack.resume_replay)

    assert groups_at(apps[1], tenant, position) == ("replica", 1)
    assert waits


def test_a_job_that_has_waited_long_enough_reads_from_the_primary(stack, apps, tenant, waiting):
    groups_at(apps[1], tenant, position_of(apps[0], tenant))
    stack.pause_replay()
    position = position_of(apps[0], tenant)
    waits = waiting(apps[1], 0.3)

    assert groups_at(apps[1], tenant, position) == ("primary", 2)
    assert waits


def test_a_job_does_not_wait_for_a_position_of_another_primary(apps, tenant, waiting):
    position = position_of(apps[0], tenant)
    apps[1].extensions["campshub"].lease.wait()
    waits = waiting(apps[1], 30)

    assert groups_at(apps[1], tenant, replace(position, primary="another")) == ("primary", 1)
    assert waits == []
