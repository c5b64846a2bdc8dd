"""Wrong passwords lock an account, longer each time; the lock does not reveal which accounts exist."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest

from campshub.accounts.service import attempts
from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.jobs import runner
from campshub.core.security.passwords import PasswordsBusy
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client, close, new_tenant, settings_of
from tests.emails import emails_in

TOKEN = "/api/auth/token/"
AFTER = 5
AT_ONCE = 50


@pytest.fixture(params=["with Redis", "without Redis"])
def lockout_app(request, stack, scratch, tmp_path):
    """An application with the default lockout settings."""
    extra_settings = {"redis_url": "redis://127.0.0.1:1/0"} if request.param == "without Redis" else {}
    app = create_app(
        settings_of(
            stack,
            scratch,
            mail_folder=str(tmp_path),
            lockout_account_after=AFTER,
            lockout_address_after=20,
            **extra_settings,
        )
    )
    app.folder = tmp_path
    yield app
    close(app)


@pytest.fixture
def tenant(lockout_app):
    return new_tenant(lockout_app)


@pytest.fixture
def account_email(tenant):
    return tenant.the(Role.ADMIN).get("/api/me/").json["email"]


@pytest.fixture
def sql(scratch_sql):
    return scratch_sql


def tried(app, email, password="not it"):
    return Client(app).post(TOKEN, {"email": email, "password": password})


def status_and_problem(response):
    return response.status, {name: value for name, value in response.problem.items() if name != "trace_id"}


WAIT = "SELECT round(extract(epoch FROM held_until - last_at))::int FROM sign_in_attempts WHERE held_until IS NOT NULL"
PASS = "UPDATE sign_in_attempts SET held_until = now() RETURNING failures"


def test_the_right_password_is_refused_like_a_wrong_one_while_the_account_is_locked(lockout_app, account_email, sql):
    wrong = [status_and_problem(tried(lockout_app, account_email)) for _ in range(AFTER)]
    locked = status_and_problem(tried(lockout_app, account_email, PASSWORD))

    assert {status for status, _ in [*wrong, locked]} == {401}
    assert locked[1] == wrong[0][1]
    sql(PASS)
    assert tried(lockout_app, account_email, PASSWORD).status == 200


def test_fewer_failures_do_not_lock_and_a_right_password_resets_the_count(lockout_app, account_email, sql):
    for _ in range(3):
        for _ in range(AFTER - 1):
            tried(lockout_app, account_email)
        assert tried(lockout_app, account_email, PASSWORD).status == 200

    assert sql("SELECT failures, held_until FROM sign_in_attempts") == [(3 * (AFTER - 1), None)]  # of the IP address


def test_the_delay_doubles_up_to_its_maximum_and_attempts_within_it_do_not_extend_it(lockout_app, account_email, sql):
    waits = []
    for _ in range(AFTER + 7):
        sql("DELETE FROM sign_in_attempts WHERE failures > 100 RETURNING 1")
        tried(lockout_app, account_email)
        found = sql(f"{WAIT} ORDER BY held_until DESC LIMIT 1")  # the IP address is locked, too, for a shorter time
        waits += [found[0][0]] if found else []
        tried(lockout_app, account_email)  # within the delay: not counted
        sql(PASS)

    assert waits[:6] == [30, 60, 120, 240, 480, 900]
    assert set(waits[6:]) == {900}


def test_an_account_that_does_not_exist_is_locked_in_the_same_way(lockout_app, account_email, sql):
    for email in (account_email, "unknown@example.org"):
        responses = [tried(lockout_app, email) for _ in range(AFTER + 2)]
        assert {response.status for response in responses} == {401}

    locked = sql("SELECT failures FROM sign_in_attempts WHERE held_until > now() ORDER BY failures")
    assert locked == [(AFTER,), (AFTER,)]
    assert sql("SELECT count(*) FROM sign_in_attempts WHERE encode(key, 'escape') LIKE '%example%'") == [(0,)]


def test_known_and_unknown_accounts_run_the_same_statements(lockout_app, account_email):
    def shapes(email):
        return [[s[:40] for s in tried(lockout_app, email).statements] for _ in range(AFTER + 1)]

    assert shapes(account_email) == shapes("unknown@example.org")


@pytest.fixture
def checked(monkeypatch):
    """Count the passwords that are compared."""
    found = []
    begin = attempts.begin

    def counting(*arguments):
        attempt = begin(*arguments)
        if not attempt.is_held:
            found.append(attempt)
        return attempt

    monkeypatch.setattr(attempts, "begin", counting)
    return found


def at_once(app, passwords, emails):
    with ThreadPoolExecutor(len(passwords)) as pool:
        return list(pool.map(lambda arguments: tried(app, *arguments), zip(emails, passwords, strict=True)))


def test_of_fifty_concurrent_guesses_no_more_are_checked_than_may_fail(lockout_app, account_email, sql, checked):
    responses = at_once(lockout_app, ["not it"] * AT_ONCE, [account_email] * AT_ONCE)

    assert {response.status for response in responses} <= {401, 429}
    assert len(checked) == AFTER
    (longest,) = sql("SELECT max(failures) FROM sign_in_attempts WHERE held_until > now() AND pending = '{}'")
    assert longest[0] >= AFTER
    assert tried(lockout_app, account_email, PASSWORD).status == 401
    sql(PASS)
    sql("UPDATE sign_in_attempts SET held_until = NULL WHERE failures <> 5 RETURNING 1")  # of the IP address
    responses = at_once(lockout_app, ["not it"] * AT_ONCE, [account_email] * AT_ONCE)
    assert len(checked) == AFTER + 1  # after a delay there is one more guess


def slow(app, monkeypatch):
    """Let all allowed concurrent checks wait in vain for one more."""
    passwords = app.extensions["campshub"].passwords
    check, together = passwords.check, threading.Barrier(AFTER + 1, timeout=3)

    def waiting(*arguments):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()
        return check(*arguments)

    monkeypatch.setattr(passwords, "check", waiting)


def test_six_devices_that_sign_in_at_once_never_get_a_wrong_password_error(
    lockout_app, account_email, sql, monkeypatch
):
    slow(lockout_app, monkeypatch)

    responses = at_once(lockout_app, [PASSWORD] * 6, [account_email] * 6)

    assert sorted(response.status for response in responses) == [200] * AFTER + [429]
    (late,) = (response for response in responses if response.status == 429)
    assert (late.problem["code"], late.headers["Retry-After"]) == ("too_many_at_once", "1")
    assert sql("SELECT max(failures), max(cardinality(pending)), max(held_until) FROM sign_in_attempts") == [
        (0, 0, None)
    ]
    assert sql("SELECT count(*) FROM security_events WHERE kind IN ('sign_in_failed', 'sign_in_locked')") == [(0,)]
    assert tried(lockout_app, account_email, PASSWORD).status == 200


def test_a_school_that_signs_in_at_once_from_one_address_never_gets_a_wrong_password_error(lockout_app, tenant, sql):
    emails = [tenant.someone(Role.TRAINER).get("/api/me/").json["email"] for _ in range(30)]

    responses = at_once(lockout_app, [PASSWORD] * 30, emails)

    assert {response.status for response in responses} <= {200, 429}
    assert sql("SELECT max(failures), max(cardinality(pending)) FROM sign_in_attempts") == [(0, 0)]


def test_attempts_in_flight_count_until_they_end_or_are_a_minute_old(lockout_app, account_email, sql):
    tried(lockout_app, account_email)
    in_flight = "UPDATE sign_in_attempts SET failures = 1, pending = ARRAY(SELECT now() - INTERVAL '{} s' FROM"
    for age, status in ((5, 429), (61, 200)):
        sql(f"{in_flight.format(age)} generate_series(2, {AFTER})) WHERE failures < 20 RETURNING 1")
        assert tried(lockout_app, account_email, PASSWORD).status == status


def test_outcomes_other_than_a_wrong_password_do_not_count(lockout_app, account_email, sql, monkeypatch):
    def busy(*_):
        raise PasswordsBusy

    with monkeypatch.context() as patched:
        patched.setattr(lockout_app.extensions["campshub"].passwords, "check", busy)
        assert {tried(lockout_app, account_email, PASSWORD).status for _ in range(AFTER + 1)} == {503}
    assert sql("SELECT max(failures), max(cardinality(pending)) FROM sign_in_attempts") == [(0, 0)]

    secret = enrol(lockout_app, account_email)
    assert {tried(lockout_app, account_email, PASSWORD).problem["code"] for _ in range(AFTER + 2)} == {"otp_required"}
    body = {"email": account_email, "password": PASSWORD, "otp": pyotp.TOTP(secret).at(time.time() + 30)}
    assert Client(lockout_app).post(TOKEN, body).status == 200


def enrol(app, email):
    """Give a user a second factor; return its secret."""
    token = Client(app).made(TOKEN, {"email": email, "password": PASSWORD})["access_token"]
    user = Client(app, {"Authorization": f"Bearer {token}"})
    secret = user.made("/api/auth/mfa/totp/", None)["secret"]
    user.made("/api/auth/mfa/totp/confirm/", {"otp": pyotp.TOTP(secret).now()})
    return secret


def test_the_owner_gets_one_email_and_only_if_the_account_exists(lockout_app, account_email):
    for email in (account_email, "unknown@example.org"):
        for _ in range(AFTER + 3):
            tried(lockout_app, email)

    with lockout_app.app_context():
        sent = runner.run_due(lockout_app.extensions["campshub"])

    (message,) = emails_in(lockout_app.folder)
    assert sent.done == 2
    assert (message["To"], message["Subject"]) == (account_email, "Wrong passwords for your account")


def test_failures_are_recorded_in_the_users_organization(lockout_app, tenant, account_email, sql):
    for _ in range(AFTER + 1):
        tried(lockout_app, account_email)
    tried(lockout_app, "unknown@example.org")

    kinds = sql(f"SELECT kind FROM security_events WHERE organization_id = '{tenant.id}' ORDER BY id")
    assert kinds == [("sign_in_failed",)] * (AFTER - 1) + [("sign_in_locked",), ("sign_in_failed",)]
    anonymous = sql("SELECT user_id, address FROM security_events WHERE user_id IS NULL")
    assert anonymous == [(None, "127.0.0.1")]


def test_a_failure_is_stored_although_its_request_was_rolled_back(lockout_app, account_email, sql):
    tried(lockout_app, account_email)

    assert sorted(sql("SELECT failures FROM sign_in_attempts")) == [(1,), (1,)]


def test_an_address_is_locked_only_after_many_more_failures(lockout_app, tenant, sql):
    for _ in range(20):
        tried(lockout_app, f"{new_id().hex}@example.org")
    someone = tenant.the(Role.TRAINER)
    email = someone.get("/api/me/").json["email"]

    assert tried(lockout_app, email, PASSWORD).status == 401
    sql(PASS)
    assert tried(lockout_app, email, PASSWORD).status == 200


def test_a_password_reset_by_email_ends_the_lock(lockout_app, account_email):
    from campshub.accounts.service import passwords  # noqa: PLC0415
    from campshub.core.db.unit_of_work import unit_of_work  # noqa: PLC0415

    for _ in range(AFTER):
        tried(lockout_app, account_email)
    services = lockout_app.extensions["campshub"]
    with lockout_app.app_context(), unit_of_work(system=True) as session:
        _, token = passwords.prepare_reset(
            session, services, email=account_email, reset_id=new_id(), now=session.unit.now
        )
    body = {"token": token, "new_password": "wrong donkey charger"}

    assert Client(lockout_app).post("/api/auth/password/reset/", body).status == 204
    assert tried(lockout_app, account_email, body["new_password"]).status == 200


def test_a_right_password_for_another_organization_counts_as_right(lockout_app, account_email, sql):
    for _ in range(AFTER + 1):
        response = Client(lockout_app).post(
            TOKEN, {"email": account_email, "password": PASSWORD, "organization_id": str(new_id())}
        )
        assert response.status == 403

    assert sql("SELECT max(failures) FROM sign_in_attempts") == [(0,)]
