"""Jobs of many steps: saved one by one, cancelled, taken over."""

import pytest

from campshub.core.jobs import runner
from campshub.core.jobs.registry import stepped_job
from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from tests.conftest import Client
from tests.core.jobs.conftest import DUE_NOW, GROUPS, in_steps


def test_steps_are_saved_one_by_one_and_told(owe, run, rows, place):
    admin = place.the(Role.ADMIN)
    told = []
    in_steps(4, then=lambda _: told.append(admin.get(f"/api/jobs/{message_id}/").json))
    message_id = owe("tests.steps", user_id=admin.user_id)
    queued = admin.get(f"/api/jobs/{message_id}/").json

    assert (queued["state"], queued["total"]) == ("queued", None)
    assert run(message_id) == Outcome.DONE
    assert [(one["state"], one["done"]) for one in told] == [("running", number) for number in range(4)]
    ended = admin.get(f"/api/jobs/{message_id}/").json
    assert (ended["state"], ended["done"], ended["total"], ended["result"]) == ("succeeded", 4, 4, {"made": 4})
    assert rows(GROUPS) == [(4,)]


def test_a_job_that_was_broken_off_goes_on_with_the_step_it_was_at(owe, run, rows):
    fails = [KeyboardInterrupt()]  # it comes like a kill, after the effect and before the commit

    def then(step):
        if step == 2 and fails:
            raise fails.pop()

    in_steps(5, then=then)
    message_id = owe("tests.steps")
    with pytest.raises(KeyboardInterrupt):
        run(message_id)
    assert rows(GROUPS) == [(2,)]
    rows(DUE_NOW)

    assert run(message_id) == Outcome.DONE
    assert rows(GROUPS) == [(5,)]


def test_a_step_of_a_claim_that_was_lost_is_not_saved(owe, run, rows):
    taken = []

    def then(step):
        if step == 1 and not taken:
            taken.append(True)
            rows(DUE_NOW)
            taken.append(run(message_id))  # somebody else takes it over, and ends it

    in_steps(3, then=then)
    message_id = owe("tests.steps")

    assert run(message_id) in {Outcome.LOST, Outcome.DONE}
    assert taken == [True, Outcome.DONE]
    assert rows(GROUPS) == [(3,)]


def test_a_step_is_not_saved_beside_that_of_whoever_has_taken_over(owe, run, rows):
    """Whoever took over is not finished, either: nothing but the number of the claim tells the two apart."""
    others = []

    def then(step):
        if step == 1 and not others:
            others.append(None)
            rows(DUE_NOW)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runner, "SLICE_S", 0.0)
                others.append(run(message_id))  # does this step, and lets others have their turn

    in_steps(3, then=then)
    message_id = owe("tests.steps")

    assert (run(message_id), others) == (Outcome.LOST, [None, Outcome.MORE])
    assert rows(GROUPS) == [(2,)]


def test_a_long_job_lets_others_have_their_turn(owe, run, rows, monkeypatch):
    monkeypatch.setattr(runner, "SLICE_S", 0.0)
    in_steps(3)
    message_id = owe("tests.steps")

    assert [run(message_id) for _ in range(4)] == [Outcome.MORE, Outcome.MORE, Outcome.DONE, Outcome.NOTHING]
    assert rows("SELECT attempts, claims FROM outbox") == [(1, 3)]  # only the last one has ended without another step


def test_progress_forgives_earlier_failures(owe, run, rows, monkeypatch):
    fails = dict.fromkeys(range(3), 4)

    def then(step):
        if fails[step]:
            fails[step] -= 1
            raise OSError

    in_steps(3, then=then)
    message_id = owe("tests.steps")
    outcomes = []
    while Outcome.DONE not in outcomes:
        outcomes.append(run(message_id))
        rows(DUE_NOW)
        assert Outcome.DEAD not in outcomes

    assert outcomes.count(Outcome.FAILED) == 12
    assert rows(GROUPS) == [(3,)]


def test_one_may_cancel_ones_own_job_before_and_while_it_runs(owe, run, rows, place):
    admin, trainer = place.the(Role.ADMIN), place.the(Role.TRAINER)
    in_steps(4, then=lambda step: step == 1 and trainer.delete(f"/api/jobs/{message_id}/"))
    message_id = owe("tests.steps", user_id=trainer.user_id)
    of_another = owe("tests.steps", user_id=admin.user_id)

    assert trainer.delete(f"/api/jobs/{of_another}/").status == 404
    assert admin.delete(f"/api/jobs/{of_another}/").status == 204
    assert run(of_another) == Outcome.NOTHING
    assert run(message_id) == Outcome.DONE
    assert [job["state"] for job in admin.get("/api/jobs/").json["items"]] == ["cancelled", "cancelled"]
    assert [job["id"] for job in trainer.get("/api/jobs/").json["items"]] == [str(message_id)]
    assert rows(GROUPS) == [(1,)]  # the step at which it was cancelled is not saved
    assert trainer.delete(f"/api/jobs/{message_id}/").status == 204


def test_a_job_that_has_ended_cannot_be_cancelled(owe, run, place):
    admin = place.the(Role.ADMIN)
    in_steps(1)
    message_id = owe("tests.steps", user_id=admin.user_id)
    run(message_id)

    assert admin.delete(f"/api/jobs/{message_id}/").problem["code"] == "job_ended"


def test_a_job_that_is_given_up_says_so(owe, run, rows, place):
    admin = place.the(Role.ADMIN)

    @stepped_job("tests.steps")
    def steps(session, run, position):
        raise ValueError("what it says is not kept")

    message_id = owe("tests.steps", user_id=admin.user_id)
    for _ in range(5):
        run(message_id)
        rows(DUE_NOW)

    told = admin.get(f"/api/jobs/{message_id}/").json
    assert (told["state"], told["problem"]) == ("failed", "ValueError")


def test_a_key_and_a_role_that_sees_little_know_nothing_of_others_jobs(owe, place):
    in_steps(1)
    admin = place.the(Role.ADMIN)
    mine = str(owe("tests.steps", user_id=admin.user_id))
    given = {"name": "Screen", "expires_in_days": 1, "permissions": ["jobs:read", "jobs:write"], "scope": "all"}
    key = place.signed_in(admin).made("/api/api-keys/", given)["key"]
    program = Client(place.app, {"Authorization": f"Bearer {key}"})
    role = {"name": "Desk", "permissions": ["jobs:read", "jobs:write", "organization:write"], "scope": "own"}
    desk = place.someone(Role.TRAINER)
    assert admin.patch(f"/api/users/{desk.user_id}/", {"role_id": admin.made("/api/roles/", role)["id"]}).status == 200

    assert admin.get(f"/api/jobs/{mine}/").status == 200
    for who in (program, desk):
        assert who.get("/api/jobs/").json["items"] == []
        assert (who.get(f"/api/jobs/{mine}/").status, who.delete(f"/api/jobs/{mine}/").status) == (404, 404)


def test_a_key_sees_the_jobs_that_were_asked_for_with_it(place):
    admin = place.the(Role.ADMIN)
    given = {"permissions": ["jobs:read", "reports:read", "reports:write", "students:read", "groups:read"]}
    made = place.signed_in(admin).made(
        "/api/api-keys/", {"name": "Office", "expires_in_days": 1, "scope": "all", **given}
    )
    program = Client(place.app, {"Authorization": f"Bearer {made['key']}"})
    group = admin.made("/api/groups/", {"code": "7B", "name": "Class 7B"})["id"]

    asked = program.post("/api/reports/", {"kind": "roster", "format": "csv", "parameters": {"group_id": group}}).json

    assert [one["id"] for one in program.get("/api/jobs/").json["items"]] == [asked["job_id"]]
