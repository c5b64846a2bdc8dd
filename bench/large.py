"""Uncached reads of an organization with millions of rows: one caller, sequential requests, all different."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from bench.client import ApiClient
from bench.dataset import Dataset
from bench.servers import UNCACHED, gunicorn
from bench.traffic import RawConnection

REQUESTS = 40  # in each round
WARM_UP = 10
REACH_DAYS = 395  # a date range may begin 400 days ago

STUDENTS = "list of students, page after page"
DAY = "attendance of a day, a page of the records"
REGISTER = "register of a group of 100"
MONTH = "a student's attendance of a month"
STATISTICS = "numbers of students"
GROUP_DAYS = "all groups of a month, day by day, a page"
STUDENT_MONTHS = "a student's attendance, month by month"
STUDENT_WEEKS = "a student's training, week by week"
ANALYTICS = (STATISTICS, GROUP_DAYS, STUDENT_MONTHS, STUDENT_WEEKS)

Read = Callable[[str], Any]


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Send requests of each kind in turns; return percentiles in milliseconds."""
    with gunicorn("wsgi:app", dataset.settings(**UNCACHED), name="large") as url:
        headers = dataset.headers(url)
        read = reader(url, headers)
        api = ApiClient(url, headers)
        last = dataset.made.last
        students = "/api/attendance/analytics/students"
        urls = {
            STUDENTS: _pages(read),
            DAY: _days(last),
            REGISTER: _registers(api, last),
            MONTH: _of_each(api, f"/api/students/{{}}/attendance/?from={last - timedelta(days=30)}&to={last}"),
            STATISTICS: _same("/api/students/statistics/"),
            GROUP_DAYS: _group_days(last),
            STUDENT_MONTHS: _of_each(api, f"{students}/{{}}/?from={last - timedelta(days=364)}&to={last}"),
            STUDENT_WEEKS: _of_each(api, "/api/progress/weeks/?student_id={}"),
        }
        taken: dict[str, list[float]] = {name: [] for name in urls}
        for number in range(rounds + 1):
            for name, paths in urls.items():
                times = _timed(read, paths, REQUESTS if number else WARM_UP)
                taken[name] += times if number else []
    return {name: _row(times) for name, times in taken.items()}


def _row(times: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(times, n=100)
    return {
        "p50 ms": round(cuts[49], 2),
        "p95 ms": round(cuts[94], 2),
        "p99 ms": round(cuts[98], 2),
        "requests": len(times),
    }


def reader(url: str, headers: dict[str, str]) -> Read:
    """Return a function that sends requests on one persistent connection."""
    parts = urlsplit(url)
    connection = RawConnection(str(parts.hostname), int(parts.port or 0))
    header_lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def read(path: str) -> Any:
        status, body = connection.send(f"GET {path} HTTP/1.1\r\nHost: {parts.hostname}\r\n{header_lines}\r\n".encode())
        if status != 200:  # noqa: PLR2004 - OK
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return body

    return read


def _timed(read: Read, urls: Iterator[str], count: int) -> list[float]:
    times = []
    for path in islice(urls, count):
        begun = time.perf_counter()
        read(path)
        times.append((time.perf_counter() - begun) * 1000)
    return times


def _pages(read: Read) -> Iterator[str]:
    """Yield page after page, and start again at the end; the lookup of the next cursor is not timed."""
    while True:
        cursor = ""
        while True:
            path = f"/api/students/?limit=50{cursor}"
            yield path
            following = json.loads(read(path))["next_cursor"]
            if following is None:
                break
            cursor = f"&cursor={following}"


def _days(last: date) -> Iterator[str]:
    number = 0
    while True:
        day = last - timedelta(days=number * 7 % REACH_DAYS)  # from month to month, so that partitions change
        yield f"/api/attendance/records/?from={day}&to={day}&limit=50"
        number += 1


def _registers(api: ApiClient, last: date) -> Iterator[str]:
    sessions = api.get(f"/api/attendance/sessions/?from={last - timedelta(days=30)}&to={last}&limit=200")["items"]
    while True:
        for session in sessions:
            yield f"/api/attendance/sessions/{session['id']}/records/?limit=200"


def _of_each(api: ApiClient, path: str) -> Iterator[str]:
    """Yield a URL for one student after the other."""
    students = [row["id"] for row in api.get("/api/students/?limit=200&fields=id")["items"]]
    while True:
        for student in students:
            yield path.format(student)


def _group_days(last: date) -> Iterator[str]:
    number = 0
    while True:
        first = last - timedelta(days=31 + number % REACH_DAYS)
        yield f"/api/attendance/analytics/groups/?from={first}&to={first + timedelta(days=30)}&limit=200"
        number += 1


def _same(path: str) -> Iterator[str]:
    while True:
        yield path
