"""What the benchmarks read and conclude: wrk's output, the application's metrics, stale reads, targets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import load, report, scrape, targets
from bench.traffic import Floors, shown

ROOT = Path(__file__).parent.parent
ASKED = """
import sys
from importlib import import_module
sys.stdout.buffer.write(import_module(sys.argv[1]).app.test_client().get(sys.argv[2]).get_data())
"""
WRK = """Running 4s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Latency Distribution
     50%   15.34ms
     75%   18.02ms
     90%  950.00us
     99%    1.63s
  4000 requests in 4.00s, 1.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:   1000.50
Transfer/sec:    250.00KB
"""


def test_wrk_output_is_parsed_with_units_and_every_kind_of_error():
    assert load.read(WRK) == load.Round(per_second=1000.5, p50=15.34, p99=1630.0, errors=15)


def test_output_without_a_throughput_is_not_a_measurement():
    with pytest.raises(RuntimeError, match="no requests"):
        load.read("unable to connect to 127.0.0.1:1 Connection refused")


def test_a_table_compares_medians_and_shows_every_error():
    rounds = {
        "bare": [load.Round(n, 1.0, 2.0, 0) for n in (100.0, 900.0, 200.0)],
        "ours": [load.Round(n, 10.0, 70.0, 1) for n in (50.0, 60.0, 1.0)],
    }

    ours = load.rows(rounds, against="bare")["ours"]

    assert ours["share of bare"] == 0.25
    assert (ours["p99/p50"], ours["errors"], ours["spread"]) == (7.0, 3, "1 to 60")


def test_metrics_of_several_processes_are_added_and_only_growth_counts():
    series = ('hits_total{family="a",x="1"} 2.0', 'hits_total{family="a",x="2"} 1', 'hits_total{family="b"} 1')
    text = "\n".join(("# HELP x y", *series, "misses_total 1", "sql_sum 0.5"))
    before = scrape.read(text)
    after = {name: 2 * value for name, value in before.items()} | {"sql_count": 10.0}

    grown = scrape.grown(before, after)

    assert scrape.total(grown, "hits_total") == 4.0
    assert scrape.share(grown, "hits_total", "misses_total") == 0.8
    assert scrape.mean_ms(grown, "sql") == 50.0
    assert scrape.by_label(grown, "hits_total", "family") == "a: 3, b: 1"


def test_a_counter_that_the_application_does_not_have_is_not_zero():
    assert scrape.share({}, "hits_total", "misses_total") is None
    assert scrape.mean_ms({}, "sql") is None


def test_a_read_that_shows_less_than_was_acknowledged_before_it_is_stale():
    floors = Floors()
    floors.acknowledge("register", {"asha": 2, "ravi": 3})
    floors.acknowledge("register", {"asha": 1})  # a late response lowers nothing
    at_start = floors.now("register")
    floors.acknowledge("register", {"asha": 9})  # after the read started: it need not show it

    assert Floors.missed(at_start, {"asha": 2, "ravi": 3}, whole=True) == []
    assert Floors.missed(at_start, {"asha": 2, "ravi": 2}, whole=True) == ["ravi"]
    assert Floors.missed(at_start, {"asha": 1}, whole=False) == ["asha"]
    assert Floors.missed(at_start, {"asha": 2}, whole=True) == ["ravi"]
    assert floors.now("another") == {}


def test_rows_are_found_in_pages_registers_and_single_responses():
    page = b'{"items": [{"id": "a", "version": 4}], "next_cursor": null}'
    register = b'{"items": [{"student_id": "a", "mark": {"version": 2}}, {"student_id": "b", "mark": null}]}'

    assert shown("page", page) == {"a": 4}
    assert shown("register", register) == {"a": 2}
    assert shown("one", b'{"id": "a", "version": 7}') == {"a": 7}
    assert shown("other", b"not even JSON") == {}


@pytest.mark.parametrize(
    ("goal", "met", "missed"),
    [
        (targets.Target("", "", "", "", 0.6), 0.6, 0.59),
        (targets.Target("", "", "", "", 0.85, strictly=True), 0.851, 0.85),
        (targets.Target("", "", "", "", 120, is_most=True, strictly=True), 119.9, 120),
        (targets.Target("", "", "", "", 25, is_most=True), 25, 25.1),
    ],
)
def test_a_target_is_a_minimum_or_a_maximum(goal, met, missed):
    assert goal.met_by(met)
    assert not goal.met_by(missed)


def test_the_page_names_what_is_met_missed_not_measured_starving_or_refused():
    found = {
        "cached": {
            "list of 50, process memory": {targets.SHARE: 0.58, "p99/p50": 6.0, "errors": 2},
            "list of 50, Redis": {targets.SHARE: 0.51, "p99/p50": 5.9, "errors": 0},
        }
    }

    page = targets.page(found)

    assert "MISSED  cached list, process memory: 0.58, target 0.6" in page
    assert "met     cached list, Redis: 0.51, target 0.5" in page
    assert "NONE    304 against the cached 200, list: not measured, target 1" in page
    assert "MISSED  cached: list of 50, process memory: p99/p50 6.0, target under 6" in page
    assert "ERRORS  cached: list of 50, process memory: 2" in page
    assert [line for line in page if "Redis" in line and "p99" in line] == []
    assert [line for line in page if "wger" in line] == [], "a part that did not run has no line"


def test_a_table_has_blank_cells_for_missing_values():
    assert report.table({"a": {"x": 1}, "b": {"y": None, "x": 2}}) == [
        "| | x | y |",
        "| --- | --- | --- |",
        "| a | 1 |  |",
        "| b | 2 |  |",
    ]


def answer_of(application, url, stack, database, tenant, api):
    """Return the JSON that one of the compared applications returns for a URL."""
    who = {"BENCH_ORGANIZATION": str(tenant.id), "BENCH_USER": api.get("/api/me/").json["id"]}
    output = subprocess.run(
        [sys.executable, "-c", ASKED, f"bench.apps.{application}", url],
        cwd=ROOT,
        env={**os.environ, **stack.environment(database), **who},
        capture_output=True,
        check=True,
    ).stdout
    return json.loads(output)


@pytest.mark.parametrize(("application", "url"), [("lean", "/students/"), ("naive", "/api/students/")])
def test_the_compared_applications_return_what_ours_returns(stack, database, tenant, api, application, url):
    for number in range(3):
        api.made("/api/students/", {"code": f"S{number}", "given_name": "Asha", "family_name": f"Rao {number}"})

    found = answer_of(application, url, stack, database, tenant, api)

    items = found["items"] if application == "lean" else found
    ours = api.get("/api/students/").json["items"]
    assert [item["id"] for item in items] == [item["id"] for item in ours]
    assert items[0].keys() == ours[0].keys()


def test_the_naive_application_returns_the_guardians_of_a_student(stack, database, tenant, api):
    names = {"code": "S1", "given_name": "Asha", "family_name": "Rao"}
    made = api.made("/api/students/", {**names, "guardians": [{"name": "Ravi Rao", "phone": "+91 20 5550 0100"}]})
    url = f"/api/students/{made['id']}/"

    found = answer_of("naive", url, stack, database, tenant, api)

    ours = api.get(url).json
    assert found.keys() == ours.keys()
    assert found["guardians"] == ours["guardians"]
