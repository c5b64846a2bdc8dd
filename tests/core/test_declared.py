"""The limits of those whom nobody knows, of sign-ins, and of what a handler says of itself."""

import ipaddress
import random

import pytest
from flask_limiter import Limiter

from campshub.app import create_app
from campshub.config import Settings
from campshub.core.http.decorators import limited, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from tests.conftest import PASSWORD, Client, close, settings_of
from tests.documented import documented
from tests.surface import operations

TOKEN = "/api/auth/token/"
MARKED = {
    "GET /api/reports/<uuid:report_id>/file/": {"files"},
    "POST /api/auth/oidc/": {"login_address"},
    "POST /api/auth/password/forgot/": {"login", "login_address"},
    "POST /api/auth/password/reset/": {"login_address"},
    "POST /api/auth/refresh/": {"refresh"},
    "POST /api/auth/token/": {"login", "login_address"},
    "POST /api/invitations/accept/": {"login_address"},
}
DOCUMENTATION = [
    "/docs/",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
    "/docs/start.js",
    "/docs/favicon-32x32.png",
    "/api/openapi.json",
]


@pytest.fixture
def make(stack, database):
    """Return a maker of applications with limits of their own."""
    made = []

    def making(**given):
        made.append(create_app(settings_of(stack, database, **given)))
        return made[-1]

    yield making
    for app in made:
        close(app)


@pytest.fixture(params=["counted in Redis", "counted in the process"])
def make_either(request, make):
    """The same, with Redis and without it."""
    away = {} if request.param == "counted in Redis" else {"redis_url": "redis://127.0.0.1:1/0"}
    return lambda **given: make(**away, **given)


def an_address() -> str:
    """Return an address that no other test has used."""
    return str(ipaddress.IPv4Address(random.randint(0x0A000000, 0x0AFFFFFF)))


def caller(app, address=None, **headers):
    """Return what asks from an address of its own: ``ask("/api/students/")`` answers the status."""
    address = address or an_address()

    def ask(path, method="GET", **options):
        given = {**headers, **options.pop("headers", {})}
        answer = Client(app, given).call(method, path, environ_base={"REMOTE_ADDR": address}, **options)
        answer.response.close()
        return answer

    return ask


def sign_in(ask, email="nobody@example.org", password="wrong"):
    return ask(TOKEN, "POST", json={"email": email, "password": password})


# Strangers ------------------------------------------------------------------------------------------------------------


def test_a_stranger_is_told_what_is_left_and_when_to_come_back(make_either):
    app = make_either(rate_limit_anonymous="3/hour")
    ask = caller(app)

    answers = [ask("/api/students/") for _ in range(4)]

    assert [answer.status for answer in answers] == [401, 401, 401, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"anonymous";q=3;w=3600'}
    assert [answer.headers["RateLimit"].split(";t=")[0] for answer in answers] == [
        '"anonymous";r=2',
        '"anonymous";r=1',
        '"anonymous";r=0',
        '"anonymous";r=0',
    ]
    refused = answers[-1]
    wait_s = int(refused.headers["Retry-After"])
    assert 3590 < wait_s <= 3600
    assert refused.headers["RateLimit"].endswith(f";t={wait_s}")
    assert refused.problem["code"] == "rate_limited"
    assert refused.problem["detail"] == (
        f'The limit "anonymous" of 3 requests in 3600 s is used up; come back in {wait_s} s.'
    )
    assert refused.statements == []
    assert caller(app)("/api/students/").status == 401, "another address has a limit of its own"


def test_what_does_not_exist_counts_too(make):
    ask = caller(make(rate_limit_anonymous="2/hour"))

    assert [ask(f"/api/nothing-{number}").status for number in range(3)] == [404, 404, 429]


def test_probes_and_what_browsers_ask_beforehand_do_not_count(make):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    for _ in range(3):
        for path in ("/live/", "/ready/", "/health/", "/metrics/", "/live", "/ready", "/health", "/metrics"):
            assert ask(path).status == 200
        assert ask("/api/students/", "OPTIONS").status == 200

    assert ask("/api/students/").status == 401


def test_whoever_is_signed_in_is_no_stranger(make, api):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    assert [ask("/api/me/", headers=api.headers).status for _ in range(3)] == [200, 200, 200]
    assert [ask("/api/me/", headers={"Authorization": given}).status for given in ("", "")] == [401, 429]


def test_the_documentation_can_be_opened_and_leaves_the_api_to_strangers(make):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    assert [ask(path).status for path in DOCUMENTATION] == [200] * 6
    assert ask("/api/students/").status == 401
    assert [ask("/docs/").status for _ in range(5)] == [200, 200, 200, 200, 429]


def test_one_customers_ipv6_network_is_one_address(make):
    app = make(rate_limit_anonymous="1/hour")
    network = f"2001:db8:{random.randrange(0x10000):x}:{random.randrange(0x10000):x}"

    assert caller(app, f"{network}::1")("/api/students/").status == 401
    assert caller(app, f"{network}:ffff::2")("/api/students/").status == 429
    assert caller(app, f"2001:db9:{random.randrange(0x10000):x}:1::1")("/api/students/").status == 401
    address = an_address()
    assert caller(app, address)("/api/students/").status == 401
    assert caller(app, f"::ffff:{address}")("/api/students/").status == 429


@pytest.mark.parametrize(("proxies", "last"), [(0, 429), (1, 401)])
def test_a_client_cannot_choose_its_address(make, proxies, last):
    """What it sends as X-Forwarded-For is believed of a proxy alone, and then of the nearest one."""
    ask = caller(make(rate_limit_anonymous="1/hour", trusted_proxies=proxies))
    claims = [f"203.0.113.9, {an_address()}" for _ in range(2)]

    assert [ask("/api/students/", headers={"X-Forwarded-For": claim}).status for claim in claims] == [401, last]


def test_what_a_client_puts_before_its_proxys_word_is_not_believed(make):
    ask = caller(make(rate_limit_anonymous="1/hour", trusted_proxies=1))
    behind = an_address()
    claims = [f"{an_address()}, {behind}" for _ in range(2)]

    assert [ask("/api/students/", headers={"X-Forwarded-For": claim}).status for claim in claims] == [401, 429]


# Signing in -----------------------------------------------------------------------------------------------------------


def test_sign_ins_to_one_account_are_limited_from_wherever_they_come(make_either, place):
    app = make_either(rate_limit_login="3/minute")
    email = f"{an_address()}@Example.org"
    written = [email, email.upper(), f" {email}".strip(), email.lower()]

    answers = [sign_in(caller(app), email=one) for one in written]

    assert [answer.status for answer in answers] == [401, 401, 401, 429]
    assert answers[-1].problem["detail"].startswith('The limit "login" of 3 requests in 60 s is used up; come back in ')
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].statements == []
    assert sign_in(caller(app), email=f"other-{email}").status == 401
    assert [sign_in(caller(app), email=an_address()).status for _ in range(5)] == [422] * 5


def test_how_often_others_sign_in_to_an_account_is_not_told(make):
    answer = sign_in(caller(make()), email="someone@example.org")

    assert '"login"' not in answer.headers["RateLimit"]


def test_accounts_are_not_named_in_redis(make):
    app = make(rate_limit_login="7/minute")
    sign_in(caller(app), email="asha.rao@example.org")

    keys = list(app.extensions["campshub"].cache.client.scan_iter("LIMITS*login/7*", count=1000))
    assert keys
    assert not any(b"asha" in key for key in keys)


def test_a_campus_signs_in_from_one_address_up_to_its_limit(make_either):
    ask = caller(make_either(rate_limit_login_address="6/minute", rate_limit_anonymous="1/hour"))

    answers = [sign_in(ask, email=f"{number}@example.org") for number in range(7)]

    assert [answer.status for answer in answers] == [401] * 6 + [429]
    assert answers[0].headers["RateLimit-Policy"] == '"login_address";q=6;w=60'
    # They have not used up what strangers have, nor do strangers keep anyone from signing in.
    assert [ask("/api/students/").status for _ in range(2)] == [401, 429]


def test_strangers_do_not_keep_anyone_from_signing_in(make, api):
    ask = caller(make(rate_limit_anonymous="1/hour"))
    email = api.get("/api/me/").json["email"]
    assert [ask("/api/students/").status for _ in range(2)] == [401, 429]

    assert sign_in(ask, email, PASSWORD).status == 200


def test_bodies_that_cannot_be_read_count_by_their_address(make):
    ask = caller(make(rate_limit_login_address="2/minute"))

    assert [ask(TOKEN, "POST", data=b"{").status for _ in range(3)] == [415, 415, 429]


# What handlers say ----------------------------------------------------------------------------------------------------


def test_whatever_everyone_may_ask_is_limited(app):
    """Handlers with limits of their own are listed; the others are under the anonymous one, as whatever is added is."""
    public = {o.name: o.handler.options for o in operations(app) if o.handler.options.is_public}
    by_address = {name for name, mark in public.items() if not mark.limits or any(m.by is None for m in mark.limits)}

    assert {name: {m.name for m in mark.limits} for name, mark in public.items() if mark.limits} == MARKED
    assert by_address == public.keys()


def test_every_limit_that_a_handler_names_is_declared(app, make):
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name.startswith("rate_limit_")}
    declared = make(**defaults).extensions["campshub"].endpoint_limits.policies

    assert {m.name for o in operations(app) for m in o.handler.options.limits} <= declared.keys()
    assert {name: (policy.quota, policy.window_s) for name, policy in declared.items()} == {
        "anonymous": (100, 3600),
        "documentation": (1000, 3600),
        "files": (2000, 3600),
        "login": (5, 60),
        "login_address": (60, 60),
        "refresh": (600, 60),
        "chat": (20, 60),
        "generation": (10, 60),
    }


@pytest.fixture
def planning(make_either, place):
    """An application with an address whose handler is under a limit of its own, and its admin."""
    blueprint = Blueprint("plans", __name__, url_prefix="/api/plans")

    class Plan(Resource):
        @needs(Permission.ME_READ)
        @limited("generation")
        def get(self):
            return None

    blueprint.route("/")(Plan)
    app = make_either(rate_limit_generation="2/minute")
    app.register_blueprint(blueprint)
    return app


def test_a_handlers_own_limit_holds_for_each_user(planning, place):
    one, other = place.someone(), place.someone()

    def asked(client):
        answers = [caller(planning)("/api/plans/", headers=client.headers) for _ in range(3)]
        assert ['"generation";r=' in answer.headers["RateLimit"] for answer in answers] == [True] * 3
        return [answer.status for answer in answers]

    assert asked(one) == [204, 204, 429]
    assert asked(other) == [204, 204, 429]


def test_what_is_signed_in_does_not_pass_through_the_library(make, api, monkeypatch):
    app = make()
    passed = []
    monkeypatch.setattr(Limiter, "_check_request_limit", lambda *_, **__: passed.append(1))

    assert caller(app)("/api/students/", headers=api.headers).status == 200
    assert passed == []
    hooks = [h for hooks in (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs)
             for h in hooks.get(None, [])]  # fmt: skip
    assert not any("flask_limiter" in str(getattr(getattr(h, "func", h), "__module__", "")) for h in hooks)

    sign_in(caller(app))
    assert len(passed) == 2, "a sign-in does: once by its address, once by its account"


def test_the_document_says_that_every_operation_may_be_limited(app):
    known = documented(app)
    answers = [
        known.resolved(operation["responses"].get("429", {})).get("description", "")
        for item in known.document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]

    assert len(answers) > 40
    assert {"`rate_limited`" in answer for answer in answers} == {True}
