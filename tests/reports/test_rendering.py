"""Rendering: another worker continues after a kill, a removed report leaves nothing, an expired report is removed."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import Job
from campshub.core.jobs.runner import Outcome, run_one
from campshub.reports.kinds import all_kinds
from campshub.reports.service import cleanup, rendering
from tests.conftest import ROOT
from tests.reports.conftest import MONDAY

PATIENCE_S = 120


@pytest.fixture
def marked(school):
    for number in range(4):
        school.mark(MONDAY + timedelta(days=number), asha="present", ravi="absent", anna="late")
    return school


def requested(school, kind="attendance_records", **parameters):
    parameters = parameters or {"from": str(MONDAY), "to": str(MONDAY + timedelta(days=6))}
    return school.admin.post("/api/reports/", {"kind": kind, "format": "csv", "parameters": parameters}).json


def folder_of(school, report):
    return f"{school.tenant.id}/reports/{report['id']}"


def progress(school, report):
    with school.tenant.app.app_context(), unit_of_work(organization_id=school.tenant.id, read_only=True) as session:
        job = session.get(Job, (school.tenant.id, UUID(report["job_id"])))
        return job.done, (job.position or {}).get("parts", [])


def test_another_worker_continues_where_a_killed_worker_stopped(marked, stack, database, monkeypatch):
    expected = marked.rows("attendance_records", **{"from": str(MONDAY), "to": str(MONDAY + timedelta(days=6))})
    report = requested(marked)
    environment = {
        **os.environ,
        **stack.environment(database),
        "JOB_CLAIM_S": "1",
        "JOB_RETRY_S": "0.2",
        "PYTHONPATH": str(ROOT),
    }
    arguments = [sys.executable, "tests/reports/slow_worker.py", str(marked.tenant.id), report["job_id"]]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as worker:
        until = time.monotonic() + PATIENCE_S
        while progress(marked, report)[0] < 3 and time.monotonic() < until:
            time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
    done, parts = progress(marked, report)
    assert 3 <= done < len(expected) == 12
    assert len(parts) == done
    shown = marked.admin.get(f"/api/reports/{report['id']}/").json
    assert (shown["state"], shown["done"]) == ("running", done)

    gathered = []
    gather = rendering._gather
    monkeypatch.setattr(
        rendering, "_gather", lambda *arguments: gathered.append(arguments[2]["rows"]) or gather(*arguments)
    )
    with marked.tenant.app.app_context():
        services = marked.tenant.app.extensions["campshub"]
        while run_one(services, marked.tenant.id, UUID(report["job_id"])) is not Outcome.DONE:
            assert time.monotonic() < until
            time.sleep(0.2)  # until the claim of the killed worker has expired

    assert gathered[0] == done, "what was gathered is not gathered again"
    ready = marked.admin.get(f"/api/reports/{report['id']}/").json
    text = marked.file(ready).decode("utf-8-sig")
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == [row["Member"] for row in expected]


def test_an_attempt_whose_claim_has_expired_changes_nothing(marked, monkeypatch):
    """Each attempt has its own file names, so what it writes too late belongs to no report."""
    report = requested(marked)
    path = folder_of(marked, report)
    services = marked.tenant.app.extensions["campshub"]
    own = {"organization_id": marked.tenant.id, "report_id": UUID(report["id"])}
    spool = rendering.RowStore(services.storage, services.file_keys, **own)
    spool.add([["2020-01-01", "Outdated", *[None] * 8]], None)

    marked.work(report["job_id"])

    ready = marked.admin.get(f"/api/reports/{report['id']}/").json
    assert b"Outdated" not in marked.file(ready)
    marked.work_off()
    assert len(services.storage.folder(path)) == 1


def test_a_report_that_was_removed_during_rendering_leaves_nothing(marked, monkeypatch):
    report = requested(marked)
    put = rendering.write_report

    def removed_meanwhile(*arguments):
        assert marked.admin.delete(f"/api/reports/{report['id']}/").status == 204
        return put(*arguments)

    monkeypatch.setattr(rendering, "write_report", removed_meanwhile)
    marked.work(report["job_id"])

    assert marked.tenant.app.extensions["campshub"].storage.folder(folder_of(marked, report)) == []


def test_a_report_shows_that_its_job_was_cancelled(marked):
    report = requested(marked)

    assert marked.admin.delete(f"/api/jobs/{report['job_id']}/").status in (200, 202, 204)

    assert marked.admin.get(f"/api/reports/{report['id']}/").json["state"] == "cancelled"


def test_the_202_response_names_the_job(marked):
    week = {"from": str(MONDAY), "to": str(MONDAY + timedelta(days=6))}
    body = {"kind": "attendance_records", "format": "pdf", "parameters": week}
    response = marked.admin.post("/api/reports/", body)

    assert (response.status, response.headers["Location"]) == (202, f"/api/jobs/{response.json['job_id']}/")
    assert marked.admin.get(response.headers["Location"]).json["state"] == "queued"
    marked.work(response.json["job_id"])
    job = marked.admin.get(response.headers["Location"]).json
    assert (job["state"], job["done"], job["total"]) == ("succeeded", 12, 12)
    assert job["result"]["url"] == f"/api/reports/{response.json['id']}/"


def test_the_stored_position_of_a_job_contains_no_name(marked, sql):
    """The row from which the next part continues contains a name, so it is in the encrypted part, not in the table."""
    report = requested(marked, "absent_today", on=str(MONDAY))
    marked.work(report["job_id"])

    (position,) = sql("SELECT position::text || result::text FROM jobs WHERE id = %s", UUID(report["job_id"]))
    assert "iyer" not in str(position).lower()


def test_an_expired_report_is_removed(marked, sql):
    services = marked.tenant.app.extensions["campshub"]
    old, new = (marked.report("roster", group_id=marked.group_id) for _ in range(2))
    sql("UPDATE reports SET expires_at = now() WHERE id = %s RETURNING id", UUID(old["id"]))

    with marked.tenant.app.app_context():
        assert cleanup.expire(datetime.now(UTC)) >= 1
    marked.work_off()

    assert marked.admin.get(f"/api/reports/{old['id']}/").status == 404
    assert services.storage.folder(folder_of(marked, old)) == []
    assert marked.file(marked.admin.get(f"/api/reports/{new['id']}/").json)


def test_files_without_a_report_are_removed_and_others_stay(marked, sql):
    services = marked.tenant.app.extensions["campshub"]
    stored, lost = (marked.report("roster", group_id=marked.group_id) for _ in range(2))
    beside = f"{marked.tenant.id}/archives/month"
    with services.storage.open_write(beside) as file:
        file.write(b"not a report's")
    sql("DELETE FROM reports WHERE id = %s RETURNING id", UUID(lost["id"]))  # as erasing an organization does

    with marked.tenant.app.app_context():
        assert cleanup.sweep_orphans(services) >= 1

    assert services.storage.folder(folder_of(marked, lost)) == []
    assert marked.file(stored)
    assert services.storage.exists(beside)


def test_a_command_removes_all_reports_of_an_organization(marked, other):
    report = marked.report("roster", group_id=marked.group_id)
    result = marked.tenant.app.test_cli_runner().invoke(
        args=["reports", "forget", "--organization", str(marked.tenant.id), "--yes", "--json"]
    )
    marked.work_off()

    assert (result.exit_code, result.output.strip()) == (0, '{"removed":1}')
    assert marked.admin.get("/api/reports/").json["items"] == []
    assert marked.tenant.app.extensions["campshub"].storage.folder(folder_of(marked, report)) == []


def test_a_command_renders_a_report_into_a_file(marked, tmp_path):
    runner = marked.tenant.app.test_cli_runner()
    file = tmp_path / "register.csv"
    arguments = ["--kind", "attendance_register", "--organization", str(marked.tenant.id), "--group", marked.group_id]
    dates = ["--from", str(MONDAY), "--to", str(MONDAY + timedelta(days=6))]
    made = runner.invoke(args=["reports", "make", *arguments, *dates, "--format", "csv", "--output", str(file)])

    assert made.exit_code == 0, made.output
    assert made.output.startswith(f"{file}: 3 rows, ")
    assert file.read_bytes().startswith(b"\xef\xbb\xbfMember,Roll no,")
    assert file.stat().st_mode & 0o077 == 0
    wrong = runner.invoke(
        args=["reports", "make", "--kind", "roster", *arguments[2:4], "--format", "csv", "--output", "x"]
    )
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)
    assert "/parameters/group_id" in wrong.output


def test_a_command_lists_the_kinds(app):
    result = app.test_cli_runner().invoke(args=["reports", "kinds"])

    assert [line.split()[0] for line in result.output.splitlines()] == sorted(all_kinds())


def test_the_number_of_reports_in_progress_per_user_is_limited(marked, monkeypatch):
    services = marked.tenant.app.extensions["campshub"]
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"report_most_under_way": 2}))
    first, _ = requested(marked), requested(marked)

    refused = marked.admin.post("/api/reports/", {"kind": "attendance_records", "format": "csv", "parameters": {}})
    assert (refused.status, refused.json["code"]) == (409, "too_many_under_way")

    marked.work(first["job_id"])
    assert "id" in requested(marked)
