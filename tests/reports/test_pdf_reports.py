"""PDF reports of the API: their row limit, their contents, and what happens when typesetting one fails."""

import io
from datetime import timedelta
from uuid import UUID

import pytest
from pypdf import PdfReader

from campshub.core.jobs.runner import Outcome, run_one
from campshub.core.typesetting import process
from tests.reports.conftest import MONDAY

WEEK = {"from": str(MONDAY), "to": str(MONDAY + timedelta(days=4))}


@pytest.fixture
def marked(school):
    school.mark(MONDAY, asha="present", ravi="absent", anna="late")
    school.mark(MONDAY + timedelta(days=1), asha="present", ravi="excused", anna="absent")
    return school


@pytest.fixture
def limited(marked, monkeypatch):
    """An organization where a PDF may have two rows."""
    services = marked.tenant.app.extensions["campshub"]
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"report_pdf_rows": 2}))
    return marked


def requested(school, kind, format="pdf", **parameters):
    return school.admin.post("/api/reports/", {"kind": kind, "format": format, "parameters": parameters})


def parameters_of(school, kind):
    group, person = {"group_id": school.group_id}, {"student_id": school.people["asha"]}
    return {
        "attendance_register": {**group, **WEEK},
        "attendance_records": WEEK,
        "absent_today": {"on": str(MONDAY)},
        "roster": group,
        "student_attendance": {**person, **WEEK},
    }[kind]


def pages_of(school, report):
    return [page.extract_text() for page in PdfReader(io.BytesIO(school.file(report))).pages]


@pytest.mark.parametrize("kind", ["attendance_register", "attendance_records", "roster"])
def test_a_pdf_of_too_many_rows_is_refused_with_advice(limited, kind):
    parameters = parameters_of(limited, kind)

    refused = requested(limited, kind, **parameters)

    assert (refused.status, refused.problem["code"]) == (422, "too_many_rows")
    assert refused.pointers == {"/format"}
    assert "csv or xlsx" in refused.problem["errors"][0]["detail"]
    assert requested(limited, kind, "csv", **parameters).status == 202


@pytest.mark.parametrize("kind", ["absent_today", "student_attendance"])
def test_a_pdf_with_the_maximum_number_of_rows_is_rendered(limited, kind):
    report = limited.report(kind, "pdf", **parameters_of(limited, kind))

    assert (report["state"], report["total"]) == ("ready", 1 if kind == "absent_today" else 2)


def test_a_report_that_becomes_too_long_states_the_reason(marked, monkeypatch):
    report = requested(marked, "attendance_records", **WEEK).json
    services = marked.tenant.app.extensions["campshub"]
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"report_pdf_rows": 5}))

    marked.work(report["job_id"])

    shown = marked.admin.get(f"/api/reports/{report['id']}/").json
    assert (shown["state"], shown["problem"], shown["download"]) == ("refused", "too_many_rows", None)
    marked.work_off()
    assert services.storage.folder(f"{marked.tenant.id}/reports/{report['id']}") == []


def test_the_command_refuses_too_many_rows(limited, tmp_path):
    arguments = ["--kind", "attendance_records", "--organization", str(limited.tenant.id), "--format", "pdf"]
    file = tmp_path / "records.pdf"
    dates = ["--from", WEEK["from"], "--to", WEEK["to"], "--output", str(file)]

    result = limited.tenant.app.test_cli_runner().invoke(args=["reports", "make", *arguments, *dates])

    assert result.exit_code == 1
    assert "A PDF has at most 2 rows" in result.output


def test_a_register_adds_up_each_day_and_each_member(marked):
    (page,) = pages_of(
        marked, marked.report("attendance_register", "pdf", **parameters_of(marked, "attendance_register"))
    )
    lines = {line.split()[0]: line.split()[1:] for line in page.splitlines() if line.split()}

    assert lines["Attended"] == ["2", "1"]
    assert lines["Absent"] == ["1", "1"]
    assert lines["Excused"] == ["0", "1"]
    counts = ["2", "2", "1", "1", "0", "60.0"]  # present, absent, late, excused, left early, and 3 of 5 that are rated
    assert next(line.split() for line in page.splitlines() if line.startswith("Total"))[1:] == counts
    assert "P Present" in page
    assert "signature" in page


def test_a_register_read_in_parts_adds_up_the_same(marked, monkeypatch):
    parameters = parameters_of(marked, "attendance_register")
    whole = pages_of(marked, marked.report("attendance_register", "pdf", **parameters))
    monkeypatch.setattr("campshub.reports.kinds.attendance_register.AttendanceRegisterReport.at_once", 1)
    monkeypatch.setattr("campshub.reports.service.rendering.PART_ROWS", 1)

    parts = pages_of(marked, marked.report("attendance_register", "pdf", **parameters))

    assert [page.partition("Page")[0] for page in parts] == [page.partition("Page")[0] for page in whole]


def test_a_killed_child_process_fails_the_job_and_not_the_worker(marked, monkeypatch, sql):
    report = requested(marked, "roster", group_id=marked.group_id).json
    services, job_id = marked.tenant.app.extensions["campshub"], UUID(report["job_id"])
    monkeypatch.setattr(process, "_COMMAND", ["/bin/sh", "-c", "kill -9 $$"])

    with marked.tenant.app.app_context():
        while (outcome := run_one(services, marked.tenant.id, job_id)) is Outcome.MORE:
            pass

    assert outcome is Outcome.FAILED
    shown = marked.admin.get(f"/api/reports/{report['id']}/").json
    assert shown["state"] in {"queued", "running"}
    monkeypatch.undo()
    sql("UPDATE outbox SET available_at = now() WHERE id = %s RETURNING id", job_id)
    marked.work(report["job_id"])
    assert marked.admin.get(f"/api/reports/{report['id']}/").json["state"] == "ready"
