"""nginx before the real API: what it adds and removes, and which responses are its own."""

import gzip
import re

import pytest

from campshub.core.errors import RateLimited
from devstack import ports
from tests.stack.conftest import log_lines
from tests.stack.http_client import fetch, fetch_raw
from tests.waiting import until

MIB = 1024 * 1024
OWN_ID = re.compile(r"[0-9a-f]{32}")


def access(site, request_id: str) -> dict:
    """Return the access log's line of a request."""
    log = site.nginx.folder / "access.log"
    return until(lambda: next((line for line in log_lines(log) if line["request_id"] == request_id), None))


def is_problem(response, status: int, code: str) -> bool:
    """Whether a response is one of nginx's own problem documents, complete and with the id of its header."""
    found = response.problem
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers.get_list("X-Request-ID") == [found["trace_id"]]
    assert {"type", "title", "status", "code", "detail", "trace_id"} == set(found)
    return (response.status, found["status"], found["code"]) == (status, status, code)


def test_a_request_passes_and_no_server_version_is_revealed(site):
    response = fetch(site.nginx.url, "/live/")

    assert (response.status, response.json) == (200, {"status": "live"})
    assert response.headers.get_list("Server") == ["nginx"]
    assert len(response.headers.get_list("X-Request-ID")) == 1


@pytest.mark.parametrize("path", ["/metrics/", "/metrics", "//metrics/", "/%6detrics/", "/x/../metrics/"])
def test_metrics_are_not_available_through_nginx(site, path):
    response = fetch(site.nginx.url, path)

    assert (response.status, b"campshub_" in response.body) == (404, False)


@pytest.mark.parametrize("given", [None, "mine", "a" * 64, "a" * 65, 'with"quote', "two words"])
def test_a_request_has_one_id_in_its_response_and_in_all_logs(site, admin, given):
    headers = {**admin, **({"X-Request-ID": given} if given else {})}
    response = fetch(site.nginx.url, "/api/students/?q=whisper", headers=headers)

    (request_id,) = response.headers.get_list("X-Request-ID")
    assert response.status == 200
    assert request_id == given if given in ("mine", "a" * 64) else OWN_ID.fullmatch(request_id)
    logs = [api.log for api in site.apis]
    assert until(lambda: any(line.get("request_id") == request_id for log in logs for line in log_lines(log)))
    assert access(site, request_id)["status"] == 200


def test_the_access_log_has_no_query_strings(site, admin):
    requests = {
        ("GET", "/api/students/"): 200,
        ("DELETE", "/api/students/0192f0c1-2b3c-7def-8123-456789abcdef/"): 404,
        ("PUT", "/live/"): 405,
        ("TRACE", "/api/groups/"): 405,
        ("GET", "/_problem/too_many"): 404,
    }
    for (method, path), status in requests.items():
        response = fetch(site.nginx.url, f"{path}?token=whisper", method, headers=admin)
        line = access(site, response.headers["X-Request-ID"])
        assert (line["method"], line["path"], line["host"]) == (method, path, "127.0.0.1")
        assert line["status"] == response.status
        assert response.status in (status, 422)  # an unknown parameter is refused where the URL is known
    text = (site.nginx.folder / "access.log").read_text(encoding="utf-8")
    assert "whisper" not in text
    assert admin["Authorization"].split()[1] not in text


def test_requests_arrive_unchanged(site, admin):
    response = fetch(site.nginx.url, "/api/students/%6eot%2Fan%20id/?x=%26", "DELETE", headers=admin)

    assert response.problem["instance"] == "/api/students/not/an id/"


def test_json_is_compressed_for_clients_that_accept_it(site):
    packed = fetch(site.nginx.url, "/api/openapi.json", headers={"Accept-Encoding": "gzip"})
    plain = fetch(site.nginx.url, "/api/openapi.json")

    assert (packed.headers["Content-Encoding"], plain.headers.get("Content-Encoding")) == ("gzip", None)
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) * 4 < len(plain.body)
    assert all("Accept-Encoding" in ", ".join(one.headers.get_list("Vary")) for one in (packed, plain))


def test_an_etag_stays_valid_through_compression(site, admin):
    named = {"code": "etag", "given_name": "Asha", "family_name": "Rao", "address": {"lines": ["long " * 30] * 4}}
    made = fetch(site.nginx.url, "/api/students/", "POST", headers=admin, body=named)
    url = f"/api/students/{made.json['id']}/"
    packs = {**admin, "Accept-Encoding": "gzip"}
    shown = fetch(site.nginx.url, url, headers=packs)
    assert (shown.status, shown.headers["Content-Encoding"]) == (200, "gzip")
    tag = shown.headers["ETag"]
    assert tag.startswith("W/")

    assert fetch(site.nginx.url, url, headers={**packs, "If-None-Match": tag}).status == 304
    changed = [
        fetch(site.nginx.url, url, "PATCH", headers={**packs, "If-Match": tag}, body={"given_name": name}).status
        for name in ("Usha", "Nisha")
    ]
    assert changed == [200, 412]


LONG = b"a" * 40_000  # longer than nginx's limit


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /live/ HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /live/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET /live/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + LONG + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + LONG + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", 400, "bad_request"),
        (b"TRACE /live/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /_sent_once HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "not_found"),
        (b"GET /_problem/too_many HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "not_found"),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8388609\r\n\r\n", 413, "body_too_large"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n900000\r\na", 413, "body_too_large"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
    ],
)
def test_nginxs_own_refusals_are_problem_documents(site, data, status, code):
    response = fetch_raw(site.nginx.url, data)

    assert is_problem(response, status, code), (response.status, response.body)
    assert b"nginx" not in response.body


def test_a_body_of_eight_mebibytes_reaches_the_application(site, admin):
    response = fetch(site.nginx.url, "/api/students/", "POST", headers=admin, body=b" " * (8 * MIB))

    assert "instance" in response.problem  # nginx's own documents do not have it
    assert access(site, response.headers["X-Request-ID"])["upstream_status"] == str(response.status)


def test_a_host_that_is_not_listed_is_refused(site):
    for data in (b"GET /api/me/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"GET /api/me/ HTTP/1.0\r\n\r\n"):
        response = fetch_raw(site.nginx.url, data)
        assert (response.status, response.problem["code"]) == (400, "unlisted_host")
    spoofed = fetch(site.nginx.url, "/api/me/", headers={"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1"})
    assert spoofed.problem["code"] == "unlisted_host"


def test_a_forged_client_address_reaches_neither_log_nor_audit(site, admin):
    claims = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP")
    headers = {**admin, **dict.fromkeys(claims, "203.0.113.9"), "Forwarded": "for=203.0.113.9;proto=https"}
    made = {"code": "spoof", "given_name": "Asha", "family_name": "Rao"}
    response = fetch(site.nginx.url, "/api/students/", "POST", headers=headers, body=made)
    assert response.status == 201

    request_id, logs = response.headers["X-Request-ID"], [api.log for api in site.apis]
    (line,) = until(lambda: [one for log in logs for one in log_lines(log) if one.get("request_id") == request_id])
    assert line["address"] == access(site, request_id)["remote_address"] == "127.0.0.1"
    audited = site.primary.query(
        "SELECT DISTINCT address FROM audit_log WHERE entity_id = %s", response.json["id"], database=site.database
    )
    assert audited == [("127.0.0.1",)]
    assert all("203.0.113.9" not in log.read_text() for log in [*logs, site.nginx.folder / "access.log"])


def test_an_address_beyond_the_rate_and_a_burst_of_two_hundred_gets_a_retry_time(site, nginx_before):
    nginx = nginx_before(*(api.port for api in site.apis), rate="1r/m")

    responses = [fetch(nginx.url, "/live/") for _ in range(210)]

    assert [response.status for response in responses] == [200] * 201 + [429] * 9
    assert is_problem(responses[-1], RateLimited.status, RateLimited.code)  # the same code as the API's own
    assert responses[-1].headers["Retry-After"] == "1"


def test_without_an_api_process_the_response_is_a_problem_with_a_retry_time(nginx_before):
    nginx = nginx_before(ports.unused())

    for method in ("GET", "POST", "PUT", "DELETE"):
        response = fetch(nginx.url, "/api/students/", method)
        assert is_problem(response, 502, "bad_gateway")
        assert response.headers["Retry-After"] == "2"


def test_a_request_to_a_silent_api_process_times_out(late_response):
    response = late_response.result(30)

    assert is_problem(response, 504, "gateway_timeout")
    assert response.headers["Retry-After"] == "2"
