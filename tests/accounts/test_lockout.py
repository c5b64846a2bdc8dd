"""Wrong passwords make an account wait, longer each time; nobody can tell from it which accounts there are."""

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
from tests.conftest import PASSWORD, Client, close, new_place, settings_of

TOKEN = "/api/auth/token/"
AFTER = 5
AT_ONCE = 50


@pytest.fixture(params=["with Redis", "without Redis"])
def strict(request, stack, scratch, tmp_path):
    """An application that holds accounts as it would by default."""
    away = {"redis_url": "redis://127.0.0.1:1/0"} if request.param == "without Redis" else {}
    app = create_app(
        settings_of(
            stack, scratch, mail_folder=str(tmp_path), lockout_account_after=AFTER, lockout_address_after=20, **away
        )
    )
    app.folder = tmp_path
    yield app
    close(app)


@pytest.fixture
def place(strict):
    return new_place(strict)


@pytest.fixture
def address(place):
    return place.the(Role.ADMIN).get("/api/me/").json["email"]


@pytest.fixture
def ask(stack, scratch):
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        yield lambda statement: connection.execute(statement).fetchall()


def tried(app, email, password="not it"):
    return Client(app).post(TOKEN, {"email": email, "password": password})


def said(answer):
    return answer.status, {name: value for name, value in answer.problem.items() if name != "trace_id"}


WAIT = "SELECT round(extract(epoch FROM held_until - last_at))::int FROM sign_in_attempts WHERE held_until IS NOT NULL"
PASS = "UPDATE sign_in_attempts SET held_until = now() RETURNING failures"


def test_the_right_password_is_refused_like_a_wrong_one_while_the_account_is_held(strict, address, ask):
    wrong = [said(tried(strict, address)) for _ in range(AFTER)]
    held = said(tried(strict, address, PASSWORD))

    assert {status for status, _ in [*wrong, held]} == {401}
    assert held[1] == wrong[0][1]
    ask(PASS)
    assert tried(strict, address, PASSWORD).status == 200


def test_one_wrong_less_holds_nothing_and_a_right_one_begins_anew(strict, address, ask):
    for _ in range(3):
        for _ in range(AFTER - 1):
            tried(strict, address)
        assert tried(strict, address, PASSWORD).status == 200

    assert ask("SELECT failures, held_until FROM sign_in_attempts") == [(3 * (AFTER - 1), None)]  # the address


def test_the_delay_doubles_up_to_its_longest_and_trying_in_vain_does_not_lengthen_it(strict, address, ask):
    waits = []
    for _ in range(AFTER + 7):
        ask("DELETE FROM sign_in_attempts WHERE failures > 100 RETURNING 1")
        tried(strict, address)
        found = ask(f"{WAIT} ORDER BY held_until DESC LIMIT 1")  # the address is held, too, and for less
        waits += [found[0][0]] if found else []
        tried(strict, address)  # within the delay: counts for nothing
        ask(PASS)

    assert waits[:6] == [30, 60, 120, 240, 480, 900]
    assert set(waits[6:]) == {900}


def test_an_account_that_does_not_exist_is_held_just_the_same(strict, address, ask):
    for email in (address, "nobody@example.org"):
        answers = [tried(strict, email) for _ in range(AFTER + 2)]
        assert {answer.status for answer in answers} == {401}

    held = ask("SELECT failures FROM sign_in_attempts WHERE held_until > now() ORDER BY failures")
    assert held == [(AFTER,), (AFTER,)]
    assert ask("SELECT count(*) FROM sign_in_attempts WHERE encode(key, 'escape') LIKE '%example%'") == [(0,)]


def test_known_and_unknown_accounts_take_the_same_statements(strict, address):
    def shapes(email):
        return [[s[:40] for s in tried(strict, email).statements] for _ in range(AFTER + 1)]

    assert shapes(address) == shapes("nobody@example.org")


@pytest.fixture
def checked(monkeypatch):
    """Count the passwords that could have opened an account."""
    found = []
    begin = attempts.begin

    def counting(*given):
        attempt = begin(*given)
        if not attempt.is_held:
            found.append(attempt)
        return attempt

    monkeypatch.setattr(attempts, "begin", counting)
    return found


def at_once(app, passwords, emails):
    with ThreadPoolExecutor(len(passwords)) as pool:
        return list(pool.map(lambda given: tried(app, *given), zip(emails, passwords, strict=True)))


def test_of_fifty_guesses_at_once_no_more_are_checked_than_may_fail(strict, address, ask, checked):
    answers = at_once(strict, ["not it"] * AT_ONCE, [address] * AT_ONCE)

    assert {answer.status for answer in answers} <= {401, 429}
    assert len(checked) == AFTER
    (longest,) = ask("SELECT max(failures) FROM sign_in_attempts WHERE held_until > now() AND pending = '{}'")
    assert longest[0] >= AFTER
    assert tried(strict, address, PASSWORD).status == 401
    ask(PASS)
    ask("UPDATE sign_in_attempts SET held_until = NULL WHERE failures <> 5 RETURNING 1")  # the address's
    answers = at_once(strict, ["not it"] * AT_ONCE, [address] * AT_ONCE)
    assert len(checked) == AFTER + 1  # once a delay is over there is one more guess


def slow(app, monkeypatch):
    """Let as many checks as there are places wait for one more, in vain."""
    passwords = app.extensions["campshub"].passwords
    check, together = passwords.check, threading.Barrier(AFTER + 1, timeout=3)

    def waiting(*given):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()
        return check(*given)

    monkeypatch.setattr(passwords, "check", waiting)


def test_six_devices_that_sign_in_at_once_are_never_called_wrong(strict, address, ask, monkeypatch):
    slow(strict, monkeypatch)

    answers = at_once(strict, [PASSWORD] * 6, [address] * 6)

    assert sorted(answer.status for answer in answers) == [200] * AFTER + [429]
    (late,) = (answer for answer in answers if answer.status == 429)
    assert (late.problem["code"], late.headers["Retry-After"]) == ("too_many_at_once", "1")
    assert ask("SELECT max(failures), max(cardinality(pending)), max(held_until) FROM sign_in_attempts") == [
        (0, 0, None)
    ]
    assert ask("SELECT count(*) FROM security_events WHERE kind IN ('sign_in_failed', 'sign_in_locked')") == [(0,)]
    assert tried(strict, address, PASSWORD).status == 200


def test_a_school_that_signs_in_at_once_behind_one_address_is_never_called_wrong(strict, place, ask):
    emails = [place.someone(Role.TRAINER).get("/api/me/").json["email"] for _ in range(30)]

    answers = at_once(strict, [PASSWORD] * 30, emails)

    assert {answer.status for answer in answers} <= {200, 429}
    assert ask("SELECT max(failures), max(cardinality(pending)) FROM sign_in_attempts") == [(0, 0)]


def test_attempts_in_flight_leave_no_place_until_they_end_or_are_a_minute_old(strict, address, ask):
    tried(strict, address)
    in_flight = "UPDATE sign_in_attempts SET failures = 1, pending = ARRAY(SELECT now() - INTERVAL '{} s' FROM"
    for age, status in ((5, 429), (61, 200)):
        ask(f"{in_flight.format(age)} generate_series(2, {AFTER})) WHERE failures < 20 RETURNING 1")
        assert tried(strict, address, PASSWORD).status == status


def test_what_is_no_answer_to_the_password_counts_for_nothing(strict, address, ask, monkeypatch):
    def busy(*_):
        raise PasswordsBusy

    with monkeypatch.context() as patched:
        patched.setattr(strict.extensions["campshub"].passwords, "check", busy)
        assert {tried(strict, address, PASSWORD).status for _ in range(AFTER + 1)} == {503}
    assert ask("SELECT max(failures), max(cardinality(pending)) FROM sign_in_attempts") == [(0, 0)]

    secret = enrol(strict, address)
    assert {tried(strict, address, PASSWORD).problem["code"] for _ in range(AFTER + 2)} == {"otp_required"}
    body = {"email": address, "password": PASSWORD, "otp": pyotp.TOTP(secret).at(time.time() + 30)}
    assert Client(strict).post(TOKEN, body).status == 200


def enrol(app, email):
    """Give a user a second factor; return its secret."""
    token = Client(app).made(TOKEN, {"email": email, "password": PASSWORD})["access_token"]
    user = Client(app, {"Authorization": f"Bearer {token}"})
    secret = user.made("/api/auth/mfa/totp/", None)["secret"]
    user.made("/api/auth/mfa/totp/confirm/", {"otp": pyotp.TOTP(secret).now()})
    return secret


def test_the_owner_is_told_once_and_only_if_there_is_one(strict, address):
    for email in (address, "nobody@example.org"):
        for _ in range(AFTER + 3):
            tried(strict, email)

    with strict.app_context():
        sent = runner.run_due(strict.extensions["campshub"])

    (letter,) = strict.folder.glob("*.eml")
    assert sent.done == 2
    assert f"To: {address}" in letter.read_text()
    assert "Wrong passwords" in letter.read_text()


def test_failures_are_recorded_where_the_user_belongs(strict, place, address, ask):
    for _ in range(AFTER + 1):
        tried(strict, address)
    tried(strict, "nobody@example.org")

    kinds = ask(f"SELECT kind FROM security_events WHERE organization_id = '{place.id}' ORDER BY id")
    assert kinds == [("sign_in_failed",)] * (AFTER - 1) + [("sign_in_locked",), ("sign_in_failed",)]
    strangers = ask("SELECT user_id, address FROM security_events WHERE user_id IS NULL")
    assert strangers == [(None, "127.0.0.1")]


def test_a_failure_is_kept_although_its_request_was_rolled_back(strict, address, ask):
    tried(strict, address)

    assert sorted(ask("SELECT failures FROM sign_in_attempts")) == [(1,), (1,)]


def test_an_address_waits_only_after_many_more(strict, place, ask):
    for _ in range(20):
        tried(strict, f"{new_id().hex}@example.org")
    someone = place.the(Role.TRAINER)
    email = someone.get("/api/me/").json["email"]

    assert tried(strict, email, PASSWORD).status == 401
    ask(PASS)
    assert tried(strict, email, PASSWORD).status == 200


def test_a_reset_by_e_mail_ends_the_wait(strict, address):
    from campshub.accounts.service import passwords  # noqa: PLC0415
    from campshub.core.db.unit_of_work import unit_of_work  # noqa: PLC0415

    for _ in range(AFTER):
        tried(strict, address)
    services = strict.extensions["campshub"]
    with strict.app_context(), unit_of_work(system=True) as session:
        _, token = passwords.prepare_reset(session, services, email=address, reset_id=new_id(), now=session.unit.now)
    body = {"token": token, "new_password": "wrong donkey charger"}

    assert Client(strict).post("/api/auth/password/reset/", body).status == 204
    assert tried(strict, address, body["new_password"]).status == 200


def test_a_right_password_for_a_foreign_organization_counts_as_right(strict, address, ask):
    for _ in range(AFTER + 1):
        answer = Client(strict).post(TOKEN, {"email": address, "password": PASSWORD, "organization_id": str(new_id())})
        assert answer.status == 403

    assert ask("SELECT max(failures) FROM sign_in_attempts") == [(0,)]
