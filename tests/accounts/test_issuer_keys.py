"""Issuers' keys: fetched rarely, cached while their issuer is unavailable, and never replaced by invalid ones."""

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
def issuer():
    """An issuer that only this test uses."""
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def reader(stack, database, issuer, monkeypatch):
    """Make an application that accepts the tokens of one issuer; its clock is fixed until it is set."""
    made = []

    def make(**settings):
        clock = Clock()
        issuers = json.dumps([issuer.setting(**settings.pop("issuer", {}))])
        app = create_app(settings_of(stack, database, oidc_issuers=issuers, oidc_timeout_s=1.0, **settings))
        for keys in app.extensions["campshub"].oidc._keys.values():
            monkeypatch.setattr(keys, "_clock", clock)
            monkeypatch.setattr(keys._breaker, "_clock", clock)
        made.append(app)
        return (lambda token: Client(app).post(OIDC, {"id_token": token}).status), clock

    yield make
    for app in made:
        close(app)


@pytest.fixture
def token(issuer, mail):
    subject = new_id().hex
    return lambda algorithm="RS256", **more: issuer.token(algorithm, **{"sub": subject, **mail, **more})


def test_keys_are_fetched_once_per_ttl(reader, issuer, token):
    exchange, clock = reader()

    assert [exchange(token()) for _ in range(3)] == [200] * 3
    assert issuer.requests == {DISCOVERY: 1, KEYS: 1}
    clock.now += 3601
    assert exchange(token()) == 200
    assert issuer.requests == {DISCOVERY: 2, KEYS: 2}


def test_a_configured_jwks_uri_needs_no_discovery(reader, issuer, token):
    exchange, _ = reader(issuer={"jwks_uri": f"{issuer.url}{KEYS}"})

    assert exchange(token()) == 200
    assert issuer.requests == {KEYS: 1}


def test_a_new_key_is_fetched_immediately_and_then_once_a_minute(reader, issuer, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    issuer.rotate("RS256")
    assert exchange(token()) == 200
    assert issuer.requests[KEYS] == 2

    issuer.rotate("RS256")
    made_up = [exchange(token(algorithm="RS256")) for _ in range(5)]

    assert (made_up, issuer.requests[KEYS]) == ([401] * 5, 2)
    clock.now += 61
    assert (exchange(token()), issuer.requests[KEYS]) == (200, 3)


def test_keys_stay_cached_while_their_issuer_is_unavailable_but_not_forever(reader, issuer, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    tokens = [token() for _ in range(5)]
    with issuer.unavailable():
        clock.now += 3601
        assert [exchange(one) for one in tokens[:3]] == [200] * 3
        clock.now += 86_400
        assert exchange(tokens[3]) == 503
    assert exchange(tokens[4]) == 503  # the circuit is open
    clock.now += 11
    assert exchange(tokens[4]) == 200


@pytest.mark.parametrize(
    "response",
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
def test_an_issuer_with_invalid_responses_counts_as_unavailable(reader, issuer, token, response):
    exchange, clock = reader()
    issuer.overrides[KEYS] = response

    assert exchange(token()) == 503
    assert exchange(token()) == 503
    assert issuer.requests[KEYS] == 1  # the circuit is open
    issuer.overrides.clear()
    clock.now += 11
    assert exchange(token()) == 200


def test_a_key_set_that_is_too_long_is_not_read(reader, issuer, token):
    exchange, _ = reader()
    issuer.overrides[KEYS] = json.dumps(issuer.document(KEYS)).encode() + b" " * jwks.MOST_BYTES

    assert exchange(token()) == 503


def test_an_invalid_response_does_not_replace_cached_keys(reader, issuer, token):
    exchange, clock = reader()
    assert exchange(token()) == 200
    issuer.overrides[KEYS] = b"{}"
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
def test_a_discovery_document_of_another_issuer_or_with_forbidden_urls_is_not_followed(reader, issuer, token, document):
    exchange, _ = reader()
    text = json.dumps(document).replace("{url}", issuer.url).replace("{port}", str(issuer.port))
    text = text.replace("{host}", issuer.url.removeprefix("http://"))
    issuer.overrides[DISCOVERY] = text.encode()

    assert exchange(token()) == 503
    assert issuer.requests[KEYS] == 0


def test_redirects_are_not_followed(reader, issuer, token):
    elsewhere = Issuer("RS256")

    def send_elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", f"{elsewhere.url}{KEYS}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    issuer.overrides[KEYS] = send_elsewhere
    exchange, _ = reader()

    assert exchange(token()) == 503
    assert elsewhere.requests == {}
    elsewhere.stop()


@pytest.mark.parametrize(
    ("address", "is_refused"),
    [
        *((address, True) for address in ("10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0")),
        *((address, True) for address in ("::ffff:100.64.0.1", "fd00::1", "100.64.0.1", "0.0.0.0")),  # noqa: S104
        *((address, False) for address in ("9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9")),
    ],
)
def test_only_the_configuration_may_name_a_private_address(address, is_refused):
    class Connected:
        def getpeername(self):
            return address, 443

    jwks._require_public(Connected(), allows_private=True)
    with pytest.raises(PyJWKClientConnectionError) if is_refused else nullcontext():
        jwks._require_public(Connected(), allows_private=False)


@pytest.mark.parametrize("drips", [False, True])
def test_a_slow_issuer_runs_into_the_timeout(reader, issuer, token, drips):
    finished, waited = threading.Event(), []

    def slowly(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            if finished.wait(0.05):
                return
            handler.wfile.write(b" " if drips else b"")  # raises when the client has closed
        waited.append("it was waited for")

    issuer.overrides[KEYS] = slowly
    exchange, _ = reader()
    status = exchange(token())
    finished.set()

    assert (status, waited) == (503, [])


def test_short_and_unsuitable_keys_are_ignored(reader, issuer, token):
    good = token()
    issuer.private["RS256"] = ("short", new_key("RS256", bits=1024))
    issuer.published = [issuer.public("RS256"), {**issuer.public("ES256"), "alg": "ES384"}]
    private = ECAlgorithm.to_jwk(issuer.private["ES256"][1], as_dict=True)
    issuer.published += [{**issuer.public("ES256"), "use": "enc"}, {**private, "kid": "private"}]
    exchange, _ = reader()

    assert exchange(good) == 503


def test_a_token_without_key_id_is_verified_with_the_only_key(reader, issuer, token):
    exchange, clock = reader()

    assert exchange(token(headers={"kid": None})) == 200
    issuer.published.append({**issuer.public("RS256"), "kid": "another"})
    clock.now += 3601
    assert exchange(token(headers={"kid": None})) == 401


def test_only_configured_algorithms_are_accepted(reader, issuer, token):
    exchange, _ = reader(issuer={"algorithms": ["ES256"]})

    assert (exchange(token("RS256")), exchange(token("ES256"))) == (401, 200)


def test_ed25519_is_accepted_where_it_is_configured(stack, database, mail):
    issuer = Issuer("EdDSA")
    app = create_app(settings_of(stack, database, oidc_issuers=json.dumps([issuer.setting()])))
    status = Client(app).post(OIDC, {"id_token": issuer.token(**mail)}).status
    close(app)
    issuer.stop()

    assert status == 200


def test_fifty_concurrent_first_requests_fetch_the_keys_once(reader, issuer, app):
    exchange, _ = reader()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = set(pool.map(exchange, [issuer.token() for _ in range(AT_ONCE)]))

    assert statuses <= {401, 503}
    assert issuer.requests == {DISCOVERY: 1, KEYS: 1}
