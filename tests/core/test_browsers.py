"""Security headers on every response, from every layer; other origins; and requests without TLS."""

import pytest

from campshub.app import create_app
from campshub.config import SettingsError
from tests.conftest import Client, close, new_tenant, settings_of

PANEL = "https://panel.example.org"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Authorization, Origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LIST = "/api/students/"


@pytest.fixture(scope="module")
def served(stack, database):
    """An application that requires TLS, behind one proxy, with a panel of another origin."""
    app = create_app(settings_of(stack, database, cors_origins=PANEL, secure_ssl_redirect=True, trusted_proxies=1))
    yield app
    close(app)


@pytest.fixture
def panel(served):
    """An admin who uses TLS, through the proxy, from the panel's page."""
    client = new_tenant(served).someone()
    client.headers.update({"X-Forwarded-Proto": "https", "Origin": PANEL})
    return client


def without_tls(client: Client) -> Client:
    return Client(client.app, {**client.headers, "X-Forwarded-Proto": "http"})


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", LIST, 200),
        ("POST", LIST, 422),
        ("GET", "/api/nothing/", 404),
        ("PUT", LIST, 405),
        ("OPTIONS", LIST, 200),
        ("GET", "/live/", 200),
    ],
)
def test_every_response_has_the_security_headers(api, method, url, status):
    for _ in range(2):  # the second response may come from the fast path
        response = api.call(method, url, {} if method in ("POST", "PUT") else None)

        assert response.status == status
        assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
        assert "Strict-Transport-Security" not in response.headers
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_a_refusal_of_an_anonymous_client_has_the_security_headers(app):
    response = Client(app).get(LIST)

    assert response.status == 401
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


def test_the_documentation_runs_only_its_own_scripts_and_cannot_be_framed(app):
    response = Client(app).get("/docs/")

    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    own = {"Cache-Control": "no-cache", "Content-Security-Policy": policy, "Vary": "Accept-Encoding, Origin"}
    assert {name: response.headers.get(name) for name in HEADERS} == {**HEADERS, **own}


def test_a_listed_origin_can_read_every_response(panel):
    for _ in range(3):  # first from Flask, then from the fast path
        response = panel.get(LIST)
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == PANEL
        exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
        assert exposed >= {
            "Allow", "Campshub-Freshness", "Content-Disposition", "ETag", "Idempotent-Replayed", "Link", "Location",
            "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-ID",
        }  # fmt: skip
        assert response.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
    missing = panel.get("/api/nothing/")
    assert (missing.status, missing.headers["Access-Control-Allow-Origin"]) == (404, PANEL)


def test_no_other_origin_is_allowed_and_none_with_credentials(panel):
    for origin in ("https://evil.example.org", "https://panel.example.org.evil.org", "null", ""):
        response = panel.get(LIST, headers={"Origin": origin})
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers
    assert "Access-Control-Allow-Credentials" not in panel.get(LIST).headers


def test_a_preflight_request_of_a_listed_origin_lists_what_it_may_send(panel):
    preflight = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,if-match"}
    anonymous = Client(panel.app, {"X-Forwarded-Proto": "https", "Origin": PANEL})
    allowed = anonymous.call("OPTIONS", LIST, headers=preflight)
    other = anonymous.call("OPTIONS", LIST, headers={**preflight, "Origin": "https://evil.example.org"})

    assert allowed.status == 204
    assert allowed.headers.get_all("Access-Control-Allow-Origin") == [PANEL]
    assert "PATCH" in allowed.headers["Access-Control-Allow-Methods"]
    assert {"Authorization", "If-Match", "Idempotency-Key"} <= set(
        allowed.headers["Access-Control-Allow-Headers"].split(", ")
    )
    assert "Access-Control-Allow-Origin" not in other.headers


def test_requests_without_tls_are_refused(panel):
    for _ in range(3):
        assert panel.get(LIST).status == 200
    response = without_tls(panel).get(LIST)
    posted = Client(panel.app, {"X-Forwarded-Proto": "http"}).post("/api/auth/token/", {"email": "a", "password": "b"})

    for refused in (response, posted):
        assert (refused.status, refused.problem["code"]) == (403, "tls_required")
        assert "Strict-Transport-Security" not in refused.headers


def test_a_page_request_without_tls_is_redirected(served):
    response = Client(served, {"X-Forwarded-Proto": "http"}).get("/docs/?a=b")

    assert (response.status, response.headers["Location"]) == (308, "https://localhost/docs/?a=b")


def test_probes_are_served_without_tls(served):
    assert Client(served).get("/live/").status == 200


def test_requests_with_an_unlisted_host_are_not_redirected(served):
    response = Client(served, {"Host": "evil.example.org"}).get("/docs/")

    assert (response.status, response.problem["code"]) == (400, "unlisted_host")


@pytest.mark.parametrize("origins", ["*", "panel.example.org", "https://panel.example.org/", "https://a,b"])
def test_invalid_origins_stop_the_start(stack, database, origins):
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        settings_of(stack, database, cors_origins=origins)


@pytest.mark.parametrize(
    ("given", "demanded"),
    [({}, True), ({"debug": True}, False), ({"secure_ssl_redirect": False}, False),
     ({"debug": True, "secure_ssl_redirect": True}, True)],
)  # fmt: skip
def test_tls_is_required_by_default(stack, database, given, demanded):
    settings = settings_of(
        stack, database, **{"debug": False, "oidc_issuers": "", "secure_ssl_redirect": None, **given}
    )

    assert settings.demands_tls is demanded
    assert settings.secures_session_cookie is settings.secures_csrf_cookie is not given.get("debug", False)
