"""Links: signed, short-lived, and valid only while their owner may have the report."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from itsdangerous import BadSignature

from campshub.core.db.models import new_id
from campshub.core.security import signed_links
from campshub.core.security.permissions import Role
from campshub.reports import links
from campshub.reports.service import rendering
from tests.conftest import Client
from tests.reports.conftest import TODAY


@pytest.fixture
def report(school):
    return school.report("roster", group_id=school.group_id)


def fetched(school, url):
    response = Client(school.tenant.app).get(url)
    return response.status if response.status == 200 else (response.status, response.problem["code"])


def signed(school, report, **changes):
    fields = {
        "organization_id": school.tenant.id,
        "report_id": UUID(report["id"]),
        "user_id": school.admin.user_id,
        "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        **changes,
    }
    secret = school.tenant.app.extensions["campshub"].settings.secret_key
    return f"/api/reports/{fields['report_id']}/file/?token={links.sign(secret, links.Link(**fields))}"


def test_a_file_is_an_attachment_and_is_never_cached(school, report):
    response = Client(school.tenant.app).get(report["download"]["url"])

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    name = f"roster-{report['created_at'][:10]}.csv"
    assert response.headers["Content-Disposition"] == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert (response.headers["X-Content-Type-Options"], response.headers["Cache-Control"]) == ("nosniff", "no-store")
    assert int(response.headers["Content-Length"]) == report["bytes"] == len(response.raw.get_data())


@pytest.mark.parametrize(("format", "begins"), [("pdf", b"%PDF-"), ("xlsx", b"PK\x03\x04"), ("csv", b"\xef\xbb\xbf")])
def test_the_worker_renders_each_format(school, format, begins):
    report = school.report("roster", format, group_id=school.group_id)

    stored = school.file(report)
    assert stored.startswith(begins)
    assert (report["done"], report["total"], len(stored)) == (3, 3, report["bytes"])


def test_files_in_the_storage_are_encrypted(school, report):
    services = school.tenant.app.extensions["campshub"]
    folder = Path(services.settings.storage_url, str(school.tenant.id), "reports", report["id"])

    stored = [path.read_bytes() for path in folder.iterdir()]
    assert stored
    assert not any(b"Asha" in one or b"Member" in one for one in stored)


def test_each_read_creates_a_new_short_lived_link(school, report):
    until = datetime.fromisoformat(report["download"]["expires_at"])
    assert timedelta(minutes=14) < until - datetime.now(UTC) < timedelta(minutes=16)

    time.sleep(1.1)  # the expiry of a link has a resolution of seconds
    assert school.admin.get(f"/api/reports/{report['id']}/").json["download"]["url"] != report["download"]["url"]


def test_a_changed_link_is_refused(school, report):
    url = report["download"]["url"]
    head, _, token = url.partition("token=")

    for index in (0, 20, 40, 80, 120, token.rindex("."), len(token) - 2):  # what it names, and the signature
        wrong = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert fetched(school, f"{head}token={wrong}") == (404, "not_found"), index
    for token in ("x", "é", ".", "a.b", "a" * 250):
        assert Client(school.tenant.app).get(f"{head}token={token}").status == 404
    assert Client(school.tenant.app).get(f"{head}token=").status == 422
    assert Client(school.tenant.app).get(head.rstrip("?")).status == 422


def test_a_link_is_valid_for_one_purpose():
    secret, ids = "s" * 50, [new_id() for _ in range(3)]
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    shown, emailed = links.Link(*ids, at), links.Link(*ids, at, b"d" * 16)

    tokens = {link: links.sign(secret, link) for link in (shown, emailed)}

    assert {link: links.read(secret, token) for link, token in tokens.items()} == {shown: shown, emailed: emailed}
    assert max(map(len, tokens.values())) <= 300
    content, _, _ = tokens[emailed].rpartition(".")
    _, _, signature = tokens[shown].rpartition(".")
    for wrong in (f"{content}.{signature}", tokens[emailed][:-2], links.sign("t" * 50, shown)):
        with pytest.raises(links.InvalidLink):
            links.read(secret, wrong)
    with pytest.raises(BadSignature):
        signed_links._serializer(secret, links._SHOWN).loads(tokens[emailed])


def test_a_link_opens_only_its_own_report(school, report):
    other = school.report("roster", group_id=school.group_id)
    token = report["download"]["url"].partition("token=")[2]

    assert fetched(school, f"/api/reports/{other['id']}/file/?token={token}") == (404, "not_found")
    assert fetched(school, signed(school, {"id": str(new_id())})) == (404, "not_found")


def test_an_expired_link_is_reported_as_expired(school, report):
    url = signed(school, report, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert fetched(school, url) == (410, "link_expired")
    assert fetched(school, signed(school, report)) == 200


def test_another_organization_cannot_access_it(school, report, other):
    theirs = other.the(Role.ADMIN)

    assert theirs.get(f"/api/reports/{report['id']}/").status == 404
    assert theirs.delete(f"/api/reports/{report['id']}/").status == 404
    for changes in ({"organization_id": other.id}, {"user_id": theirs.user_id}):
        assert fetched(school, signed(school, report, **changes)) == (404, "not_found")


def test_a_link_ends_with_the_membership_of_its_owner(school):
    trainer = school.trainer
    report = school.report("roster", who=trainer, group_id=school.group_id)
    url = report["download"]["url"]
    assert fetched(school, url) == 200

    assert school.admin.patch(f"/api/users/{trainer.user_id}/", {"status": "disabled"}).status == 200

    assert fetched(school, url) == (404, "not_found")


def test_a_caller_who_has_lost_access_loses_the_report(school):
    someone = school.tenant.someone(Role.ADMIN)
    report = school.report("roster", who=someone, group_id=school.group_id)
    url = report["download"]["url"]

    assert school.admin.patch(f"/api/users/{someone.user_id}/", {"role": "trainer"}).status == 200

    assert fetched(school, url) == (404, "not_found")
    assert someone.get(f"/api/reports/{report['id']}/").json["download"] is None


def test_users_see_their_own_reports_and_admins_see_all(school):
    mine = school.report("roster", who=school.trainer, group_id=school.group_id)
    nutritionist = school.tenant.the(Role.NUTRITIONIST)
    theirs = school.report("roster", who=nutritionist, group_id=school.group_id)

    def listed(who):
        return {one["id"] for one in who.get("/api/reports/").json["items"]}

    assert listed(school.trainer) == {mine["id"]}
    assert listed(nutritionist) == {theirs["id"]}  # sees all of the organization's students, and no other's reports
    assert listed(school.admin) == {mine["id"], theirs["id"]}
    assert nutritionist.get(f"/api/reports/{mine['id']}/").status == 404
    assert fetched(school, signed(school, mine, user_id=nutritionist.user_id)) == (404, "not_found")
    assert fetched(school, signed(school, mine)) == 200


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def changed(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [Path.unlink, cut, changed, a_folder, lambda file: file.write_bytes(b"")])
def test_a_damaged_file_is_an_error_before_the_response_begins(school, report, damage):
    services = school.tenant.app.extensions["campshub"]
    school.work_off()
    (file,) = Path(services.settings.storage_url, str(school.tenant.id), "reports", report["id"]).iterdir()

    damage(file)

    assert fetched(school, report["download"]["url"]) == (410, "link_expired")


def test_a_removed_report_is_gone_with_its_files(school, report):
    services = school.tenant.app.extensions["campshub"]
    folder = f"{school.tenant.id}/reports/{report['id']}"
    assert services.storage.folder(folder)

    assert school.admin.delete(f"/api/reports/{report['id']}/").status == 204
    assert fetched(school, report["download"]["url"]) == (404, "not_found")
    school.work_off()
    assert services.storage.folder(folder) == []


def test_the_parts_are_removed_when_the_report_is_ready(school, report):
    services = school.tenant.app.extensions["campshub"]
    school.work_off()

    names = services.storage.folder(f"{school.tenant.id}/reports/{report['id']}")
    assert [name.partition("-")[0] for name in names] == ["file"]
    assert school.file(report).startswith(b"\xef\xbb\xbf")


def test_a_refused_report_states_its_reason(school):
    trainer = school.trainer
    requested = trainer.post(
        "/api/reports/", {"kind": "roster", "format": "csv", "parameters": {"group_id": school.group_id}}
    ).json
    assert school.admin.patch(f"/api/users/{trainer.user_id}/", {"status": "disabled"}).status == 200

    school.work(requested["job_id"])

    shown = school.admin.get(f"/api/reports/{requested['id']}/").json
    assert (shown["state"], shown["problem"], shown["download"]) == ("refused", "asker_gone", None)


def test_a_report_is_refused_after_the_role_was_lost(school):
    someone = school.tenant.someone(Role.ADMIN)
    body = {"kind": "absent_today", "format": "csv", "parameters": {"on": str(TODAY)}}
    requested = someone.post("/api/reports/", body).json
    assert school.admin.patch(f"/api/users/{someone.user_id}/", {"role": "nutritionist"}).status == 200

    school.work(requested["job_id"])

    shown = school.admin.get(f"/api/reports/{requested['id']}/").json
    assert (shown["state"], shown["problem"]) == ("refused", "kind_not_yours")


@pytest.fixture
def maker(school):
    """The admin, who has just signed in and may create API keys."""
    return school.tenant.signed_in(school.admin)


def made_key(school, maker):
    """Return a new API key that may request reports, and a client that uses it."""
    allowed = {"permissions": ["reports:read", "reports:write", "groups:read", "students:read"], "scope": "all"}
    made = maker.made("/api/api-keys/", {"name": "Office", "expires_in_days": 1, **allowed})
    return made, Client(school.tenant.app, {"Authorization": f"Bearer {made['key']}"})


def test_a_report_requested_while_its_key_is_revoked_is_refused(school, maker, sql):
    body = {"kind": "roster", "format": "csv", "parameters": {"group_id": school.group_id}}
    for _ in range(5):
        made, program = made_key(school, maker)
        with ThreadPoolExecutor(2) as pool:
            requesting = pool.submit(program.post, "/api/reports/", body)
            assert Client(school.tenant.app, maker.headers).delete(f"/api/api-keys/{made['id']}/").status == 204
            requested = requesting.result()

        assert requested.status in (202, 401)
        if requested.status == 202:
            school.work(requested.json["job_id"])
            shown = school.admin.get(f"/api/reports/{requested.json['id']}/").json
            assert (shown["state"], shown["problem"], shown["download"]) == ("refused", "asker_gone", None)
        assert program.get("/api/reports/").status == 401


def test_a_report_whose_key_is_revoked_while_it_is_gathered_is_refused(school, maker, monkeypatch, sql):
    made, program = made_key(school, maker)
    body = {"kind": "roster", "format": "csv", "parameters": {"group_id": school.group_id}}
    requested = program.post("/api/reports/", body).json
    gather = rendering._gather

    def revoked_meanwhile(*arguments):
        step = gather(*arguments)
        maker.delete(f"/api/api-keys/{made['id']}/")
        return step

    monkeypatch.setattr(rendering, "_gather", revoked_meanwhile)
    school.work(requested["job_id"])

    assert school.admin.get(f"/api/reports/{requested['id']}/").json["problem"] == "asker_gone"
    assert sql("SELECT api_key_id FROM reports WHERE id = %s", UUID(requested["id"])) == [(UUID(made["id"]),)]
    with pytest.raises(Exception, match="fk_reports_api_key_id"):
        sql("DELETE FROM api_keys WHERE id = %s RETURNING id", UUID(made["id"]))


def test_a_key_sees_the_reports_requested_with_it_and_no_others_of_its_maker(school, maker, report):
    made, program = made_key(school, maker)

    theirs = school.report("roster", who=program, group_id=school.group_id)

    assert [one["id"] for one in program.get("/api/reports/").json["items"]] == [theirs["id"]]
    assert program.get(f"/api/reports/{report['id']}/").status == 404
    assert fetched(school, theirs["download"]["url"]) == 200
    again = program.post(
        "/api/reports/", {"kind": "roster", "format": "csv", "parameters": {"group_id": school.group_id}}
    ).json
    assert maker.delete(f"/api/api-keys/{made['id']}/").status == 204
    school.work(again["job_id"])
    assert school.admin.get(f"/api/reports/{again['id']}/").json["problem"] == "asker_gone"
