"""What clients notice when an API process or PgBouncer goes away under load: next to nothing."""

import os
import signal
import socketserver
import threading
import time
from collections import Counter

import pytest

from tests.stack.conftest import log_lines
from tests.stack.http_client import CUT, THREADS, ask, under_load, until

FAIL_TIMEOUT_S = 5


@pytest.fixture(autouse=True)
def whole(front):
    """Begin with all parts running, and with an nginx that remembers no failures."""
    front.start()
    front.restart("nginx")


@pytest.fixture
def unfaithful():
    """Two servers that read a request and hang up without an answer; yields their ports and what they were asked."""
    asked = []

    class HangUp(socketserver.StreamRequestHandler):
        def handle(self):
            asked.append(self.rfile.readline().decode().rstrip())

    servers = [socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    yield [server.server_address[1] for server in servers], asked
    for server in servers:
        server.shutdown()
        server.server_close()


def statuses(answers) -> Counter:
    return Counter(answer.status for answer in answers)


def served_by(front) -> Counter:
    log = front.nginx.folder / "access.log"
    return Counter(line["upstream"] for line in log_lines(log))


def kill_9(part) -> None:
    """Kill a part's first process alone, as `kill -9` does; what it leaves behind is part of the fault."""
    os.kill(part.process().pid, signal.SIGKILL)


def test_both_api_processes_are_used(front, admin):
    before = served_by(front)
    answers = under_load(lambda: ask(front.nginx.url, "/api/me/", headers=admin), lambda: None)

    assert set(statuses(answers)) == {200}
    served = served_by(front) - before
    assert set(served) == {f"127.0.0.1:{api.port}" for api in front.apis}
    assert min(served.values()) * 4 > sum(served.values())


def test_reads_and_creates_go_on_when_an_api_process_is_killed(front, admin):
    numbers = iter(range(10_000_000))

    def read_or_create():
        number = next(numbers)
        if number % 3:
            return ask(front.nginx.url, "/api/students/?limit=1", headers=admin)
        body = {"code": f"K{number}", "given_name": "Asha", "family_name": "Rao"}
        return ask(front.nginx.url, "/api/students/", "POST", headers=admin, body=body)

    answers = under_load(lambda: ask(front.nginx.url, "/api/students/?limit=1", headers=admin), front.apis[0].kill)
    seen = statuses(answers)
    # An answer that was being sent at that moment cannot be taken back: one of each thread at most.
    assert seen.pop(CUT, 0) <= THREADS
    assert set(seen) == {200}

    answers = [read_or_create() for _ in range(30)]
    assert set(statuses(answers)) == {200, 201}
    assert set(served_by(front)) >= {f"127.0.0.1:{front.apis[1].port}"}


def test_reads_go_on_when_an_api_process_is_restarted(front, admin):
    answers = under_load(
        lambda: ask(front.nginx.url, "/api/students/?limit=1", headers=admin), lambda: front.restart("api-2")
    )

    assert set(statuses(answers)) == {200}


def test_processes_that_are_killed_one_after_the_other_and_are_back_answer_again_soon(front, admin):
    for name in ("api-1", "api-2"):
        front.kill(name)
        for _ in range(10):
            ask(front.nginx.url, "/api/students/?limit=1", headers=admin)
        front.part(name).start()

    # Each has been left alone since it failed; nobody waits for that to end for longer than it says.
    until(lambda: ask(front.nginx.url, "/api/students/?limit=1", headers=admin).status == 200)
    answers = [ask(front.nginx.url, "/api/students/?limit=1", headers=admin) for _ in range(20)]
    assert set(statuses(answers)) == {200}


def test_changes_that_are_sent_once_notice_a_dead_process_three_times_at_most(front, admin):
    front.kill("api-1")

    began = time.monotonic()
    answers = [
        ask(front.nginx.url, "/api/students/0192f0c1-2b3c-7def-8123-456789abcdef/", "DELETE", headers=admin)
        for _ in range(40)
    ]

    seen = statuses(answers)
    assert set(seen) <= {404, 502}
    # max_fails, counted by all of nginx's workers together; and one more try after each fail_timeout.
    assert seen[502] <= 3 + (time.monotonic() - began) // FAIL_TIMEOUT_S


def test_a_read_is_sent_to_a_second_server_and_a_change_to_one_only(nginx_before, unfaithful):
    ports, asked = unfaithful

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        asked.clear()
        nginx = nginx_before(*ports)
        answer = ask(nginx.url, "/a%20b/?c=%2F", method, body=b"x")
        assert (answer.status, answer.problem["code"]) == (502, "bad_gateway")
        assert asked == [f"{method} /a%20b/?c=%2F HTTP/1.1"] * (2 if method == "GET" else 1)


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_when_pgbouncer_goes_and_comes_back_requests_succeed_or_are_told_to_come_back(front, admin, how):
    def fault():
        if how == "killed":
            kill_9(front.part("pgbouncer-primary"))
        front.restart("pgbouncer-primary")

    answers = under_load(lambda: ask(front.nginx.url, "/api/students/?limit=1", headers=admin), fault)

    seen = statuses(answers)
    assert set(seen) <= {200, 503}, seen
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.problem["code"] for answer in refused} <= {"unavailable"}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert [answer.status for answer in answers[-3:]] == [200] * 3
    until(lambda: ask(front.nginx.url, "/health/").json["services"]["database"]["healthy"])
