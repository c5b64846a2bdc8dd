"""Attachments of leave requests: which files are accepted, who can fetch them, and when they are removed."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from campshub.leave.service import attachments
from tests.conftest import Client
from tests.leave.conftest import URL
from tests.pending_jobs import run_pending

PDF = b"%PDF-1.7 certificate of a doctor"


def body(data=PDF, name="doctor.pdf"):
    return {"name": name, "content": base64.b64encode(data).decode()}


@pytest.fixture
def leave(request_leave, student):
    """The URL of a request."""
    return f"{URL}{request_leave(student()['id']).json['id']}/"


@pytest.fixture
def folder(app, tenant, leave):
    """The folder of the request's files."""
    root = Path(app.extensions["campshub"].settings.storage_url)
    return root / str(tenant.id) / "leave" / leave.split("/")[-2]


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("name", "stored"),
    [("note.hta", "note.pdf"), ("../../x.bat", "x.pdf"), ("letter", "letter.pdf"), ("a.tar.gz", "a.tar.pdf")],
)
def test_the_name_has_the_suffix_of_what_the_file_is(api, leave, name, stored):
    assert api.put(f"{leave}attachment/", body(name=name)).json["attachment_name"] == stored


def test_a_file_is_stored_encrypted_and_fetched_by_a_link(app, api, leave, folder):
    attached = api.put(f"{leave}attachment/", body())
    link = api.get(f"{leave}attachment/").json
    fetched = Client(app).get(link["url"])

    assert (attached.status, attached.json["attachment_name"], attached.json["attachment_bytes"]) == (
        200,
        "doctor.pdf",
        len(PDF),
    )
    assert (link["name"], link["media_type"], link["bytes"]) == ("doctor.pdf", "application/pdf", len(PDF))
    assert (fetched.status, fetched.raw.get_data()) == (200, PDF)
    assert fetched.headers["Content-Type"] == "application/pdf"
    assert "doctor.pdf" in fetched.headers["Content-Disposition"]
    (stored,) = files(folder)
    assert PDF not in (folder / stored).read_bytes()
    assert api.get(leave).json["attachment_type"] == "application/pdf"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<html>", "unsupported_attachment"),
        (b"", None),
        (b"GIF89a", "unsupported_attachment"),
        (b"%PDF-" + bytes(5 * 1024 * 1024), "attachment_too_large"),
    ],
)
def test_other_files_are_refused(api, leave, folder, data, code):
    refused = api.put(f"{leave}attachment/", body(data))
    assert (refused.status, refused.pointers) == (422, {"/content"})
    assert code is None or refused.problem["errors"][0]["code"] == code
    assert files(folder) == []


def test_a_body_that_is_no_base64_is_refused(api, leave):
    assert api.put(f"{leave}attachment/", {"name": "a", "content": "%PDF"}).status == 422


def test_images_are_accepted(api, leave):
    for data, kind in ((b"\xff\xd8\xff\xe0", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png")):
        assert api.put(f"{leave}attachment/", body(data)).json["attachment_type"] == kind


def test_only_those_who_see_the_request_get_and_use_a_link(app, api, tenant, student, request_leave):
    client = tenant.someone(Role.CLIENT)
    own = f"{URL}{request_leave(student(user_id=str(client.user_id))['id']).json['id']}/"
    assert client.put(f"{own}attachment/", body()).status == 200
    url = client.get(f"{own}attachment/").json["url"]
    other = tenant.someone(Role.CLIENT)

    assert other.get(f"{own}attachment/").status == 404
    assert other.put(f"{own}attachment/", body()).status == 404
    assert Client(app).get(f"{url}x").status == 404
    assert Client(app).get(url).status == 200
    assert api.patch(f"/api/users/{client.user_id}/", {"status": "disabled"}).status == 200
    assert Client(app).get(url).status == 404


def test_a_replaced_or_removed_file_is_deleted_and_its_link_ends(app, api, tenant, leave, folder):
    api.put(f"{leave}attachment/", body())
    first, url = files(folder), api.get(f"{leave}attachment/").json["url"]
    api.put(f"{leave}attachment/", body(PDF + b"2"))
    assert run_pending(app, tenant.id, "leave.sweep") == [Outcome.DONE] * 2  # one after each file

    assert len(files(folder)) == 1
    assert files(folder) != first
    assert (Client(app).get(url).status, Client(app).get(url).problem["code"]) == (410, "link_expired")
    assert api.delete(f"{leave}attachment/").status == 204
    assert run_pending(app, tenant.id, "leave.sweep") == [Outcome.DONE]
    assert files(folder) == []
    assert api.get(f"{leave}attachment/").status == 404


def test_a_decided_request_takes_no_attachment(api, leave):
    api.post(f"{leave}reject/", {"comment": "No."})
    assert api.put(f"{leave}attachment/", body()).problem["code"] == "leave_decided"


def test_old_attachments_and_files_without_a_request_are_removed(app, api, leave, folder):
    api.put(f"{leave}attachment/", body())
    (folder.parent / str(UUID(int=7))).mkdir()
    ((folder.parent / str(UUID(int=7))) / "file-1").write_bytes(b"x")
    today = datetime.now(UTC).date()
    with app.app_context():
        attachments.expire(today + timedelta(days=attachments.STORED_DAYS - 2))
        assert api.get(leave).json["attachment_name"] == "doctor.pdf"
        attachments.expire(today + timedelta(days=attachments.STORED_DAYS + 3))
        attachments.sweep_orphans(app.extensions["campshub"])

    assert api.get(leave).json["attachment_name"] is None
    assert not folder.exists()
    assert not (folder.parent / str(UUID(int=7))).exists()
