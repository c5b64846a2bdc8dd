"""Issuers' keys: asked for seldom, kept while their issuer is away, and replaced by nothing worse."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import PyJWKClientConnectionError

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.security import jwks
from tests.conftest import Client, close, settings_of
from tests.issuer import DISCOVERY, KEYS, Issuer, new_key

OIDC = "/api/auth/oidc/"
AT_ONCE = 50


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def own():
    """An issuer of this test's own."""
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def reader(stack, database, own, monkeypatch):
    """Make an application that takes the tokens of one issuer; its clock stands until it is set."""
    made = []

    def make(**given):
        clock = Clock()
        issuers = json.dumps([own.setting(**given.pop("issuer", {}))])
        app = create_app(settings_of(stack, database, oidc_issuers=issuers, oidc_timeout_s=1.0, **given))
        for keys in app.extensions["campshub"].oidc._keys.values():
            monkeypatch.setattr(keys, "_clock", clock)
            monkeypatch.setattr(keys._breaker, "_clock", clock)
        made.append(app)
        return (lambda token: Client(app).post(OIDC, {"id_token": token}).status), clock

    yield make
    for app in made:
        close(app)


@pytest.fixture
def token(own, mail):
    subject = new_id().hex
    return lambda algorithm="RS256", **more: own.token(algorithm, **{"sub": subject, **mail, **more})


def test_keys_are_asked_for_once_in_their_life(reader, own, token):
    exchange, clock = reader()

    assert [exchange(token()) for _ in range(3)] == [200] * 3
    assert own.asked == {DISCOVERY: 1, KEYS: 1}
    clock.now += 3601
    assert exchange(token()) == 200
    assert own.asked == {DISCOVERY: 2, KEYS: 2}


def test_an_address_of_keys_that_is_set_needs_no_discovery(reader, own, token):
    exchange, _ = reader(issuer={"jwks_uri": f"{own.url}{KEYS}"})

    assert exchange(token()) == 200
    assert own.asked == {KEYS: 1}


def test_a_new_key_is_looked_for_at_once_and_then_once_a_minute(reader, own, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    own.rotate("RS256")
    assert exchange(token()) == 200
    assert own.asked[KEYS] == 2

    own.rotate("RS256")
    made_up = [exchange(token(algorithm="RS256")) for _ in range(5)]

    assert (made_up, own.asked[KEYS]) == ([401] * 5, 2)
    clock.now += 61
    assert (exchange(token()), own.asked[KEYS]) == (200, 3)


def test_keys_are_kept_while_their_issuer_is_away_but_not_for_ever(reader, own, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    tokens = [token() for _ in range(5)]
    with own.away():
        clock.now += 3601
        assert [exchange(one) for one in tokens[:3]] == [200] * 3
        clock.now += 86_400
        assert exchange(tokens[3]) == 503
    assert exchange(tokens[4]) == 503  # it is left alone for a pause
    clock.now += 11
    assert exchange(tokens[4]) == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}',
        b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}',
        b'{"keys": "' + b"x" * 300_000 + b'"}',
        500,
        302,
        204,
    ],
)
def test_an_issuer_that_answers_garbage_is_taken_to_be_away(reader, own, token, answer):
    exchange, clock = reader()
    own.answers[KEYS] = answer

    assert exchange(token()) == 503
    assert exchange(token()) == 503
    assert own.asked[KEYS] == 1  # a pause is made
    own.answers.clear()
    clock.now += 11
    assert exchange(token()) == 200


def test_a_key_set_that_is_too_long_is_not_read(reader, own, token):
    exchange, _ = reader()
    own.answers[KEYS] = json.dumps(own.document(KEYS)).encode() + b" " * jwks.MOST_BYTES

    assert exchange(token()) == 503


def test_garbage_does_not_replace_keys_that_are_known(reader, own, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    own.answers[KEYS] = b"{}"
    clock.now += 3601

    assert exchange(token()) == 200


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example.org", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}", "jwks_uri": "http://198.51.100.1/keys"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}", "jwks_uri": "http://someone@{host}/keys"},
        {"issuer": "{url}", "jwks_uri": "http://localhost:{port}/keys"},
        {"issuer": "{url}"},
    ],
)
def test_a_discovery_document_of_another_issuer_or_for_other_addresses_is_not_followed(reader, own, token, document):
    exchange, _ = reader()
    told = json.dumps(document).replace("{url}", own.url).replace("{port}", str(own.port))
    told = told.replace("{host}", own.url.removeprefix("http://"))
    own.answers[DISCOVERY] = told.encode()

    assert exchange(token()) == 503
    assert own.asked[KEYS] == 0


def test_redirects_are_not_followed(reader, own, token):
    elsewhere = Issuer("RS256")

    def send_elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", f"{elsewhere.url}{KEYS}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    own.answers[KEYS] = send_elsewhere
    exchange, _ = reader()

    assert exchange(token()) == 503
    assert elsewhere.asked == {}
    elsewhere.stop()


@pytest.mark.parametrize(
    ("address", "is_refused"),
    [
        *((address, True) for address in ("10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0")),
        *((address, True) for address in ("::ffff:100.64.0.1", "fd00::1", "100.64.0.1", "0.0.0.0")),  # noqa: S104
        *((address, False) for address in ("9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9")),
    ],
)
def test_only_the_operator_may_name_a_private_address(address, is_refused):
    class Connected:
        def getpeername(self):
            return address, 443

    jwks._require_public(Connected(), allows_private=True)
    with pytest.raises(PyJWKClientConnectionError) if is_refused else nullcontext():
        jwks._require_public(Connected(), allows_private=False)


@pytest.mark.parametrize("drips", [False, True])
def test_an_issuer_that_takes_too_long_is_not_waited_for(reader, own, token, drips):
    answered, patient = threading.Event(), []

    def slowly(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            if answered.wait(0.05):
                return
            handler.wfile.write(b" " if drips else b"")  # raises where nobody listens any more
        patient.append("it was waited for")

    own.answers[KEYS] = slowly
    exchange, _ = reader()
    status = exchange(token())
    answered.set()

    assert (status, patient) == (503, [])


def test_short_and_foreign_keys_are_no_keys(reader, own, token):
    good = token()
    own.private["RS256"] = ("short", new_key("RS256", bits=1024))
    own.published = [own.public("RS256"), {**own.public("ES256"), "alg": "ES384"}]
    private = ECAlgorithm.to_jwk(own.private["ES256"][1], as_dict=True)
    own.published += [{**own.public("ES256"), "use": "enc"}, {**private, "kid": "private"}]
    exchange, _ = reader()

    assert exchange(good) == 503


def test_a_token_that_names_no_key_has_the_only_one_there_is(reader, own, token):
    exchange, clock = reader()

    assert exchange(token(headers={"kid": None})) == 200
    own.published.append({**own.public("RS256"), "kid": "another"})
    clock.now += 3601
    assert exchange(token(headers={"kid": None})) == 401


def test_only_the_algorithms_that_are_set_count(reader, own, token):
    exchange, _ = reader(issuer={"algorithms": ["ES256"]})

    assert (exchange(token("RS256")), exchange(token("ES256"))) == (401, 200)


def test_ed25519_is_taken_where_it_is_set(stack, database, mail):
    own = Issuer("EdDSA")
    app = create_app(settings_of(stack, database, oidc_issuers=json.dumps([own.setting()])))
    status = Client(app).post(OIDC, {"id_token": own.token(**mail)}).status
    close(app)
    own.stop()

    assert status == 200


def test_fifty_who_come_first_ask_once(reader, own, app):
    exchange, _ = reader()
    with ThreadPoolExecutor(AT_ONCE) as people:
        statuses = set(people.map(exchange, [own.token() for _ in range(AT_ONCE)]))

    assert statuses <= {401, 503}
    assert own.asked == {DISCOVERY: 1, KEYS: 1}
