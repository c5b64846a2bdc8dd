"""The fast path returns what Flask would return, and leaves every other request to Flask."""

import time

import pytest
from flask import request_started

from campshub.app import create_app
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.http import read_routing
from campshub.core.http.known_urls import MOST, RequestCache
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security.permissions import Role
from tests.accounts.conftest import an_address, signed_in, with_key
from tests.conftest import Client, close, new_tenant, settings_of

LIST = "/api/students/?limit=2"
# Headers that differ between requests.
OWN = {"X-Request-ID", "RateLimit"}


PATIENCE_S = 20


@pytest.fixture
def services(app):
    return app.extensions["campshub"]


@pytest.fixture
def by_flask(app):
    """Return a function that sends a request, and returns the response and how often Flask was entered."""

    def call(client, url, method="GET", **options):
        entered = []

        def begin(*_, **__):
            entered.append(1)

        with request_started.connected_to(begin, app):
            response = client.call(method, url, **options)
        return response, len(entered)

    return call


@pytest.fixture
def by_fast_path(by_flask):
    """Return a function that repeats a read until the fast path serves it: a lease may lapse on a busy machine."""

    def call(client, url, **options):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            response, entered = by_flask(client, url, **options)
            if not entered:
                return response
        raise AssertionError(f"the fast path never served {url}")

    return call


@pytest.fixture
def known(trusted, api, student, by_fast_path):
    """A student whose URL is known to the process, as is the list's."""
    made = student(medical_note="asthma")
    student()
    student()
    item = f"/api/students/{made['id']}/"
    for url in (LIST, item):
        by_fast_path(api, url)
    return item


def headers_of(response):
    return {name: value for name, value in response.headers.items() if name not in OWN}


def test_the_fast_path_returns_the_same_as_flask(api, known, by_flask, by_fast_path):
    for url in (LIST, known):
        small = api.headers["Authorization"].replace("Bearer", "bearer")
        first, entered = by_flask(api, url, headers={"Authorization": small})  # only Flask accepts this spelling
        again = by_fast_path(api, url, headers={"X-Request-ID": "again"})

        assert entered == 1
        assert again.headers["X-Request-ID"] == "again"
        assert (again.status, again.raw.data, headers_of(again)) == (200, first.raw.data, headers_of(first))
        unchanged = by_fast_path(api, url, headers={"If-None-Match": first.headers["ETag"]})
        assert (unchanged.status, unchanged.raw.data) == (304, b"")
        assert unchanged.headers["ETag"] == first.headers["ETag"]


def test_the_fast_path_serves_reads_that_are_not_cached(services, api, known, by_flask, by_fast_path, monkeypatch):
    monkeypatch.setattr(services, "_ttls", dict.fromkeys(services._ttls, 0))
    monkeypatch.setattr(services, "request_cache", RequestCache())
    for url in (LIST, known):
        first, _ = by_flask(api, url)
        again = by_fast_path(api, url)
        assert (again.status, again.raw.data, headers_of(again)) == (200, first.raw.data, headers_of(first))
        assert len(again.queries) == 1


def left(response):
    return int(response.headers["RateLimit"].split("r=")[1].split(";")[0])


def test_each_request_counts_once_on_both_paths(api, known, by_flask):
    flask_response, _ = by_flask(api, "/api/groups/")
    fast_response, _ = by_flask(api, LIST)
    assert left(fast_response) == left(flask_response) - 1

    version = api.get(known).headers["ETag"]
    deleted = api.delete(known, headers={"If-Match": version})
    gone, flask_entered = by_flask(api, known)
    assert left(gone) == left(deleted) - 1 == left(fast_response) - 3
    assert (gone.status, gone.problem["code"], flask_entered) == (404, "not_found", 1)


def test_a_refusal_has_the_trace_id_of_the_request(api, known, lines):
    trace = "a" * 32
    api.delete(known, headers={"If-Match": api.get(known).headers["ETag"]})
    gone = api.get(known, headers={"traceparent": f"00-{trace}-{'b' * 16}-01"})
    assert gone.problem["trace_id"] == lines()[-1]["trace_id"] == trace


def test_a_write_is_in_the_next_response(api, known):
    changed = api.patch(known, {"given_name": "Aasha"}, headers={"If-Match": api.get(known).headers["ETag"]})
    assert changed.status == 200

    assert api.get(known).json["given_name"] == "Aasha"
    assert "Aasha" in {row["given_name"] for row in api.get(LIST).json["items"]}


def rewrite(app, tenant, statement, *given):
    """Change permissions in the database, with the tags that a service would stamp."""
    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        session.connection().exec_driver_sql(statement, given)
        session.unit.stamped.add((tenant.id, "access"))


def test_callers_without_permission_are_refused_as_by_flask(app, tenant, api, known, by_flask, by_fast_path):
    someone, stranger = tenant.someone(Role.ADMIN), new_tenant(app).the(Role.ADMIN)
    by_fast_path(someone, known)
    rewrite(app, tenant, "UPDATE users SET session_version = session_version + 1 WHERE id = %s", someone.user_id)

    refused, entered = by_flask(someone, known)
    assert (refused.status, refused.problem["code"], entered) == (401, "session_ended", 1)
    assert by_flask(stranger, known)[0].problem["code"] == "not_found"
    assert by_flask(Client(app), known)[0].problem["code"] == "unauthenticated"
    assert by_flask(Client(app, {"Authorization": "Bearer x.y.z"}), known)[0].problem["code"] == "bad_token"
    assert by_flask(api, known)[0].status == 200


def test_an_organization_that_is_suspended_is_refused(app, tenant, api, known, by_flask):
    rewrite(app, tenant, "UPDATE organizations SET status = 'suspended' WHERE id = %s", tenant.id)
    assert by_flask(api, known)[0].problem["code"] == "organization_suspended"


def test_a_role_that_loses_a_permission_is_refused(app, tenant, known, by_flask, by_fast_path):
    someone, note = tenant.someone(Role.ADMIN), f"{known}medical-note/"
    by_fast_path(someone, note)
    rewrite(app, tenant, "UPDATE memberships SET role = 'trainer' WHERE user_id = %s", someone.user_id)

    refused, _ = by_flask(someone, note)
    assert (refused.status, refused.problem["code"]) == (403, "forbidden")


def test_a_changed_custom_role_counts_at_the_next_request(api, tenant, known, by_flask, by_fast_path):
    allowed = {"permissions": ["students:read"], "scope": "all"}
    role = api.made("/api/roles/", {"name": "Desk", **allowed})["id"]
    someone = tenant.someone(Role.CLIENT)
    assert api.patch(f"/api/users/{someone.user_id}/", {"role_id": role}).status == 200
    items = by_fast_path(someone, LIST).json["items"]
    assert len(items) == 2

    for change, status, rows in (
        ({"permissions": ["groups:read"]}, 403, None),
        (allowed, 200, 2),
        ({"scope": "own"}, 200, 0),
        (allowed, 200, 2),
    ):
        assert api.patch(f"/api/roles/{role}/", change).status == 200
        response, entered = by_flask(someone, LIST)
        assert (response.status, entered if status == 403 else 1) == (status, 1), change
        assert rows is None or len(response.json["items"]) == rows
        if status == 200:
            assert len(by_fast_path(someone, LIST).json["items"]) == rows


def test_the_fast_path_serves_a_key_until_it_is_revoked(app, api, known, by_flask, by_fast_path):
    admin = signed_in(api)
    made = admin.made("/api/api-keys/", {"name": "K", "permissions": ["students:read"], "expires_in_days": 1})
    key = with_key(app, made["key"])
    assert by_fast_path(key, LIST).json == by_fast_path(api, LIST).json

    elsewhere = {"environ_base": {"REMOTE_ADDR": an_address()}}
    assert by_flask(key, LIST, **elsewhere)[1] == 1  # Flask records the address of the use
    assert by_fast_path(key, LIST, **elsewhere).status == 200
    assert by_flask(key, "/api/users/")[0].problem["code"] == "forbidden"
    assert admin.delete(f"/api/api-keys/{made['id']}/").status == 204
    refused, entered = by_flask(key, LIST)
    assert (refused.status, refused.problem["code"], entered) == (401, "bad_token", 1)


def test_each_read_of_a_medical_note_is_recorded(tenant, api, known, by_fast_path, sql):
    note = f"{known}medical-note/"
    by_fast_path(api, note)
    reads = "SELECT count(*) FROM audit_log WHERE organization_id = %s AND action = 'read'"
    ((count,),) = sql(reads, tenant.id)
    assert count > 0

    assert api.get(note).headers["Cache-Control"] == "no-store"
    assert sql(reads, tenant.id) == [(count + 1,)]


def test_requests_that_are_not_plain_reads_go_to_flask(api, known, by_flask):
    for method, options in (
        ("HEAD", {}),
        ("GET", {"headers": {"If-Match": '"1"'}}),
        ("GET", {"headers": {"Host": "elsewhere.example"}}),
        ("GET", {"headers": {"Authorization": f"bearer {api.headers['Authorization'].partition(' ')[2]}"}}),
    ):
        assert by_flask(api, known, method, **options)[1] == 1, (method, options)
    assert by_flask(api, known, headers={"Host": "elsewhere.example"})[0].problem["code"] == "unlisted_host"
    assert by_flask(api, f"{known}?x=1")[0].status == 422


def test_an_exhausted_limit_refuses_before_the_cache(stack, database, tenant):
    app = create_app(settings_of(stack, database, rate_limit_user="3/hour"))
    client = Client(app, tenant.someone(Role.ADMIN).headers)
    assert [client.get("/api/groups/").status for _ in range(5)] == [200, 200, 200, 429, 429]
    close(app)


def test_without_redis_flask_serves(services, api, known, by_flask, monkeypatch):
    def unavailable(*_):
        raise CacheUnavailable

    monkeypatch.setattr(services.freshness, "look_up", unavailable)
    response, entered = by_flask(api, known)
    assert (response.status, entered) == (200, 1)
    assert "RateLimit" in response.headers


def test_a_failure_of_the_fast_path_is_reported_by_flask(services, api, known, by_flask, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(services, "_ttls", dict.fromkeys(services._ttls, 0))
    monkeypatch.setattr(services, "request_cache", RequestCache())
    api.get(known)
    monkeypatch.setattr(read_routing, "render", broken)
    response, entered = by_flask(api, known)
    assert (response.status, response.problem["code"], entered) == (500, "unexpected", 1)


def test_a_log_line_of_the_fast_path_equals_that_of_flask(api, known, by_flask, by_fast_path, lines):
    small = api.headers["Authorization"].replace("Bearer", "bearer")
    by_flask(api, LIST, headers={"X-Request-ID": "a", "Authorization": small})
    by_fast_path(api, LIST, headers={"X-Request-ID": "b"})

    of_flask, *_, of_fast_path = (line for line in lines() if line["logger"] == "campshub.requests")
    differing = {"at", "milliseconds", "request_id", "trace_id"}
    assert {k: v for k, v in of_flask.items() if k not in differing} == {
        k: v for k, v in of_fast_path.items() if k not in differing
    }
    assert (of_flask["request_id"], of_fast_path["request_id"]) == ("a", "b")


def test_the_number_of_known_urls_is_bounded(services, known):
    urls = services.request_cache
    parsed = urls.get({"PATH_INFO": known, "QUERY_STRING": ""})
    for number in range(MOST + 1):
        urls.learn({"PATH_INFO": "/", "QUERY_STRING": f"n={number}"}, parsed)
    assert 0 < len(urls) <= MOST


def test_a_file_is_complete_each_time(trusted, api):
    url = "/api/attendance/analytics/heat-map/svg/"
    first, *again = (api.get(url) for _ in range(4))

    assert first.raw.get_data().startswith(b"<svg")
    assert [one.headers.get("Content-Type") for one in again] == ["image/svg+xml"] * 3
    assert [one.raw.get_data() for one in again] == [first.raw.get_data()] * 3
