"""E-mail addresses and codes are normalized in the same way everywhere."""

import json
import time

import flask_migrate
import pyotp
import pytest

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, ROOT, Client, close, new_tenant, settings_of

TOTP = "/api/auth/mfa/totp/"
NEW = "wrong donkey charger"


@pytest.fixture
def jose(api):
    """A user whose e-mail address was stored composed."""
    email = f"Jos\u00e9.{new_id().hex}@Example.org"
    api.made("/api/users/", {"email": email, "name": "José", "role": "trainer", "password": NEW})
    return email


def spellings(email):
    decomposed = email.replace("\u00e9", "e\u0301")
    return [email, f" {email}", f"{email} ", f"\t{email.lower()}\n", email.upper(), decomposed,
            f"\u00a0{decomposed.upper()}\u3000"]  # fmt: skip


def test_an_address_signs_in_in_every_spelling(anonymous, jose):
    for email in spellings(jose):
        response = anonymous.post("/api/auth/token/", {"email": email, "password": NEW})
        assert response.status == 200, ascii(email)


def test_every_spelling_of_an_address_is_the_same_user_and_reset(api, anonymous, jose, sql):
    for email in spellings(jose):
        body = {"email": email, "name": "José", "role": "trainer", "password": NEW}
        assert api.post("/api/users/", body).problem["code"] == "email_taken", ascii(email)
        assert anonymous.post("/api/auth/password/forgot/", {"email": email}).status == 202, ascii(email)


@pytest.mark.parametrize(
    ("one", "another"), [("strasse", "stra\u00dfe"), ("nikos", "niko\u017f"), ("\u03c3", "\u03c2")]
)
def test_addresses_that_differ_in_more_than_case_are_two_users(api, anonymous, one, another):
    number = new_id().hex
    mine, other = (f"anna.{number}@{name}.example" for name in (one, another))
    user = {"name": "Anna", "role": "trainer", "password": NEW}

    first = api.made("/api/users/", {**user, "email": mine})
    second = api.made("/api/users/", {**user, "email": other, "password": f"{NEW} too"})

    assert first["id"] != second["id"]
    assert anonymous.post("/api/auth/token/", {"email": other, "password": NEW}).status == 401
    assert anonymous.post("/api/auth/token/", {"email": mine, "password": NEW}).status == 200


def test_the_migration_separates_addresses_that_were_folded_into_one(stack, scratch):
    app = create_app(settings_of(stack, scratch))
    tenant = new_tenant(app)
    user, invited = f"a.{new_id().hex}@stra\u00dfe.example", "b@stra\u00dfe.example"
    api, directory = tenant.the(Role.ADMIN), str(ROOT / "migrations")
    api.made(
        "/api/users/", {"email": user.upper().replace("SS", "\u1e9e"), "name": "A", "role": "trainer", "password": NEW}
    )
    api.made("/api/invitations/", {"email": invited, "role": "client"})
    keys = "SELECT email_key FROM users WHERE email ~ '[^[:ascii:]]' UNION ALL SELECT email_key FROM invitations"
    with stack.primary.connect(scratch) as connection, app.app_context():
        flask_migrate.downgrade(directory=directory, revision="0030")
        before = connection.execute(keys).fetchall()
        connection.commit()
        flask_migrate.upgrade(directory=directory)
        after = connection.execute(keys).fetchall()

    assert before == [(user.replace("\u00df", "ss"),), ("b@strasse.example",)]
    assert after == [(user,), (invited,)]
    close(app)


def test_an_address_is_stored_without_blanks_and_composed(api):
    written = f"  jose\u0301-{new_id().hex}@example.org\u00a0"
    stored = written.strip().replace("e\u0301", "\u00e9")
    student = {"code": new_id().hex, "given_name": "A", "family_name": "B", "email": written}
    contact = {"name": "Mother", "email": written}

    made = api.made("/api/students/", {**student, "guardians": [contact], "emergency_contacts": [contact]})
    invited = api.made("/api/invitations/", {"email": written, "role": "client"})
    user = api.made("/api/users/", {"email": written, "name": "J", "role": "client", "password": NEW})

    found = [one["email"] for one in (made, *made["guardians"], *made["emergency_contacts"], invited, user)]
    assert found == [stored] * 5
    assert api.patch(f"/api/students/{made['id']}/", {"email": f" {stored} "}).json["version"] == made["version"]


def test_the_commands_normalize_an_address_like_the_api(app, tenant, jose):
    def flask(*arguments):
        return app.test_cli_runner().invoke(args=arguments, input=f"{PASSWORD}\n{PASSWORD}\n")

    for email in spellings(jose):
        assert flask("users", "sign-out", "--email", email).exit_code == 0, ascii(email)
    written = f" New.{new_id().hex}@Example.org "
    made = flask("users", "create-admin", "--organization", str(tenant.id), "--email", written, "--json")
    assert json.loads(made.output.splitlines()[-1])["email"] == written.strip()
    for wrong in ("no address", "a@b@c.org", ""):
        refused = flask("users", "create-admin", "--organization", str(tenant.id), "--email", wrong)
        assert refused.exit_code == 2
        assert "Must be an e-mail address" in refused.output


def written(code):
    """Return variants of a code as people type and paste it."""
    half = len(code) // 2
    arabic = "".join(chr(0x0660 + int(digit)) for digit in code) if code.isdecimal() else code
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in code)
    between = (" ", "-", "\u2013", "\u2212", "\u00a0")
    parted = [f"{code[:half]}{one}{code[half:]}" for one in between]
    return [*parted, f" {code}\u200b\n", arabic, wide]


@pytest.fixture
def enrolled(app, tenant, sql):
    """A user with a second factor: their client, email, a maker of codes, and recovery codes."""
    who = tenant.signed_in(tenant.the(Role.ADMIN))
    totp = pyotp.TOTP(who.made(TOTP, None)["secret"])

    def again():
        sql("UPDATE totp_secrets SET last_step = 0 WHERE user_id = %s RETURNING 1", who.user_id)
        return totp.generate_otp(int(time.time()) // 30)

    confirmed = who.made(f"{TOTP}confirm/", {"otp": f"{again()[:3]} {again()[3:]}"})
    return who, who.get("/api/me/").json["email"], again, confirmed["recovery_codes"]


@pytest.mark.parametrize("way", range(8))
def test_a_code_confirms_in_every_spelling(tenant, sql, way):
    who = tenant.signed_in(tenant.someone(Role.TRAINER))
    code = pyotp.TOTP(who.made(TOTP, None)["secret"]).now()

    assert who.post(f"{TOTP}confirm/", {"otp": written(code)[way]}).status == 200


def test_a_code_is_accepted_everywhere_in_every_spelling(anonymous, enrolled):
    who, email, again, _ = enrolled
    for way in range(8):
        body = {"email": email, "password": PASSWORD, "otp": written(again())[way]}
        assert anonymous.post("/api/auth/token/", body).status == 200, way
        step_up = {"password": PASSWORD, "otp": written(again())[way]}
        assert who.post("/api/auth/step-up/", step_up).status == 204, way
    change = {"present_password": PASSWORD, "new_password": NEW, "otp": written(again())[0]}
    assert who.post("/api/auth/password/", change).status == 200


def test_a_recovery_code_is_accepted_in_every_spelling(anonymous, enrolled):
    _, email, _, codes = enrolled
    ways = [*written(codes[0].replace("-", ""))[:6], codes[1].lower(), codes[2].replace("-", " ")]
    seven = [codes[number] for number in range(3, 9)]
    for code, way in zip(seven, range(6), strict=True):
        body = {"email": email, "password": PASSWORD, "otp": written(code.replace("-", "").lower())[way]}
        assert anonymous.post("/api/auth/token/", body).status == 200, way
    for code in ways[6:]:
        assert anonymous.post("/api/auth/token/", {"email": email, "password": PASSWORD, "otp": code}).status == 200


def test_a_malformed_code_is_refused_like_a_wrong_one(anonymous, enrolled):
    _, email, _, _ = enrolled
    for otp, status in ((" ", 422), ("-", 422), ("x", 401), ("000000000000", 401)):
        response = anonymous.post("/api/auth/token/", {"email": email, "password": PASSWORD, "otp": otp})
        assert response.status == status, otp
    assert Client(anonymous.app).post("/api/auth/token/", {"email": email, "password": PASSWORD}).status == 401
