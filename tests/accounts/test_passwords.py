"""Passwords: changed, forgotten, reset by e-mail, imported as foreign hashes; and the effects on sessions."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

from campshub.app import create_app
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.jobs import runner
from tests.conftest import PASSWORD, Client, close, settings_of
from tests.emails import emails_in, token_in

TOKEN, CHANGE = "/api/auth/token/", "/api/auth/password/"
FORGOT, RESET = "/api/auth/password/forgot/", "/api/auth/password/reset/"
NEW = "wrong donkey charger"
AT_ONCE = 50


@pytest.fixture
def app_with_mail(stack, scratch, tmp_path):
    """An application with its own outbox; ``send`` runs its pending jobs, ``messages`` returns the sent e-mails."""
    app = create_app(settings_of(stack, scratch, mail_folder=str(tmp_path)))
    app.messages = lambda: emails_in(tmp_path)

    def send():
        with app.app_context():
            return runner.run_due(app.extensions["campshub"])

    app.send = send
    yield app
    close(app)


@pytest.fixture
def someone(app_with_mail):
    """An admin who can sign in, with their e-mail address."""
    from campshub.core.security.permissions import Role  # noqa: PLC0415
    from tests.conftest import new_tenant  # noqa: PLC0415

    client = new_tenant(app_with_mail).the(Role.ADMIN)
    client.email = client.get("/api/me/").json["email"]
    return client


def sign_in(app, email_address, password=PASSWORD):
    return Client(app).post(TOKEN, {"email": email_address, "password": password})


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


# Changing ------------------------------------------------------------------------------------------------------------


def test_a_new_password_ends_all_sessions_but_the_current_one(app_with_mail, someone):
    here, there = (sign_in(app_with_mail, someone.email).json for _ in range(2))
    assert Client(app_with_mail, bearer(there)).get("/api/organization/").status == 200

    changed = Client(app_with_mail, bearer(here)).post(CHANGE, {"present_password": PASSWORD, "new_password": NEW})

    assert changed.status == 200
    for old in (here, there):
        assert Client(app_with_mail, bearer(old)).get("/api/organization/").problem["code"] == "session_ended"
    assert Client(app_with_mail).post("/api/auth/refresh/", {"refresh_token": there["refresh_token"]}).status == 401
    listed = Client(app_with_mail, bearer(changed.json)).get("/api/auth/sessions/")
    assert listed.status == 200, listed.raw.text
    (session,) = listed.json["items"]
    assert session["is_current"]


def test_a_new_password_works_and_the_old_one_does_not(app_with_mail, someone):
    here = sign_in(app_with_mail, someone.email).json

    changed = Client(app_with_mail, bearer(here)).post(CHANGE, {"present_password": PASSWORD, "new_password": NEW})

    assert (
        Client(app_with_mail).post("/api/auth/refresh/", {"refresh_token": changed.json["refresh_token"]}).status == 200
    )
    assert (sign_in(app_with_mail, someone.email).status, sign_in(app_with_mail, someone.email, NEW).status) == (
        401,
        200,
    )
    app_with_mail.send()
    (message,) = app_with_mail.messages()
    assert (message["To"], message["Subject"]) == (someone.email, "Your password has been changed")


@pytest.mark.parametrize(
    ("present", "new", "pointer"),
    [("not mine", NEW, "/present_password"), (PASSWORD, "short", "/new_password"),
     (PASSWORD, "password1234", "/new_password"), (PASSWORD, None, "/new_password")],
)  # fmt: skip
def test_a_change_needs_the_current_password_and_a_good_new_one(app_with_mail, someone, present, new, pointer):
    response = someone.post(CHANGE, {"present_password": present, "new_password": new or someone.email})

    assert (response.status, response.pointers) == (422, {pointer})
    assert sign_in(app_with_mail, someone.email).status == 200


def test_an_organization_sets_the_minimum_length_of_its_passwords(app_with_mail, someone):
    assert someone.patch("/api/organization/", {"password_length_min": 30}).json["password_length_min"] == 30

    response = someone.post(CHANGE, {"present_password": PASSWORD, "new_password": NEW})

    assert (response.status, response.pointers) == (422, {"/new_password"})
    assert someone.patch("/api/organization/", {"password_length_min": 7}).status == 422


def test_a_foreign_hash_is_accepted_once_and_replaced(app, api, sql):
    email_address = api.get("/api/me/").json["email"]
    theirs = "$2y$" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()[4:]
    stored = "SELECT password_hash FROM user_credentials WHERE user_id = %s"
    sql("UPDATE user_credentials SET password_hash = %s WHERE user_id = %s RETURNING 1", theirs, api.user_id)

    assert sign_in(app, email_address, "not it").status == 401
    assert sql(stored, api.user_id) == [(theirs,)]
    assert sign_in(app, email_address).status == 200
    ((upgraded,),) = sql(stored, api.user_id)

    assert upgraded.startswith("bcrypt-sha256:$2b$04$")
    assert (sign_in(app, email_address).status, sign_in(app, email_address, "not it").status) == (200, 401)
    assert api.get("/api/me/").status == 200  # no session ends by it


@pytest.mark.parametrize("length", [73, 1024, 10_000])
def test_a_password_of_any_length_gets_the_same_response(app, api, length):
    known, unknown = (
        sign_in(app, email_address, "x" * length)
        for email_address in (api.get("/api/me/").json["email"], "unknown@example.org")
    )

    assert (known.status, unknown.status) == (401, 401)
    assert known.problem["detail"] == unknown.problem["detail"]


# Forgetting ----------------------------------------------------------------------------------------------------------


def test_a_forgotten_password_is_reset_by_e_mail(app_with_mail, someone):
    here = sign_in(app_with_mail, someone.email).json
    assert Client(app_with_mail).post(FORGOT, {"email": someone.email.upper()}).status == 202
    assert app_with_mail.send().done == 1
    (message,) = app_with_mail.messages()
    assert message["To"] == someone.email

    response = Client(app_with_mail).post(RESET, {"token": token_in(message), "new_password": NEW})

    assert response.status == 204
    assert (sign_in(app_with_mail, someone.email).status, sign_in(app_with_mail, someone.email, NEW).status) == (
        401,
        200,
    )
    assert Client(app_with_mail, bearer(here)).get("/api/me/").problem["code"] == "session_ended"
    assert Client(app_with_mail).post("/api/auth/refresh/", {"refresh_token": here["refresh_token"]}).status == 401


def test_fifty_concurrent_requests_reset_once(app_with_mail, someone):
    Client(app_with_mail).post(FORGOT, {"email": someone.email})
    app_with_mail.send()
    token = token_in(app_with_mail.messages()[0])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        bodies = [{"token": token, "new_password": f"{NEW} {number}"} for number in range(AT_ONCE)]
        statuses = list(pool.map(lambda body: Client(app_with_mail).post(RESET, body).status, bodies))

    # 503: it waited too long and may be retried; it changed nothing.
    assert (statuses.count(204), set(statuses) - {503}) == (1, {204, 410})
    assert sign_in(app_with_mail, someone.email, f"{NEW} {statuses.index(204)}").status == 200


def test_a_forgotten_password_request_does_not_reveal_whether_an_address_is_known(app_with_mail, someone):
    known, unknown = (Client(app_with_mail).post(FORGOT, {"email": a}) for a in (someone.email, "unknown@example.org"))

    assert (known.status, known.raw.data) == (unknown.status, unknown.raw.data) == (202, b"")
    assert [re.sub("'[^']*'", "", s) for s in known.statements] == [
        re.sub("'[^']*'", "", s) for s in unknown.statements
    ]
    assert app_with_mail.send().done == 2
    assert [message["To"] for message in app_with_mail.messages()] == [someone.email]


def test_outbox_and_table_of_resets_contain_no_readable_secret(app_with_mail, someone, stack, scratch):
    Client(app_with_mail).post(FORGOT, {"email": someone.email})
    with stack.primary.connect(scratch) as connection:
        pending = json.dumps(connection.execute("SELECT arguments FROM outbox").fetchall())
        app_with_mail.send()
        stored = str(connection.execute("SELECT r::text FROM password_resets r").fetchall())

    assert someone.email not in pending
    assert token_in(app_with_mail.messages()[0]) not in stored


@pytest.mark.parametrize("how", ["used", "old", "replaced", "forged", "refresh", "disabled"])
def test_a_reset_works_once_within_an_hour_and_only_as_a_reset(app_with_mail, someone, stack, scratch, how):
    Client(app_with_mail).post(FORGOT, {"email": someone.email})
    app_with_mail.send()
    token = token_in(app_with_mail.messages()[0])
    assert Client(app_with_mail, {"Authorization": f"Bearer {token}"}).get("/api/me/").status == 401
    assert Client(app_with_mail).post("/api/auth/refresh/", {"refresh_token": token}).status == 401
    with stack.primary.connect(scratch) as connection:
        if how == "used":
            assert Client(app_with_mail).post(RESET, {"token": token, "new_password": NEW}).status == 204
        elif how == "old":
            connection.execute("UPDATE password_resets SET expires_at = now()")
        elif how == "replaced":
            someone.post(CHANGE, {"present_password": PASSWORD, "new_password": NEW})
        elif how == "forged":
            token = app_with_mail.extensions["campshub"].tokens.opaque.write("chp", PLATFORM_ID, new_id())
        elif how == "refresh":
            token = sign_in(app_with_mail, someone.email).json["refresh_token"]
        else:
            connection.execute("UPDATE users SET status = 'disabled'")

    response = Client(app_with_mail).post(RESET, {"token": token, "new_password": NEW})

    assert (response.status, response.problem["code"]) == (410, "token_spent")


def test_a_reset_with_a_bad_password_can_be_retried(app_with_mail, someone):
    Client(app_with_mail).post(FORGOT, {"email": someone.email})
    app_with_mail.send()
    token = token_in(app_with_mail.messages()[0])

    assert Client(app_with_mail).post(RESET, {"token": token, "new_password": "password1234"}).pointers == {
        "/new_password"
    }
    assert Client(app_with_mail).post(RESET, {"token": token, "new_password": NEW}).status == 204
