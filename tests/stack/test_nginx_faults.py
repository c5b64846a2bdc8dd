"""What clients notice when an API process or PgBouncer fails under load: next to nothing."""

import os
import signal
import socketserver
import threading
import time
from collections import Counter

import pytest

from tests.stack.conftest import log_lines
from tests.stack.http_client import CUT, THREADS, fetch, under_load
from tests.waiting import until

FAIL_TIMEOUT_S = 5


@pytest.fixture(autouse=True)
def whole(site):
    """Start with all parts running, and with an nginx that remembers no failures."""
    site.start()
    site.restart("nginx")


@pytest.fixture
def hanging_up():
    """Two servers that read a request and hang up without a response; yields their ports and the request lines."""
    request_lines = []

    class HangUp(socketserver.StreamRequestHandler):
        def handle(self):
            request_lines.append(self.rfile.readline().decode().rstrip())

    servers = [socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    yield [server.server_address[1] for server in servers], request_lines
    for server in servers:
        server.shutdown()
        server.server_close()


def statuses(responses) -> Counter:
    return Counter(response.status for response in responses)


def served_by(site) -> Counter:
    log = site.nginx.folder / "access.log"
    return Counter(line["upstream"] for line in log_lines(log))


def kill_9(part) -> None:
    """Kill only a part's first process, like `kill -9`; its children are part of the fault."""
    os.kill(part.process().pid, signal.SIGKILL)


def test_both_api_processes_are_used(site, admin):
    before = served_by(site)
    responses = under_load(lambda: fetch(site.nginx.url, "/api/me/", headers=admin), lambda: None)

    assert set(statuses(responses)) == {200}
    served = served_by(site) - before
    assert set(served) == {f"127.0.0.1:{api.port}" for api in site.apis}
    assert min(served.values()) * 4 > sum(served.values())


def test_reads_and_creates_succeed_when_an_api_process_is_killed(site, admin):
    numbers = iter(range(10_000_000))

    def read_or_create():
        number = next(numbers)
        if number % 3:
            return fetch(site.nginx.url, "/api/students/?limit=1", headers=admin)
        body = {"code": f"K{number}", "given_name": "Asha", "family_name": "Rao"}
        return fetch(site.nginx.url, "/api/students/", "POST", headers=admin, body=body)

    responses = under_load(lambda: fetch(site.nginx.url, "/api/students/?limit=1", headers=admin), site.apis[0].kill)
    seen = statuses(responses)
    # A response that was being sent at that moment cannot be repeated: at most one per thread.
    assert seen.pop(CUT, 0) <= THREADS
    assert set(seen) == {200}

    responses = [read_or_create() for _ in range(30)]
    assert set(statuses(responses)) == {200, 201}
    assert set(served_by(site)) >= {f"127.0.0.1:{site.apis[1].port}"}


def test_reads_succeed_when_an_api_process_is_restarted(site, admin):
    responses = under_load(
        lambda: fetch(site.nginx.url, "/api/students/?limit=1", headers=admin),
        lambda: site.restart("api-2"),
    )

    assert set(statuses(responses)) == {200}


def test_processes_killed_one_after_the_other_serve_again_soon_after_their_restart(site, admin):
    for name in ("api-1", "api-2"):
        site.kill(name)
        for _ in range(10):
            fetch(site.nginx.url, "/api/students/?limit=1", headers=admin)
        site.part(name).start()

    # nginx has skipped each of them since its failure; no client waits for the end of that pause.
    until(lambda: fetch(site.nginx.url, "/api/students/?limit=1", headers=admin).status == 200)
    responses = [fetch(site.nginx.url, "/api/students/?limit=1", headers=admin) for _ in range(20)]
    assert set(statuses(responses)) == {200}


def test_unrepeatable_changes_fail_at_most_three_times_for_a_dead_process(site, admin):
    site.kill("api-1")

    began = time.monotonic()
    responses = [
        fetch(site.nginx.url, "/api/students/0192f0c1-2b3c-7def-8123-456789abcdef/", "DELETE", headers=admin)
        for _ in range(40)
    ]

    seen = statuses(responses)
    assert set(seen) <= {404, 502}
    # max_fails, counted by all of nginx's workers together; plus one more try after each fail_timeout.
    assert seen[502] <= 3 + (time.monotonic() - began) // FAIL_TIMEOUT_S


def test_a_read_is_sent_to_a_second_server_and_a_change_to_only_one(nginx_before, hanging_up):
    ports, request_lines = hanging_up

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        request_lines.clear()
        nginx = nginx_before(*ports)
        response = fetch(nginx.url, "/a%20b/?c=%2F", method, body=b"x")
        assert (response.status, response.problem["code"]) == (502, "bad_gateway")
        assert request_lines == [f"{method} /a%20b/?c=%2F HTTP/1.1"] * (2 if method == "GET" else 1)


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_during_a_restart_of_pgbouncer_requests_succeed_or_get_a_retry_time(site, admin, how):
    def fault():
        if how == "killed":
            kill_9(site.part("pgbouncer-primary"))
        site.restart("pgbouncer-primary")

    responses = under_load(lambda: fetch(site.nginx.url, "/api/students/?limit=1", headers=admin), fault)

    seen = statuses(responses)
    assert set(seen) <= {200, 503}, seen
    refused = [response for response in responses if response.status == 503]
    assert {response.problem["code"] for response in refused} <= {"unavailable"}
    assert all(int(response.headers["Retry-After"]) > 0 for response in refused)
    assert [response.status for response in responses[-3:]] == [200] * 3
    until(lambda: fetch(site.nginx.url, "/health/").json["services"]["database"]["healthy"])
