"""An application with test jobs, and functions that add and run a job."""

import pytest

from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import registry, runner, schedule
from campshub.core.jobs.registry import Step, stepped_job
from campshub.core.jobs.store import enqueue
from campshub.students.models import Group
from campshub.students.names import group_keys
from tests.conftest import new_tenant


@pytest.fixture
def app(scratch_app):
    return scratch_app


@pytest.fixture(autouse=True)
def own_jobs(app, monkeypatch):
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(schedule, "_entries", {})


@pytest.fixture
def tenant(app):
    return new_tenant(app)


@pytest.fixture
def add_job(app, tenant):
    def add(name, *, user_id=None, **arguments):
        with app.app_context(), unit_of_work(organization_id=tenant.id, user_id=user_id) as session:
            return enqueue(session, name, **arguments)

    return add


@pytest.fixture
def run(app, tenant):
    def run_job(message_id):
        with app.app_context():
            return runner.run_one(app.extensions["campshub"], tenant.id, message_id)

    return run_job


@pytest.fixture
def sql(scratch_sql):
    return scratch_sql


GROUPS = "SELECT count(*) FROM groups"
DUE_NOW = "UPDATE outbox SET available_at = now(), resend_at = now() WHERE finished_at IS NULL RETURNING 1"


def a_group(session):
    code = new_id().hex
    session.add(Group(code=code, name="Early birds", kind="class", **group_keys(code, "Early birds")))


def in_steps(number, *, then=lambda step: None):
    """Register a job of some steps; each step creates a group."""

    @stepped_job("tests.steps")
    def steps(session, run, position):
        step = (position or {"step": 0})["step"]
        a_group(session)
        then(step)
        if step + 1 == number:
            return Step(finished=True, done=number, total=number, result={"made": number})
        return Step({"step": step + 1}, done=step + 1, total=number)
