"""A caller who has lost access loses reports: during rendering, on download, and after delivery."""

from datetime import datetime, timedelta

import pytest

from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from campshub.reports.kinds import attendance_records
from campshub.reports.service import rendering
from campshub.reports.service.cleanup import sweep_orphans
from campshub.reports.service.schedules import MOST_OF_ONE, make_due
from tests.conftest import Client
from tests.emails import emails_in, path_in
from tests.reports.conftest import MONDAY

WEEK = {"from": str(MONDAY), "to": str(MONDAY + timedelta(days=6))}


@pytest.fixture
def marked(school):
    for number in range(2):
        school.mark(MONDAY + timedelta(days=number), asha="present", ravi="absent", anna="late")
    return school


def body(school, **changes):
    """Return a schedule of all marks, without recipients."""
    return {
        "name": "All marks",
        "kind": "attendance_records",
        "format": "csv",
        "parameters": {"period": "last_365_days"},
        "frequency": "daily",
        "local_time": "07:30",
        "recipient_ids": [],
        **changes,
    }


def sent(school, schedule, to):
    """Run a schedule; return the link that a user was sent, None if there was none."""
    with school.tenant.app.app_context():
        services = school.tenant.app.extensions["campshub"]
        make_due(services, datetime.fromisoformat(schedule["next_at"]) + timedelta(minutes=1))
    school.work(school.admin.get("/api/reports/?limit=1").json["items"][0]["job_id"])
    school.work_off()
    messages = emails_in(services.settings.mail_folder, to=to.get("/api/me/").json["email"])
    return path_in(messages[-1]) if messages else None


def fetched(school, link):
    return Client(school.tenant.app).get(link).status


def demote(school, who, role="trainer"):
    assert school.admin.patch(f"/api/users/{who.user_id}/", {"role": role}).status == 200


def leave_groups(school):
    assert school.admin.patch(f"/api/groups/{school.group_id}/", {"trainer_ids": []}).status == 200


@pytest.mark.parametrize("lost_at", ["gathering", "finishing"])
def test_a_report_starts_again_when_its_requester_loses_access(marked, stack, monkeypatch, lost_at):
    someone = marked.tenant.someone(Role.ADMIN)
    monkeypatch.setattr(rendering, "PART_ROWS", 1)
    monkeypatch.setattr(attendance_records.AttendanceRecordsReport, "at_once", 1)
    original, calls = {"gathering": rendering._gather, "finishing": rendering._finish}[lost_at], []

    def meanwhile(*arguments):
        calls.append(arguments)
        if len(calls) != {"gathering": 4, "finishing": 1}[lost_at]:
            return original(*arguments)
        stack.replica.pause()  # the worker must see the change although the replica does not
        try:
            demote(marked, someone)
            return original(*arguments)
        finally:
            stack.replica.resume()

    monkeypatch.setattr(rendering, original.__name__, meanwhile)
    requested = someone.post("/api/reports/", {"kind": "attendance_records", "format": "csv", "parameters": WEEK}).json
    assert marked.work(requested["job_id"])[-1] is Outcome.DONE

    shown = someone.get(f"/api/reports/{requested['id']}/").json
    assert (shown["state"], shown["done"]) == ("ready", 0), "they train no group"
    assert b"Asha" not in marked.file(shown)


def test_a_trainer_has_a_report_while_they_train_its_groups(school):
    report = school.report("roster", who=school.trainer, group_id=school.group_id)
    link = report["download"]["url"]
    assert fetched(school, link) == 200

    leave_groups(school)

    assert fetched(school, link) == 404
    assert school.trainer.get(f"/api/reports/{report['id']}/").json["download"] is None


def test_a_report_sent_to_its_author_ends_like_their_other_reports(marked):
    someone = marked.tenant.someone(Role.ADMIN)
    schedule = someone.made("/api/report-schedules/", body(marked, recipient_ids=[str(someone.user_id)]))
    link = sent(marked, schedule, someone)
    assert fetched(marked, link) == 200

    demote(marked, someone)

    assert fetched(marked, link) == 404


@pytest.mark.parametrize("loss", [lambda school: demote(school, school.trainer, "nutritionist"), leave_groups])
def test_a_sent_report_ends_when_its_recipient_loses_access(marked, loss):
    trainer = marked.trainer
    link = sent(
        marked,
        marked.admin.made("/api/report-schedules/", body(marked, recipient_ids=[str(trainer.user_id)])),
        trainer,
    )
    assert fetched(marked, link) == 200, "what the maker sees is sent to others"

    loss(marked)

    assert fetched(marked, link) == 404


def test_a_recipient_without_access_to_the_data_gets_no_email(marked):
    nutritionist = marked.tenant.the(Role.NUTRITIONIST)
    schedule = marked.admin.made("/api/report-schedules/", body(marked, recipient_ids=[str(nutritionist.user_id)]))

    assert sent(marked, schedule, nutritionist) is None


def test_a_user_cannot_schedule_what_they_may_not_read(marked):
    role = {
        "name": "Office",
        "permissions": ["organization:read", "organization:write", "reports:read", "reports:write", "users:read"],
        "scope": "all",
    }
    role_id = marked.admin.made("/api/roles/", role)["id"]
    office = marked.tenant.someone(Role.ADMIN)
    assert marked.admin.patch(f"/api/users/{office.user_id}/", {"role_id": role_id}).status == 200
    schedule = marked.admin.made("/api/report-schedules/", body(marked))
    at = f"/api/report-schedules/{schedule['id']}/"

    for change in ({"recipient_ids": [str(office.user_id)]}, {"local_time": "08:00"}, {"format": "pdf"}):
        refused = office.patch(at, change)
        assert (refused.status, refused.problem["code"]) == (403, "kind_not_yours"), change
    assert office.patch(at, {"name": "Marks", "is_paused": True}).status == 200


def test_an_api_key_cannot_create_or_see_schedules(marked):
    schedule = marked.admin.made("/api/report-schedules/", body(marked))
    allowed = {"permissions": ["reports:read", "reports:write", "attendance:read", "groups:read", "students:read"]}
    fields = {"name": "Office", "expires_in_days": 1, "scope": "all", **allowed}
    key = marked.tenant.signed_in(marked.admin).made("/api/api-keys/", fields)["key"]
    program = Client(marked.tenant.app, {"Authorization": f"Bearer {key}"})
    at = f"/api/report-schedules/{schedule['id']}/"

    assert program.get("/api/report-schedules/").json["items"] == []
    assert program.get(at).status == 404
    for refused in (
        program.post("/api/report-schedules/", body(marked)),
        program.patch(at, {"name": "Mine"}),
        program.delete(at),
    ):
        assert (refused.status, refused.problem["code"]) == (403, "not_for_keys")


def test_a_repeated_creation_does_not_show_another_users_schedule(marked):
    fields = body(marked, id="01890000-0000-7000-8000-00000000abcd")
    assert marked.admin.post("/api/report-schedules/", fields).status == 201
    assert marked.admin.post("/api/report-schedules/", fields).status == 200

    refused = marked.tenant.someone(Role.ADMIN).post("/api/report-schedules/", fields)
    assert (refused.status, refused.problem["code"]) == (409, "id_taken")


def test_the_number_of_schedules_per_user_is_limited(marked, sql):
    schedule = marked.admin.made("/api/report-schedules/", body(marked))
    sql(
        "INSERT INTO report_schedules SELECT (jsonb_populate_record(s, jsonb_build_object('id', uuidv7()))).*"
        " FROM report_schedules s, generate_series(2, %s) WHERE id = %s RETURNING 1",
        MOST_OF_ONE,
        schedule["id"],
    )

    refused = marked.admin.post("/api/report-schedules/", body(marked))
    assert (refused.status, refused.problem["code"]) == (409, "too_many_schedules")
    assert marked.tenant.someone(Role.ADMIN).post("/api/report-schedules/", body(marked)).status == 201


def test_other_files_in_the_storage_do_not_stop_the_cleanup(school):
    services = school.tenant.app.extensions["campshub"]
    for name in ("notes.txt", "00000000-0000-7000-8000-000000000000/x"):
        with services.storage.open_write(f"{school.tenant.id}/reports/{name}") as file:
            file.write(b"x")

    with school.tenant.app.app_context():
        assert sweep_orphans(services) >= 1

    assert services.storage.folder(f"{school.tenant.id}/reports") == ["notes.txt"]


def test_links_have_their_own_anonymous_rate_limit(school):
    report = school.report("roster", group_id=school.group_id)

    response = Client(school.tenant.app).get(report["download"]["url"])

    assert response.headers["RateLimit"].startswith('"files"')
