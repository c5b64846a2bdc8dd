"""An e-mail address has one open invitation: a new one or a new link replaces the old one and invalidates its link."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import flask_migrate
import pytest

from campshub.accounts.models import Invitation
from campshub.accounts.service import invitations
from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner
from campshub.core.security.permissions import Role
from tests.conftest import ROOT, Client, close, new_tenant, settings_of
from tests.emails import emails_in, token_in

INVITATIONS = "/api/invitations/"
NEW = "wrong donkey charger"
AT_ONCE = 8


@pytest.fixture
def email():
    return f"{new_id().hex}@example.org"


@pytest.fixture
def app_with_mail(stack, database, tmp_path):
    """An application that writes e-mails into a folder."""
    app = create_app(settings_of(stack, database, mail_folder=str(tmp_path)))
    app.folder = tmp_path
    yield app
    close(app)


def tokens_sent(app, address) -> list[str]:
    """Send pending e-mails; return the tokens that were sent to an e-mail address."""
    with app.app_context():
        runner.run_due(app.extensions["campshub"])
    return [token_in(message) for message in emails_in(app.folder, to=address)]


def token_of(app, tenant, made, email_number=1):
    return invitations.token_of(app.extensions["campshub"], tenant.id, UUID(made["id"]), email_number=email_number)


def accept(app, token):
    return Client(app).post(f"{INVITATIONS}accept/", {"token": token, "name": "Asha Rao", "password": NEW})


def listed(api):
    return {one["id"]: one["status"] for one in api.get(f"{INVITATIONS}?limit=200").json["items"]}


def aged(app, tenant, **ago):
    """Make all e-mails of an organization look as if they were sent so long ago."""
    from datetime import timedelta  # noqa: PLC0415

    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        for invitation in session.query(Invitation).filter_by(organization_id=tenant.id):
            invitation.sent_at -= timedelta(**ago)


def test_a_corrected_invitation_replaces_the_one_with_the_wrong_role(app, api, tenant, email):
    wrong = api.made(INVITATIONS, {"email": email.upper(), "role": "admin"})
    right = api.made(INVITATIONS, {"email": f" {email} ", "role": "trainer"})

    assert listed(api) == {wrong["id"]: "revoked", right["id"]: "open"}
    refused = accept(app, token_of(app, tenant, wrong))
    assert (refused.status, refused.problem["code"]) == (410, "token_spent")
    assert accept(app, token_of(app, tenant, right, email_number=2)).json["role"] == "trainer"


def test_of_many_concurrent_invitations_one_is_open(app, api, tenant, email, sql):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        spelled = [email, email.upper(), email.title(), f" {email}"]
        bodies = [{"email": spelled[number % 4], "role": "client"} for number in range(invitations.MOST_EMAILS)]
        statuses = list(pool.map(lambda body: Client(app, api.headers).post(INVITATIONS, body).status, bodies))

    assert set(statuses) <= {201, 503}
    assert statuses.count(201) > 1
    assert list(listed(api).values()).count("open") == 1
    index = "SELECT count(*) FROM invitations WHERE organization_id = %s AND accepted_at IS NULL AND revoked_at IS NULL"
    assert sql(index, tenant.id) == [(1,)]


def test_each_organization_has_its_own_invitation_for_an_address(app, api, other, email):
    mine = api.made(INVITATIONS, {"email": email, "role": "client"})
    theirs = other.the(Role.ADMIN).made(INVITATIONS, {"email": email, "role": "client"})

    assert listed(api) == {mine["id"]: "open"}
    assert listed(other.the(Role.ADMIN)) == {theirs["id"]: "open"}


def test_an_invitation_to_a_higher_role_is_not_replaced(api, tenant, email):
    superadmin = tenant.the(Role.SUPERADMIN)
    above = superadmin.made(INVITATIONS, {"email": email, "role": "superadmin"})

    responses = [
        api.post(INVITATIONS, {"email": email, "role": "client"}),
        api.post(f"{INVITATIONS}{above['id']}/resend/"),
    ]

    assert [(response.status, response.problem["code"]) for response in responses] == [(403, "role_not_yours")] * 2
    assert listed(api) == {above["id"]: "open"}


def test_sending_again_creates_a_new_link_and_invalidates_the_previous_one(app_with_mail, email):
    tenant = new_tenant(app_with_mail)
    admin = tenant.the(Role.ADMIN)
    made = admin.made(INVITATIONS, {"email": email, "role": "client"})
    assert len(tokens_sent(app_with_mail, email)) == 1

    again = admin.post(f"{INVITATIONS}{made['id']}/resend/")

    assert again.status == 200
    assert (again.json["id"], again.json["version"]) == (made["id"], made["version"] + 1)
    assert again.json["expires_at"] > made["expires_at"]
    first, second = tokens_sent(app_with_mail, email)
    assert first != second
    assert accept(app_with_mail, first).problem["code"] == "token_spent"
    assert accept(app_with_mail, f" {second}\n").status == 200


def test_only_the_latest_link_is_sent_where_several_are_pending(app_with_mail, email):
    tenant = new_tenant(app_with_mail)
    admin = tenant.the(Role.ADMIN)
    made = admin.made(INVITATIONS, {"email": email, "role": "client"})
    for _ in range(2):
        assert admin.post(f"{INVITATIONS}{made['id']}/resend/").status == 200
    replaced = f"x{email}"
    admin.made(INVITATIONS, {"email": replaced, "role": "admin"})
    admin.made(INVITATIONS, {"email": replaced, "role": "client"})

    assert tokens_sent(app_with_mail, email) == [token_of(app_with_mail, tenant, made, email_number=3)]
    (sent,) = tokens_sent(app_with_mail, replaced)
    assert accept(app_with_mail, sent).json["role"] == "client"


def test_a_repeated_request_to_send_again_sends_once(app_with_mail, email):
    admin = new_tenant(app_with_mail).the(Role.ADMIN)
    made = admin.made(INVITATIONS, {"email": email, "role": "client"})
    key = {"Idempotency-Key": new_id().hex}

    first, second = (admin.post(f"{INVITATIONS}{made['id']}/resend/", headers=key) for _ in range(2))

    assert first.json == second.json
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json["version"] == 2


def test_sending_again_is_audited_without_the_token(api, tenant, email, sql):
    made = api.made(INVITATIONS, {"email": email, "role": "client"})
    assert api.post(f"{INVITATIONS}{made['id']}/resend/").status == 200
    api.made(INVITATIONS, {"email": email, "role": "trainer"})

    found = sql("SELECT action, after::text FROM audit_log WHERE organization_id = %s AND entity = 'invitations'"
                " AND entity_id = %s ORDER BY at", tenant.id, made["id"])  # fmt: skip
    assert [action for action, _ in found] == ["created", "changed", "changed"]
    assert "sent_at" in found[1][1]
    assert "revoked_at" in found[2][1]
    assert email not in str(found)


def test_a_closed_invitation_is_not_sent_again_but_an_expired_one_is(app, api, tenant, email, sql):
    spent = api.made(INVITATIONS, {"email": email, "role": "client"})
    assert accept(app, token_of(app, tenant, spent)).status == 200
    revoked = api.made(INVITATIONS, {"email": f"r{email}", "role": "client"})
    assert api.delete(f"{INVITATIONS}{revoked['id']}/").status == 204
    for closed in (spent, revoked):
        response = api.post(f"{INVITATIONS}{closed['id']}/resend/")
        assert (response.status, response.problem["code"]) == (409, "invitation_closed")
    assert api.post(f"{INVITATIONS}{new_id()}/resend/").status == 404

    old = api.made(INVITATIONS, {"email": f"o{email}", "role": "client"})
    sql("UPDATE invitations SET expires_at = now() - INTERVAL '1 day' WHERE id = %s RETURNING 1", old["id"])
    assert listed(api)[old["id"]] == "expired"
    assert api.post(f"{INVITATIONS}{old['id']}/resend/").json["status"] == "open"
    assert accept(app, token_of(app, tenant, old, email_number=2)).status == 200


def test_an_address_gets_five_emails_at_once_and_then_one_a_day(app, api, tenant, email):
    made = api.made(INVITATIONS, {"email": email, "role": "client"})
    for number in range(invitations.MOST_EMAILS - 1):  # by either way
        if number % 2:
            made = api.made(INVITATIONS, {"email": email, "role": "client"})
        else:
            assert api.post(f"{INVITATIONS}{made['id']}/resend/").status == 200

    assert api.delete(f"{INVITATIONS}{made['id']}/").status == 204  # does not help
    again = api.post(INVITATIONS, {"email": email.upper(), "role": "client"})
    assert (again.status, again.problem["code"]) == (429, "too_many_letters")
    assert 86_000 < int(again.headers["Retry-After"]) <= 86_400
    assert api.post(INVITATIONS, {"email": f"x{email}", "role": "client"}).status == 201

    aged(app, tenant, days=1)
    assert api.post(INVITATIONS, {"email": email, "role": "client"}).status == 201


def test_the_migration_keeps_the_newest_of_several_open_invitations(stack, scratch, sql):
    app = create_app(settings_of(stack, scratch))
    tenant = new_tenant(app)
    admin, directory = tenant.the(Role.ADMIN), str(ROOT / "migrations")
    made = [admin.made(INVITATIONS, {"email": f"{name}@example.org", "role": "client"}) for name in "abc"]
    with stack.primary.connect(scratch) as connection, app.app_context():
        flask_migrate.downgrade(directory=directory, revision="0027")
        for one, address in zip(made, ("Ana@example.org", "ana@EXAMPLE.org ", "bo@example.org"), strict=True):
            connection.execute("UPDATE invitations SET email = %s WHERE id = %s", (address, one["id"]))
        composed, decomposed = "jos\u00e9@example.org", "jose\u0301@example.org"
        connection.execute("UPDATE users SET email = %s, email_key = %s WHERE id = %s",
                           (decomposed, decomposed, admin.user_id))  # fmt: skip
        connection.commit()
        flask_migrate.upgrade(directory=directory)
        keys = connection.execute("SELECT email_key, letters FROM invitations ORDER BY id").fetchall()
        user = connection.execute("SELECT email_key FROM users WHERE id = %s", [admin.user_id]).fetchone()

    assert keys == [("ana@example.org", 1), ("ana@example.org", 1), ("bo@example.org", 1)]
    assert user == (composed,)
    assert [listed(admin)[one["id"]] for one in made] == ["revoked", "open", "open"]
    close(app)
