"""ID tokens of other issuers, and the second factor: ours, or the issuer's own."""

import json

import pyotp
import pytest

from campshub.app import create_app
from campshub.core.db.models import new_id
from tests.accounts.conftest import events, signed_in
from tests.conftest import Client, close, settings_of

OIDC, TOTP = "/api/auth/oidc/", "/api/auth/mfa/totp/"


def enrolled(app, api, sql):
    client = signed_in(api)
    totp = pyotp.TOTP(client.made(TOTP, None)["secret"])
    codes = client.made(f"{TOTP}confirm/", {"otp": totp.now()})["recovery_codes"]
    sql("UPDATE totp_secrets SET last_step = 0 WHERE user_id = %s RETURNING 1", api.user_id)
    return totp, codes


def test_a_second_factor_is_required_before_the_token_is_used_up(app, anonymous, api, issuer, mail, sql):
    totp, codes = enrolled(app, api, sql)
    token = issuer.token(amr=["pwd", "mfa"], **mail)

    lacking = anonymous.post(OIDC, {"id_token": token})
    wrong = anonymous.post(OIDC, {"id_token": token, "otp": "000000" if totp.now() != "000000" else "000001"})
    right = anonymous.post(OIDC, {"id_token": token, "otp": totp.now()})

    assert [lacking.problem["code"], wrong.problem["code"], right.status] == ["otp_required", "bad_otp", 200]
    assert events(sql, "sign_in_failed", api.user_id) == 1
    assert anonymous.post(OIDC, {"id_token": token, "otp": codes[0]}).problem["code"] == "bad_id_token"


def test_wrong_codes_lock_the_account_like_wrong_passwords(stack, database, app, api, issuer, mail, sql):
    totp, _ = enrolled(app, api, sql)
    locking_app = create_app(settings_of(stack, database, lockout_account_after=3))
    wrong = "000000" if totp.now() != "000000" else "000001"
    tries = [Client(locking_app).post(OIDC, {"id_token": issuer.token(**mail), "otp": wrong}) for _ in range(3)]
    right = Client(locking_app).post(OIDC, {"id_token": issuer.token(**mail), "otp": totp.now()})
    close(locking_app)

    assert {one.problem["code"] for one in (*tries, right)} == {"bad_otp"}


@pytest.mark.parametrize(("counted", "code"), [(["mfa"], None), ([], "otp_required")])
def test_the_issuers_second_factor_counts_where_configured(stack, database, app, api, issuer, mail, sql, counted, code):
    enrolled(app, api, sql)
    configured_app = create_app(
        settings_of(stack, database, oidc_issuers=json.dumps([issuer.setting(mfa_amr=counted)]))
    )
    with_amr = Client(configured_app).post(OIDC, {"id_token": issuer.token(amr=["mfa"], **mail)})
    without = Client(configured_app).post(OIDC, {"id_token": issuer.token(amr="mfa", **mail)})
    close(configured_app)

    assert (with_amr.problem["code"] if with_amr.status != 200 else None) == code
    assert without.problem["code"] in ("otp_required", "bad_id_token")


def test_a_role_that_requires_a_second_factor_requires_it_with_id_tokens(stack, database, api, issuer, mail):
    assert api.patch("/api/organization/", {"mfa_roles": ["admin"]}).status == 200
    configured_app = create_app(
        settings_of(stack, database, oidc_issuers=json.dumps([issuer.setting(mfa_amr=["mfa"])]))
    )
    subject = new_id().hex
    states = []
    for amr in (["mfa"], ["pwd"]):
        tokens = Client(configured_app).made(OIDC, {"id_token": issuer.token(sub=subject, amr=amr, **mail)})
        again = Client(configured_app).made("/api/auth/refresh/", {"refresh_token": tokens["refresh_token"]})
        for token in (tokens, again):
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            response = Client(configured_app, headers).get("/api/organization/")
            states.append(response.status if response.status == 200 else response.problem["code"])
    close(configured_app)

    assert states == [200, 200, "mfa_required", "mfa_required"]
