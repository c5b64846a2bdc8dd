"""Password hashes, own and imported, refused passwords, and the number of passwords hashed at once."""

import hashlib
import threading

import bcrypt
import pytest

from campshub.core.errors import Invalid
from campshub.core.security import breached, passwords
from campshub.core.security.password_blocklist import obvious_passwords
from campshub.core.security.passwords import Passwords, PasswordsBusy, hash_password, verify_password
from tests.conftest import ROOT

SHIPPED = ROOT / "campshub" / "core" / "security" / "breached.bloom"
ADDRESS = "asha.rao@example.org"


@pytest.fixture
def imported_hash(monkeypatch):
    """Return a factory of another system's hashes."""
    return lambda password, mark="2b", cost=4: (
        f"${mark}" + bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()[3:]
    )


@pytest.mark.parametrize("mark", ["2a", "2b", "2y"])
def test_an_imported_hash_is_accepted(imported_hash, mark):
    stored = imported_hash("the very same", mark)

    assert verify_password("the very same", stored, cost=4)
    assert not verify_password("the very sama", stored, cost=4)


@pytest.mark.parametrize("length", [71, 72, 73, 1000])
def test_an_imported_hash_of_a_long_password_is_compared_with_the_first_72_bytes(imported_hash, length):
    assert verify_password("x" * length, imported_hash("x" * length), cost=4)
    assert not verify_password("y" * length, imported_hash("x" * length), cost=4)


@pytest.mark.parametrize(
    "stored",
    [None, "", "x", "$2b$04$short", "bcrypt-sha256:", "bcrypt-sha256:$2b$04$" + "!" * 53, "$2b$31$" + "." * 53],
)
def test_an_invalid_hash_matches_nothing(stored):
    assert not verify_password("", stored, cost=4)
    assert not verify_password("x" * 10_000, stored, cost=4)


def test_a_wrong_password_costs_the_same_for_every_kind_of_hash(imported_hash, monkeypatch):
    """The cost is measured in rounds: a hash of cost n takes 2^n of them."""
    rounds, check = [], bcrypt.checkpw

    def counting(given, hashed):
        rounds.append(2 ** int(hashed[4:6]))
        return check(given, hashed)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", counting)
    spent = {}
    for name, stored in {
        "unknown user": None,
        "ours": hash_password("right", cost=8),
        "ours, cheaper": hash_password("right", cost=5),
        "another's": imported_hash("right", cost=4),
    }.items():
        rounds.clear()
        assert not verify_password("wrong", stored, cost=8)
        spent[name] = sum(rounds)

    assert set(spent.values()) == {2**8}


def test_an_imported_hash_or_one_of_another_cost_is_outdated(settings, imported_hash):
    ours = Passwords(settings)

    assert not ours.is_outdated(ours.hash("x"))
    assert ours.is_outdated(hash_password("x", cost=5))
    assert ours.is_outdated(imported_hash("x"))


def test_only_a_few_passwords_are_hashed_at_once_and_other_requests_get_a_retry_time(settings, monkeypatch):
    busy = Passwords(settings.model_copy(update={"password_hashes_at_once": 2, "password_wait_s": 0.01}))
    go, at_work = threading.Event(), threading.Semaphore(0)

    def waits(password, *, cost):
        at_work.release()
        go.wait(30)
        return "done"

    monkeypatch.setattr(passwords, "hash_password", waits)
    working = [threading.Thread(target=busy.hash, args=("x",)) for _ in range(2)]
    for one in working:
        one.start()
        at_work.acquire()

    with pytest.raises(PasswordsBusy) as refused:
        busy.hash("x")
    go.set()
    for one in working:
        one.join()

    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "5")
    assert busy.hash("x") == "done"


# Refused passwords ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("x" * 11, "too_short"), ("é" * 513, "too_long"), (ADDRESS, "is_email"), (ADDRESS.upper(), "is_email"),
        ("password1234", "breached"), ("PassWord1234", "breached"), ("qwertyuiop123", "breached"),
        ("aaaaaaaaaaaa", "breached"), ("CampsHub2026", "breached"), ("1qaz2wsx3edc", "breached"),
    ],
)  # fmt: skip
def test_a_bad_password_is_refused_with_its_code(settings, password, code):
    with pytest.raises(Invalid) as refused:
        Passwords(settings).require_good(password, least=12, email=ADDRESS)

    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/password", code)]


@pytest.mark.parametrize(
    "password", ["correct horse battery", "é" * 512, "    fifteen spaces or so", "asha.rao rides a bus"]
)
def test_any_other_password_is_accepted(settings, password):
    Passwords(settings).require_good(password, least=12, email=ADDRESS)


def test_the_shipped_list_is_reproducible(app, tmp_path):
    made = tmp_path / "made.bloom"
    result = app.test_cli_runner().invoke(args=["passwords", "build-list", "--output", str(made)])

    assert result.exit_code == 0, result.output
    assert made.read_bytes() == SHIPPED.read_bytes()
    assert all(password in breached.BreachedList(SHIPPED) for password in obvious_passwords())


def test_a_list_is_built_from_passwords_and_digests_and_includes_the_shipped_rules(app, settings, tmp_path):
    source, made = tmp_path / "source.txt", tmp_path / "made.bloom"
    digest = hashlib.sha1(b"leaked as a digest").hexdigest()  # noqa: S324 - the format of public lists
    source.write_text(f"leaked as it was\r\n\n{digest.upper()}:42\n{'f' * 40}\n")

    result = app.test_cli_runner().invoke(args=["passwords", "build-list", str(source), "--output", str(made)])
    built = Passwords(settings.model_copy(update={"password_list": str(made)}))

    assert result.exit_code == 0, result.output
    for password in ("leaked as it was", "leaked as a digest", "password1234"):
        with pytest.raises(Invalid):
            built.require_good(password, least=12, email=ADDRESS)
    built.require_good("never leaked anywhere", least=12, email=ADDRESS)
    Passwords(settings).require_good("leaked as it was", least=12, email=ADDRESS)


def test_a_list_has_at_most_its_declared_rate_of_false_positives():
    shipped = breached.BreachedList(SHIPPED)
    wrongly = sum(f"good {number} password" in shipped for number in range(20_000))

    assert wrongly < 20_000 * breached.FALSE_POSITIVES * 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"X" + b[1:], lambda b: b"", lambda b: b[:3]])
def test_an_invalid_list_stops_the_start(settings, tmp_path, damage):
    broken = tmp_path / "broken.bloom"
    broken.write_bytes(damage(SHIPPED.read_bytes()))

    with pytest.raises(breached.BadList):
        Passwords(settings.model_copy(update={"password_list": str(broken)}))
