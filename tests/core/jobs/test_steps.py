"""Jobs of many steps: saved one by one, cancelled, taken over."""

import pytest

from campshub.core.jobs import runner
from campshub.core.jobs.registry import stepped_job
from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from tests.conftest import Client
from tests.core.jobs.conftest import DUE_NOW, GROUPS, in_steps


def test_steps_are_saved_one_by_one_and_reported(add_job, run, sql, tenant):
    admin = tenant.the(Role.ADMIN)
    states = []
    in_steps(4, then=lambda _: states.append(admin.get(f"/api/jobs/{message_id}/").json))
    message_id = add_job("tests.steps", user_id=admin.user_id)
    queued = admin.get(f"/api/jobs/{message_id}/").json

    assert (queued["state"], queued["total"]) == ("queued", None)
    assert run(message_id) == Outcome.DONE
    assert [(one["state"], one["done"]) for one in states] == [("running", number) for number in range(4)]
    ended = admin.get(f"/api/jobs/{message_id}/").json
    assert (ended["state"], ended["done"], ended["total"], ended["result"]) == ("succeeded", 4, 4, {"made": 4})
    assert sql(GROUPS) == [(4,)]


def test_an_interrupted_job_resumes_at_its_step(add_job, run, sql):
    fails = [KeyboardInterrupt()]  # like a kill, after the effect and before the commit

    def then(step):
        if step == 2 and fails:
            raise fails.pop()

    in_steps(5, then=then)
    message_id = add_job("tests.steps")
    with pytest.raises(KeyboardInterrupt):
        run(message_id)
    assert sql(GROUPS) == [(2,)]
    sql(DUE_NOW)

    assert run(message_id) == Outcome.DONE
    assert sql(GROUPS) == [(5,)]


def test_a_step_is_not_saved_after_its_claim_was_lost(add_job, run, sql):
    taken = []

    def then(step):
        if step == 1 and not taken:
            taken.append(True)
            sql(DUE_NOW)
            taken.append(run(message_id))  # another worker takes it over, and finishes it

    in_steps(3, then=then)
    message_id = add_job("tests.steps")

    assert run(message_id) in {Outcome.LOST, Outcome.DONE}
    assert taken == [True, Outcome.DONE]
    assert sql(GROUPS) == [(3,)]


def test_a_step_is_not_saved_beside_that_of_the_worker_that_took_over(add_job, run, sql):
    """The worker that took over has not finished either: only the fencing token distinguishes the two."""
    others = []

    def then(step):
        if step == 1 and not others:
            others.append(None)
            sql(DUE_NOW)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runner, "SLICE_S", 0.0)
                others.append(run(message_id))  # does this step, and yields the claim

    in_steps(3, then=then)
    message_id = add_job("tests.steps")

    assert (run(message_id), others) == (Outcome.LOST, [None, Outcome.MORE])
    assert sql(GROUPS) == [(2,)]


def test_a_long_job_yields_to_other_jobs(add_job, run, sql, monkeypatch):
    monkeypatch.setattr(runner, "SLICE_S", 0.0)
    in_steps(3)
    message_id = add_job("tests.steps")

    assert [run(message_id) for _ in range(4)] == [Outcome.MORE, Outcome.MORE, Outcome.DONE, Outcome.NOTHING]
    assert sql("SELECT attempts, claims FROM outbox") == [(1, 3)]  # only the last run has ended without another step


def test_progress_resets_the_count_of_failures(add_job, run, sql, monkeypatch):
    fails = dict.fromkeys(range(3), 4)

    def then(step):
        if fails[step]:
            fails[step] -= 1
            raise OSError

    in_steps(3, then=then)
    message_id = add_job("tests.steps")
    outcomes = []
    while Outcome.DONE not in outcomes:
        outcomes.append(run(message_id))
        sql(DUE_NOW)
        assert Outcome.DEAD not in outcomes

    assert outcomes.count(Outcome.FAILED) == 12
    assert sql(GROUPS) == [(3,)]


def test_a_user_can_cancel_their_own_job_before_and_while_it_runs(add_job, run, sql, tenant):
    admin, trainer = tenant.the(Role.ADMIN), tenant.the(Role.TRAINER)
    in_steps(4, then=lambda step: step == 1 and trainer.delete(f"/api/jobs/{message_id}/"))
    message_id = add_job("tests.steps", user_id=trainer.user_id)
    of_another = add_job("tests.steps", user_id=admin.user_id)

    assert trainer.delete(f"/api/jobs/{of_another}/").status == 404
    assert admin.delete(f"/api/jobs/{of_another}/").status == 204
    assert run(of_another) == Outcome.NOTHING
    assert run(message_id) == Outcome.DONE
    assert [job["state"] for job in admin.get("/api/jobs/").json["items"]] == ["cancelled", "cancelled"]
    assert [job["id"] for job in trainer.get("/api/jobs/").json["items"]] == [str(message_id)]
    assert sql(GROUPS) == [(1,)]  # the step during which it was cancelled is not saved
    assert trainer.delete(f"/api/jobs/{message_id}/").status == 204


def test_a_job_that_has_ended_cannot_be_cancelled(add_job, run, tenant):
    admin = tenant.the(Role.ADMIN)
    in_steps(1)
    message_id = add_job("tests.steps", user_id=admin.user_id)
    run(message_id)

    assert admin.delete(f"/api/jobs/{message_id}/").problem["code"] == "job_ended"


def test_a_job_that_is_given_up_reports_its_problem(add_job, run, sql, tenant):
    admin = tenant.the(Role.ADMIN)

    @stepped_job("tests.steps")
    def steps(session, run, position):
        raise ValueError("this message is not stored")

    message_id = add_job("tests.steps", user_id=admin.user_id)
    for _ in range(5):
        run(message_id)
        sql(DUE_NOW)

    shown = admin.get(f"/api/jobs/{message_id}/").json
    assert (shown["state"], shown["problem"]) == ("failed", "ValueError")


def test_keys_and_roles_with_few_permissions_see_no_jobs_of_others(add_job, tenant):
    in_steps(1)
    admin = tenant.the(Role.ADMIN)
    mine = str(add_job("tests.steps", user_id=admin.user_id))
    given = {"name": "Screen", "expires_in_days": 1, "permissions": ["jobs:read", "jobs:write"], "scope": "all"}
    key = tenant.signed_in(admin).made("/api/api-keys/", given)["key"]
    program = Client(tenant.app, {"Authorization": f"Bearer {key}"})
    role = {"name": "Desk", "permissions": ["jobs:read", "jobs:write", "organization:write"], "scope": "own"}
    desk = tenant.someone(Role.TRAINER)
    assert admin.patch(f"/api/users/{desk.user_id}/", {"role_id": admin.made("/api/roles/", role)["id"]}).status == 200

    assert admin.get(f"/api/jobs/{mine}/").status == 200
    for who in (program, desk):
        assert who.get("/api/jobs/").json["items"] == []
        assert (who.get(f"/api/jobs/{mine}/").status, who.delete(f"/api/jobs/{mine}/").status) == (404, 404)


def test_a_key_sees_the_jobs_that_it_requested(tenant):
    admin = tenant.the(Role.ADMIN)
    given = {"permissions": ["jobs:read", "reports:read", "reports:write", "students:read", "groups:read"]}
    made = tenant.signed_in(admin).made(
        "/api/api-keys/", {"name": "Office", "expires_in_days": 1, "scope": "all", **given}
    )
    program = Client(tenant.app, {"Authorization": f"Bearer {made['key']}"})
    group = admin.made("/api/groups/", {"code": "7B", "name": "Class 7B"})["id"]

    report = program.post("/api/reports/", {"kind": "roster", "format": "csv", "parameters": {"group_id": group}}).json

    assert [one["id"] for one in program.get("/api/jobs/").json["items"]] == [report["job_id"]]
