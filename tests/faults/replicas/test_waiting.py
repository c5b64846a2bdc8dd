"""Jobs wait for a replica that has what they need."""

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


def position_of(app, place) -> Position:
    """Write something, and return where its commit has ended."""
    with app.app_context(), unit_of_work(organization_id=place.id) as session:
        code = new_id().hex
        session.add(Group(code=code, name="Group", kind="class", **group_keys(code, "Group")))
    return session.unit.ended_at


def groups_at(app, place, position: Position) -> tuple[str, int]:
    """Read as a job does; return which server answered, and how many groups there are."""
    with app.app_context():
        unit = Unit(engine=db.engines[None], organization_id=place.id, checks_caller=False)
        replica = app.extensions["campshub"].replicas.wait_for(unit, position)
        with replica.reading(unit, comparable(position.lsn)) if replica else nullcontext(unit) as lent:
            session = begin(lent)
            count = session.scalar(select(func.count()).select_from(Group))
            commit(session)
            session.close()
        return lent.server, count


@pytest.fixture
def waiting(monkeypatch):
    """Tell for how long jobs wait, and do something the first time that one does."""

    def wait(app, seconds, meanwhile=lambda: None):
        waits: list[float] = []

        def sleep(asked):
            if not waits:
                meanwhile()
            waits.append(asked)
            time.sleep(asked)

        monkeypatch.setattr(app.extensions["campshub"].replicas, "_wait_s", seconds)
        monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        return waits

    return wait


def test_a_unit_tells_where_its_commit_has_ended(stack, apps, place):
    before = position_of(apps[0], place)
    after = position_of(apps[0], place)

    asked = "SELECT server_identity(), %s::pg_lsn < %s::pg_lsn"
    (told,) = stack.primary.query(asked, before.lsn, after.lsn, database=stack.database)
    assert told == (after.primary, True)
    with apps[0].app_context(), unit_of_work(organization_id=place.id, read_only=True) as session:
        session.scalar(select(func.count()).select_from(Group))
    assert session.unit.ended_at is None


def test_a_job_waits_for_the_replica_to_have_what_it_needs(stack, apps, place, waiting):
    stack.pause_replay()
    position = position_of(apps[0], place)
    waits = waiting(apps[1], 30, stack.resume_replay)

    assert groups_at(apps[1], place, position) == ("replica", 1)
    assert waits


def test_a_job_that_has_waited_long_enough_reads_from_the_primary(stack, apps, place, waiting):
    groups_at(apps[1], place, position_of(apps[0], place))
    stack.pause_replay()
    position = position_of(apps[0], place)
    waits = waiting(apps[1], 0.3)

    assert groups_at(apps[1], place, position) == ("primary", 2)
    assert waits


def test_a_position_of_another_primary_is_not_waited_for(apps, place, waiting):
    position = position_of(apps[0], place)
    apps[1].extensions["campshub"].lease.wait()
    waits = waiting(apps[1], 30)

    assert groups_at(apps[1], place, replace(position, primary="another")) == ("primary", 1)
    assert waits == []
