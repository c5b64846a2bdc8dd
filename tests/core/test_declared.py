"""Rate limits of anonymous clients, of sign-ins, and of single endpoints."""

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
from tests.declared import merged
from tests.documented import documented
from tests.surface import operations

TOKEN = "/api/auth/token/"
MARKED = {name: set(limits) for name, limits in merged("public").items() if limits}
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
    """Return a factory of applications with other limits."""
    made = []

    def making(**given):
        made.append(create_app(settings_of(stack, database, **given)))
        return made[-1]

    yield making
    for app in made:
        close(app)


@pytest.fixture(params=["counted in Redis", "counted in the process"])
def make_either(request, make):
    """The same factory, with and without Redis."""
    away = {} if request.param == "counted in Redis" else {"redis_url": "redis://127.0.0.1:1/0"}
    return lambda **given: make(**away, **given)


def an_address() -> str:
    """Return an address that no other test uses."""
    return str(ipaddress.IPv4Address(random.randint(0x0A000000, 0x0AFFFFFF)))


def caller(app, address=None, **headers):
    """Return a client with its own address: ``ask("/api/students/")`` returns the response."""
    address = address or an_address()

    def ask(path, method="GET", **options):
        given = {**headers, **options.pop("headers", {})}
        response = Client(app, given).call(method, path, environ_base={"REMOTE_ADDR": address}, **options)
        response.raw.close()
        return response

    return ask


def sign_in(ask, email="unknown@example.org", password="wrong"):
    return ask(TOKEN, "POST", json={"email": email, "password": password})


# Anonymous clients ----------------------------------------------------------------------------------------------------


def test_an_anonymous_client_sees_the_remaining_quota_and_the_retry_time(make_either):
    app = make_either(rate_limit_anonymous="3/hour")
    ask = caller(app)

    responses = [ask("/api/students/") for _ in range(4)]

    assert [response.status for response in responses] == [401, 401, 401, 429]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"anonymous";q=3;w=3600'}
    assert [response.headers["RateLimit"].split(";t=")[0] for response in responses] == [
        '"anonymous";r=2',
        '"anonymous";r=1',
        '"anonymous";r=0',
        '"anonymous";r=0',
    ]
    refused = responses[-1]
    wait_s = int(refused.headers["Retry-After"])
    assert 3590 < wait_s <= 3600
    assert refused.headers["RateLimit"].endswith(f";t={wait_s}")
    assert refused.problem["code"] == "rate_limited"
    assert refused.problem["detail"] == (
        f'The limit "anonymous" of 3 requests in 3600 s is used up; retry in {wait_s} s.'
    )
    assert refused.statements == []
    assert caller(app)("/api/students/").status == 401, "another address has its own limit"


def test_requests_for_missing_urls_count(make):
    ask = caller(make(rate_limit_anonymous="2/hour"))

    assert [ask(f"/api/nothing-{number}").status for number in range(3)] == [404, 404, 429]


def test_probes_and_preflight_requests_do_not_count(make):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    for _ in range(3):
        for path in ("/live/", "/ready/", "/health/", "/metrics/", "/live", "/ready", "/health", "/metrics"):
            assert ask(path).status == 200
        assert ask("/api/students/", "OPTIONS").status == 200

    assert ask("/api/students/").status == 401


def test_a_signed_in_user_is_not_limited_as_an_anonymous_client(make, api):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    assert [ask("/api/me/", headers=api.headers).status for _ in range(3)] == [200, 200, 200]
    assert [ask("/api/me/", headers={"Authorization": given}).status for given in ("", "")] == [401, 429]


def test_the_documentation_is_limited_but_leaves_quota_for_the_api(make):
    ask = caller(make(rate_limit_anonymous="1/hour"))

    assert [ask(path).status for path in DOCUMENTATION] == [200] * 6
    assert ask("/api/students/").status == 401
    assert [ask("/docs/").status for _ in range(5)] == [200, 200, 200, 200, 429]


def test_one_customers_ipv6_network_counts_as_one_address(make):
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
    """X-Forwarded-For is trusted only from a proxy, and only its nearest entry."""
    ask = caller(make(rate_limit_anonymous="1/hour", trusted_proxies=proxies))
    claims = [f"203.0.113.9, {an_address()}" for _ in range(2)]

    assert [ask("/api/students/", headers={"X-Forwarded-For": claim}).status for claim in claims] == [401, last]


def test_entries_before_the_proxys_own_are_ignored(make):
    ask = caller(make(rate_limit_anonymous="1/hour", trusted_proxies=1))
    behind = an_address()
    claims = [f"{an_address()}, {behind}" for _ in range(2)]

    assert [ask("/api/students/", headers={"X-Forwarded-For": claim}).status for claim in claims] == [401, 429]


# Signing in -----------------------------------------------------------------------------------------------------------


def test_sign_ins_to_one_account_are_limited_from_all_addresses_together(make_either, tenant):
    app = make_either(rate_limit_login="3/minute")
    email = f"{an_address()}@Example.org"
    written = [email, email.upper(), f" {email}".strip(), email.lower()]

    responses = [sign_in(caller(app), email=one) for one in written]

    assert [response.status for response in responses] == [401, 401, 401, 429]
    assert responses[-1].problem["detail"].startswith('The limit "login" of 3 requests in 60 s is used up; retry in ')
    assert 0 < int(responses[-1].headers["Retry-After"]) <= 60
    assert responses[-1].statements == []
    assert sign_in(caller(app), email=f"other-{email}").status == 401
    assert [sign_in(caller(app), email=an_address()).status for _ in range(5)] == [422] * 5


def test_responses_do_not_reveal_sign_ins_of_others_to_an_account(make):
    response = sign_in(caller(make()), email="someone@example.org")

    assert '"login"' not in response.headers["RateLimit"]


def test_redis_keys_contain_no_account_names(make):
    app = make(rate_limit_login="7/minute")
    sign_in(caller(app), email="asha.rao@example.org")

    keys = list(app.extensions["campshub"].cache.client.scan_iter("LIMITS*login/7*", count=1000))
    assert keys
    assert not any(b"asha" in key for key in keys)


def test_sign_ins_from_one_address_are_limited(make_either):
    ask = caller(make_either(rate_limit_login_address="6/minute", rate_limit_anonymous="1/hour"))

    responses = [sign_in(ask, email=f"{number}@example.org") for number in range(7)]

    assert [response.status for response in responses] == [401] * 6 + [429]
    assert responses[0].headers["RateLimit-Policy"] == '"login_address";q=6;w=60'
    # Sign-ins do not use the quota of anonymous clients, and the other way round.
    assert [ask("/api/students/").status for _ in range(2)] == [401, 429]


def test_anonymous_requests_do_not_prevent_sign_ins(make, api):
    ask = caller(make(rate_limit_anonymous="1/hour"))
    email = api.get("/api/me/").json["email"]
    assert [ask("/api/students/").status for _ in range(2)] == [401, 429]

    assert sign_in(ask, email, PASSWORD).status == 200


def test_bodies_that_cannot_be_parsed_count_by_their_address(make):
    ask = caller(make(rate_limit_login_address="2/minute"))

    assert [ask(TOKEN, "POST", data=b"{").status for _ in range(3)] == [415, 415, 429]


# Endpoint limits ------------------------------------------------------------------------------------------------------


def test_every_public_operation_is_limited(app):
    """Modules declare public endpoints with their own limits; all others, new ones too, have the anonymous limit."""
    public = {o.name: o.endpoint.options for o in operations(app) if o.endpoint.options.is_public}
    by_address = {name for name, mark in public.items() if not mark.limits or any(m.by is None for m in mark.limits)}

    assert {name: {m.name for m in mark.limits} for name, mark in public.items() if mark.limits} == MARKED
    assert by_address == public.keys()


def test_every_limit_that_an_endpoint_names_is_declared(app, make):
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name.startswith("rate_limit_")}
    declared = make(**defaults).extensions["campshub"].endpoint_limits.policies

    assert {m.name for o in operations(app) for m in o.endpoint.options.limits} <= declared.keys()
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
def planning(make_either, tenant):
    """An application with an endpoint that has its own limit, and its admin."""
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


def test_an_endpoints_own_limit_counts_for_each_user(planning, tenant):
    one, other = tenant.someone(), tenant.someone()

    def statuses_of(client):
        responses = [caller(planning)("/api/plans/", headers=client.headers) for _ in range(3)]
        assert ['"generation";r=' in response.headers["RateLimit"] for response in responses] == [True] * 3
        return [response.status for response in responses]

    assert statuses_of(one) == [204, 204, 429]
    assert statuses_of(other) == [204, 204, 429]


def test_signed_in_requests_do_not_use_the_limits_library(make, api, monkeypatch):
    app = make()
    passed = []
    monkeypatch.setattr(Limiter, "_check_request_limit", lambda *_, **__: passed.append(1))

    assert caller(app)("/api/students/", headers=api.headers).status == 200
    assert passed == []
    hooks = [h for hooks in (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs)
             for h in hooks.get(None, [])]  # fmt: skip
    assert not any("flask_limiter" in str(getattr(getattr(h, "func", h), "__module__", "")) for h in hooks)

    sign_in(caller(app))
    assert len(passed) == 2, "a sign-in counts once by address and once by account"


def test_the_document_lists_rate_limited_for_every_operation(app):
    known = documented(app)
    responses = [
        known.resolved(operation["responses"].get("429", {})).get("description", "")
        for item in known.document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]

    assert len(responses) > 40
    assert {"`rate_limited`" in response for response in responses} == {True}
