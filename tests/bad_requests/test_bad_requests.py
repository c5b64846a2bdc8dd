"""Every operation refuses invalid parameters, headers, hosts, methods and paths with a 4xx problem document."""

import pytest
from marshmallow import fields as ma

from tests.bad_requests.conftest import refused
from tests.surface import operations


def test_unknown_and_repeated_parameters_are_refused_by_name(app, admin, seeds):
    for operation in operations(app):
        if operation.method != "GET":
            continue
        url = operation.address(seeds.ids)
        joint = "&" if "?" in url else "?"
        unknown = admin.get(f"{url}{joint}no_such=1")
        assert refused(unknown, 422), operation.name
        assert unknown.pointers == {"/no_such"}
        for name, field in (operation.endpoint.page_schema.fields if operation.endpoint.page_schema else {}).items():
            twice = admin.get(f"{url}{joint}{name}=1&{name}=1")
            assert refused(twice, 422), operation.name
            assert f"/{field.data_key or name}" in twice.pointers


@pytest.mark.parametrize("query", [
    "limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=1_0", "limit=%EF%BC%91", "limit=1e1",
    "limit=" + "9" * 5000,
    "cursor=", "cursor=x", "cursor=%00", "cursor=" + "x" * 5000, "sort=", "sort=nothing", "sort=name,code", "fields=",
    "fields=nothing", "fields=id,,code", "%00=1", "fields=%00", "=1", "limit=%ff", "&" * 3000 + "x=1", "limit[]=1",
])  # fmt: skip
def test_lists_refuse_invalid_page_parameters(app, admin, seeds, query):
    for operation in operations(app):
        if operation.endpoint.options.is_page:
            url = operation.address(seeds.ids)
            response = admin.get(f"{url}{'&' if '?' in url else '?'}{query}")
            assert refused(response, 400, 422), (operation.name, query, response.status)


def test_filters_refuse_nul_and_values_of_other_types(app, admin, seeds):
    wrong = []
    for operation in operations(app):
        schema = operation.endpoint.options.query
        for name, field in (schema().load_fields if schema else {}).items():
            for value in ("%00", "x%00x", *(() if isinstance(field, ma.String) else ("", "x", "%ff", "9" * 400))):
                path = operation.address(seeds.ids).partition("?")[0]
                response = admin.call(operation.method, f"{path}?{field.data_key or name}={value}", {})
                if not refused(response, 422):
                    wrong.append((operation.name, name, value, response.status))

    assert wrong == []


@pytest.mark.parametrize("host", [
    "evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "", "[::1]", "localhost, evil", "local host",
    "*",
])  # fmt: skip
def test_an_unlisted_host_is_refused(admin, host):
    for url in ("/api/me/", "/api/auth/token/", "/docs/", "/nowhere/"):
        response = admin.get(url, headers={"Host": host})
        assert refused(response, 400), (url, host, response.status)
        assert response.problem["code"] == "unlisted_host"
    assert admin.get("/live/", headers={"Host": host}).status == 200


def test_listed_hosts_are_served_on_any_port(admin):
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1"):
        assert admin.get("/api/me/", headers={"Host": host}).status == 200


def test_a_refusal_of_a_method_lists_the_allowed_methods(app, admin, seeds):
    for operation in operations(app):
        url = operation.address(seeds.ids)
        rules = {o.method for o in operations(app) if o.rule == operation.rule}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "FROB"} - rules:
            response = admin.call(method, url)
            assert refused(response, 405), (method, url, response.status)
            assert rules <= {m.strip() for m in response.headers["Allow"].split(",")}
        options = admin.call("OPTIONS", url)
        assert options.status == 200
        assert rules <= {m.strip() for m in options.headers["Allow"].split(",")}


def test_head_returns_the_headers_of_get_without_a_body(app, admin, seeds):
    for operation in operations(app):
        if operation.method == "GET":
            url = operation.address(seeds.ids)
            before, head, get = admin.get(url), admin.call("HEAD", url), admin.get(url)
            assert (head.status, head.raw.data) == (get.status, b""), operation.name
            assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
            # A QR code may change in between.
            assert head.headers.get("ETag") in {before.headers.get("ETag"), get.headers.get("ETag")}, operation.name


@pytest.mark.parametrize("path", [
    "/", "/api/", "/api/nothing/", "/api/students/1/", "/api/students/%00/", "/api/students/%ff/", "/api/../etc/passwd",
    "/api/students/00000000-0000-0000-0000-00000000000g/", "/api/" + "x" * 5000, "/docs/nothing",
])  # fmt: skip
def test_unknown_paths_are_not_found(admin, path):
    assert refused(admin.get(path), 404)


def test_if_match_must_be_a_valid_tag_and_if_none_match_may_be_anything(admin, seeds):
    url = f"/api/students/{seeds.ids['student_id']}/"

    for tag in ("x", '"x"', "1", '"1', '""', '"99999999999"', '"1" "2"', "\xff"):
        assert refused(admin.patch(url, {"phone": "1"}, headers={"If-Match": tag}), 422), tag
    for tag in ("x", '"x"', ",,", "\xff", 'W/"a", "b"'):
        assert admin.get(url, headers={"If-None-Match": tag}).status == 200
    assert admin.get(url, headers={"If-None-Match": "*"}).status == 304
    assert admin.patch(url, {"phone": "1"}, headers={"If-Match": "*"}).status == 200


def test_request_ids_are_adopted_only_if_they_are_well_formed(admin):
    good = admin.get("/api/me/", headers={"X-Request-ID": "abc-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    bad = admin.get("/api/nothing/", headers={"X-Request-ID": "a b", "traceparent": "00-x-y-01"})

    assert good.headers["X-Request-ID"] == "abc-1"
    assert bad.headers["X-Request-ID"] == bad.problem["trace_id"]
    assert len(bad.problem["trace_id"]) == 32


@pytest.mark.parametrize(
    "parent", [f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01"]
)
def test_a_trace_context_that_the_standard_calls_invalid_is_ignored(admin, parent):
    trace_id = admin.get("/api/nothing/", headers={"traceparent": parent}).problem["trace_id"]

    assert trace_id not in {"0" * 32, "a" * 32}
