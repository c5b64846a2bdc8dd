"""A second factor: each code works once, also under concurrency; the password is not enough without it."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest

from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client

TOKEN, MFA, TOTP = "/api/auth/token/", "/api/auth/mfa/", "/api/auth/mfa/totp/"
AT_ONCE = 50


class Person:
    """A user who signs in, with or without a second factor."""

    def __init__(self, app, client):
        self.app, self.user_id = app, client.user_id
        self.email = client.get("/api/me/").json["email"]
        self.totp, self.codes = None, []

    def sign_in(self, password=PASSWORD, **fields):
        return Client(self.app).post(TOKEN, {"email": self.email, "password": password, **fields})

    def signed_in(self, **fields):
        tokens = self.sign_in(**fields)
        assert tokens.status == 200, tokens.raw.text
        return Client(self.app, {"Authorization": f"Bearer {tokens.json['access_token']}"}, self.user_id)

    def enrol(self, sql):
        """Set up one-time codes; give the confirming code a past time step, so that tests may use the current one."""
        client = self.signed_in()
        self.totp = pyotp.TOTP(client.made(TOTP, None)["secret"])
        self.codes = client.made(f"{TOTP}confirm/", {"otp": self.totp.now()})["recovery_codes"]
        sql("UPDATE totp_secrets SET last_step = 0 WHERE user_id = %s RETURNING 1", self.user_id)
        return client

    def step(self, by=0):
        return self.totp.generate_otp(int(time.time()) // 30 + by)


@pytest.fixture
def person(app, tenant):
    return Person(app, tenant.the(Role.ADMIN))


def test_setup_of_one_time_codes_returns_the_secret_as_text_uri_and_image(person, sql):
    client = person.signed_in()
    assert client.get(MFA).json == {"is_enrolled": False, "is_required": False, "recovery_codes_left": 0}

    begun = client.post(TOTP)

    assert begun.headers["Cache-Control"] == "no-store"
    assert begun.json["uri"].startswith("otpauth://totp/CampsHub:")
    assert f"secret={begun.json['secret']}" in begun.json["uri"]
    assert begun.json["qr_svg"].startswith("<svg")
    assert base64.b64decode(begun.json["qr_png"]).startswith(b"\x89PNG")
    assert client.post(f"{TOTP}confirm/", {"otp": "000000"}).pointers == {"/otp"}
    assert person.sign_in().status == 200  # not active yet
    confirmed = client.post(f"{TOTP}confirm/", {"otp": pyotp.TOTP(begun.json["secret"]).now()})
    assert len(set(confirmed.json["recovery_codes"])) == 10
    assert client.get(MFA).json == {"is_enrolled": True, "is_required": False, "recovery_codes_left": 10}
    stored = str(sql("SELECT s::text FROM totp_secrets s")) + str(sql("SELECT c::text FROM recovery_codes c"))
    assert begun.json["secret"] not in stored
    assert confirmed.json["recovery_codes"][0] not in stored


def test_the_password_is_no_longer_enough(person, sql):
    person.enrol(sql)

    lacking, wrong = person.sign_in(), person.sign_in(otp="000000" if person.step() != "000000" else "000001")

    assert (lacking.status, lacking.problem["code"]) == (401, "otp_required")
    assert (wrong.status, wrong.problem["code"]) == (401, "bad_otp")
    assert person.sign_in("not it", otp=person.step()).problem["code"] == "bad_credentials"
    assert person.sign_in(otp=person.step()).status == 200


@pytest.mark.parametrize(("by", "status"), [(-2, 401), (-1, 200), (0, 200), (1, 200), (2, 401)])
def test_a_code_of_the_previous_or_next_step_is_accepted(person, sql, by, status):
    person.enrol(sql)
    while int(time.time()) % 30 > 27:  # not at the boundary of two steps
        time.sleep(0.1)

    assert person.sign_in(otp=person.step(by)).status == status


def test_a_code_works_once_and_invalidates_earlier_ones(person, sql):
    person.enrol(sql)
    code = person.step()

    assert [person.sign_in(otp=code).status for _ in range(2)] == [200, 401]
    assert person.sign_in(otp=person.step(-1)).problem["code"] == "bad_otp"


def test_fifty_concurrent_sign_ins_with_one_code_succeed_once(person, sql):
    person.enrol(sql)
    code = person.step()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda _: person.sign_in(otp=code).status, range(AT_ONCE)))

    # 503: it waited too long and may be retried; it changed nothing.
    assert (statuses.count(200), set(statuses) - {503}) == (1, {200, 401})


def test_fifty_concurrent_sign_ins_with_one_recovery_code_succeed_once(person, sql):
    person.enrol(sql)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda _: person.sign_in(otp=person.codes[0]).status, range(AT_ONCE)))

    # 503: it waited too long and may be retried; it changed nothing.
    assert (statuses.count(200), set(statuses) - {503}) == (1, {200, 401})
    assert person.signed_in(otp=person.codes[1].lower().replace("-", " ")).get(MFA).json["recovery_codes_left"] == 8


def test_another_users_recovery_code_is_refused(person, tenant, app, sql):
    other = Person(app, tenant.the(Role.TRAINER))
    for one in (person, other):
        one.enrol(sql)

    assert person.sign_in(otp=other.codes[0]).status == 401
    assert other.sign_in(otp=other.codes[0]).status == 200


def test_new_recovery_codes_replace_the_old_ones(person, sql):
    client = person.enrol(sql)

    codes = client.made(f"{MFA}recovery-codes/", None)["recovery_codes"]

    assert person.sign_in(otp=person.codes[0]).status == 401
    assert person.sign_in(otp=codes[0]).status == 200


def test_a_second_factor_is_changed_only_soon_after_the_password_was_confirmed(person, sql):
    client = person.enrol(sql)
    sql("UPDATE sign_in_sessions SET authenticated_at = now() - INTERVAL '11 minutes' RETURNING 1")

    for method, url in (("POST", TOTP), ("POST", f"{MFA}recovery-codes/"), ("DELETE", MFA)):
        assert client.call(method, url).problem["code"] == "step_up_required"
    assert client.post("/api/auth/step-up/", {"password": "not it", "otp": person.step()}).status == 422
    assert client.post("/api/auth/step-up/", {"password": PASSWORD}).problem["code"] == "otp_required"
    assert client.post("/api/auth/step-up/", {"password": PASSWORD, "otp": person.step()}).status == 204

    assert client.delete(MFA).status == 204
    assert person.sign_in().status == 200


def test_refreshing_and_switching_do_not_renew_the_confirmation(app, person, sql):
    tokens = person.sign_in().json
    sql("UPDATE sign_in_sessions SET authenticated_at = now() - INTERVAL '11 minutes' RETURNING 1")
    refreshed = Client(app).post("/api/auth/refresh/", {"refresh_token": tokens["refresh_token"]}).json
    client = Client(app, {"Authorization": f"Bearer {refreshed['access_token']}"})
    switched = client.post("/api/auth/switch/", {"organization_id": tokens["organization_id"]}).json

    for token in (refreshed, switched):
        bearer = {"Authorization": f"Bearer {token['access_token']}"}
        assert Client(app, bearer).post(TOTP).problem["code"] == "step_up_required"


def test_a_new_password_needs_the_second_factor_and_does_not_count_as_a_step_up(app, person, sql):
    client, url = person.enrol(sql), "/api/auth/password/"
    sql("UPDATE sign_in_sessions SET authenticated_at = now() - INTERVAL '11 minutes' RETURNING 1")
    fields = {"present_password": PASSWORD, "new_password": "wrong donkey charger"}
    assert client.post(url, fields).problem["code"] == "otp_required"
    assert client.post(url, {**fields, "otp": "000000"}).problem["code"] == "bad_otp"

    changed = client.post(url, {**fields, "otp": person.step()})
    assert changed.status == 200
    later = Client(app, {"Authorization": f"Bearer {changed.json['access_token']}"})
    assert later.delete(MFA).problem["code"] == "step_up_required"
    assert later.post(f"{MFA}recovery-codes/").problem["code"] == "step_up_required"


def test_a_user_has_one_second_factor(person, sql):
    client = person.enrol(sql)

    assert client.post(TOTP).problem["code"] == "already_enrolled"
    assert client.post(f"{TOTP}confirm/", {"otp": person.step()}).problem["code"] == "already_enrolled"


def test_a_password_reset_by_email_does_not_bypass_it(app, person, sql):
    from campshub.accounts.service import passwords  # noqa: PLC0415
    from campshub.core.db.models import new_id  # noqa: PLC0415
    from campshub.core.db.unit_of_work import unit_of_work  # noqa: PLC0415

    person.enrol(sql)
    services, new = app.extensions["campshub"], "wrong donkey charger"
    with app.app_context(), unit_of_work(system=True) as session:
        now = session.unit.now
        _, token = passwords.prepare_reset(session, services, email=person.email, reset_id=new_id(), now=now)
    assert Client(app).post("/api/auth/password/reset/", {"token": token, "new_password": new}).status == 204

    assert person.sign_in(new).problem["code"] == "otp_required"
    assert person.sign_in(new, otp=person.step()).status == 200


# Required by role ----------------------------------------------------------------------------------------------------


def test_without_a_required_second_factor_a_user_may_only_set_it_up(app, api, tenant, sql):
    trainer = Person(app, tenant.the(Role.TRAINER))
    before = trainer.sign_in().json
    assert api.patch("/api/organization/", {"mfa_roles": ["trainer"]}).json["mfa_roles"] == ["trainer"]

    client = trainer.signed_in()
    assert client.get("/api/students/").problem["code"] == "mfa_required"
    assert client.get("/api/me/").status == 200
    refreshed = Client(app).post("/api/auth/refresh/", {"refresh_token": before["refresh_token"]}).json
    old = Client(app, {"Authorization": f"Bearer {refreshed['access_token']}"})
    assert old.get("/api/students/").problem["code"] == "mfa_required"

    trainer.enrol(sql)
    allowed = trainer.signed_in(otp=trainer.step())
    assert allowed.get("/api/students/").status == 200
    assert allowed.delete(MFA).problem["code"] == "mfa_required_by_role"
    assert Person(app, tenant.the(Role.CLIENT)).signed_in().get("/api/students/").status == 200


def test_an_unknown_role_cannot_require_it(api):
    assert api.patch("/api/organization/", {"mfa_roles": ["king"]}).status == 422


# Wrong codes ---------------------------------------------------------------------------------------------------------


def test_wrong_codes_lock_the_account_like_wrong_passwords(stack, scratch, tmp_path):
    from campshub.app import create_app  # noqa: PLC0415
    from tests.conftest import close, new_tenant, settings_of  # noqa: PLC0415

    app = create_app(settings_of(stack, scratch, lockout_account_after=5, mail_folder=str(tmp_path)))
    person = Person(app, new_tenant(app).the(Role.ADMIN))
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        person.enrol(lambda statement, *parameters: connection.execute(statement, parameters))
        for number in range(5):
            assert person.sign_in(otp=f"12345{number}").status == 401

        locked = person.sign_in(otp=person.step())

        assert (locked.status, locked.problem["code"]) == (401, "bad_credentials")
        connection.execute("UPDATE sign_in_attempts SET held_until = now()")
        assert person.sign_in(otp=person.step()).status == 200
    close(app)
