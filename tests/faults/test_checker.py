"""The freshness checker: what it reports as stale, that it detects staleness, and a short run under every fault."""

import time

import httpx
import pytest

from bench.freshness import report
from bench.freshness.client import Outage, RecordingClient, Response, Server
from bench.freshness.faults import FAULTS
from bench.freshness.ledger import EXCUSED_S, Floor, Ledger, Reading
from bench.freshness.measurements import Measurements, Metrics, Times
from bench.freshness.run import Plan, Run, make_worlds
from bench.freshness.site import APPLICATION, Site

WRITES = 60
WRITERS = 2
# Longer than the 10 s after which Redis regards a pending entry as overdue.
HOLDS_S = {"redis-frozen": 11.0}
# Evidence that the fault happened: a metric of the API, or the results of requests.
WITHOUT_REDIS = {"redis-stopped", "redis-frozen", "redis-cut", "redis-held"}


@pytest.fixture
def ledger():
    return Ledger()


def read(ledger, slot, level, **options):
    return ledger.judge(ledger.reading("a read", [slot]), {slot: level}, **options)


def test_a_read_that_starts_after_an_acknowledgement_and_shows_less_is_stale(ledger):
    slot = ledger.slot("row", 1)
    before = ledger.reading("a read", [slot])
    ledger.acknowledge(slot, 2)

    assert ledger.judge(before, {slot: 1}) == "true"
    assert read(ledger, slot, 1) == "stale"
    assert read(ledger, slot, 2) == "true"
    assert ledger.verdicts == {"true": 2, "stale": 1}


def test_a_row_that_is_missing_is_stale(ledger):
    slot = ledger.slot("row", 1)

    assert ledger.judge(ledger.reading("a list", [slot]), {}) == "stale"


def test_a_read_after_a_finished_read_that_shows_less_goes_back(ledger):
    slot = ledger.slot("row", 1)
    before = ledger.reading("a read", [slot])
    assert read(ledger, slot, 2) == "true"

    assert ledger.judge(before, {slot: 1}) == "true"
    assert read(ledger, slot, 1) == "back"


def test_one_stale_slot_outweighs_current_ones(ledger):
    good, bad = ledger.slot("good", 1), ledger.slot("bad", 2)

    assert ledger.judge(ledger.reading("a list", [good, bad, good]), {good: 1, bad: 1}) == "stale"


@pytest.mark.parametrize(
    ("excuses", "after_s", "acknowledged", "verdict"),
    [
        (True, EXCUSED_S - 0.01, 1, "back, excused"),
        (True, EXCUSED_S + 0.01, 1, "back"),
        (True, 0.1, 2, "stale"),
        (False, 0.1, 1, "back"),
    ],
)
def test_reads_may_go_back_only_to_unacknowledged_writes_of_a_cut_off_process(
    ledger, excuses, after_s, acknowledged, verdict
):
    ledger.begin(excuses=excuses)
    slot = ledger.slot("row", 1)
    seen_at = time.monotonic()
    reading = Reading("a read", [slot], [Floor(acknowledged, 2, seen_at)], seen_at + after_s)

    assert ledger.judge(reading, {slot: 1}) == verdict


def test_a_response_marked_unverified_may_be_older_and_is_counted_separately(ledger):
    slot = ledger.slot("row", 2)

    assert read(ledger, slot, 1, unverified=True) == "older, marked unverified"
    assert read(ledger, slot, 1) == "stale"


@pytest.mark.parametrize(
    ("status", "headers", "killed", "is_stopped", "broken"),
    [
        (500, {}, True, True, "500"),
        (503, {}, True, True, "503 without Retry-After"),
        (503, {"Retry-After": "1"}, True, False, "503 although the primary runs"),
        (503, {"Retry-After": "1"}, False, True, None),
        (502, {}, False, True, "502 without a killed process"),
        (502, {}, True, False, None),
        (429, {}, True, True, "unexpected status"),
    ],
)
def test_each_status_is_allowed_only_during_its_fault(ledger, status, headers, killed, is_stopped, broken):
    server = Server("nginx", 1, Outage(is_on=killed))
    response = Response(status, httpx.Headers(headers), b"{}", time.monotonic(), server)

    assert RecordingClient(Measurements(), ledger, Outage(is_on=is_stopped)).is_allowed(response) is (broken is None)
    assert ledger.verdicts == ({broken: 1} if broken else {})


def test_an_outage_excuses_only_the_requests_during_it():
    outage = Outage()
    before = time.monotonic()
    assert not outage.overlaps(before)
    outage.begin()
    assert outage.overlaps(before)
    outage.end()
    assert outage.overlaps(before)
    assert not outage.overlaps(outage.ended + 0.001)


def test_a_connection_is_closed_when_its_process_stops_or_starts(ledger):
    server = Server("api", 1)
    client = RecordingClient(Measurements(), ledger, Outage())
    taken = [client._connection(server)]
    for turn in (server.outage.begin, server.outage.end):
        turn()
        taken.append(client._connection(server))

    assert len({id(connection) for connection in taken}) == 3
    assert client._connection(server) is taken[-1]


def test_percentiles_are_within_a_twentieth():
    times = Times()
    for milliseconds in range(1, 101):
        times.add(milliseconds / 1000)

    assert times.percentile(0.5) == pytest.approx(0.05, rel=0.06)
    assert times.percentile(0.99) == pytest.approx(0.099, rel=0.06)
    assert times.worst_s == 0.1


def test_metrics_of_a_restarted_process_begin_at_zero():
    metrics = Metrics()
    line = 'campshub_reads_total{{server="primary"}} {}\n'
    name = 'campshub_reads_total{server="primary"}'

    assert [metrics.gain("api-1", line.format(count))[name] for count in (5, 8, 2)] == [5, 3, 2]


# Over the real stack -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("checker"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def checked(site):
    ledger = Ledger()
    return ledger, make_worlds(site, ledger, organizations=2, rows=2 * WRITERS)


def run(site, checked, name, **options):
    plan = Plan(
        FAULTS[name],
        seconds=0,
        writes=WRITES,
        rounds=1,
        writers=WRITERS,
        readers=3,
        hold_s=HOLDS_S.get(name, 1.5),
        quiet_s=0.5,
        is_thorough=False,
        **options,
    )
    return Run(site, *checked, plan).run()


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_stale_and_nothing_goes_back_under(site, checked, name):
    found = run(site, checked, name)

    assert report.broken(found) == {}, "\n".join(report.lines(found))
    assert found.measurements.marks["writes acknowledged"] >= WRITES
    assert found.ledger.verdicts["true"] >= WRITES
    counted = found.measurements.metrics["fault"]
    if name in WITHOUT_REDIS:
        assert counted["campshub_freshness_unstamped_total"] > 0
    if name == "api-killed":
        assert [status for status in found.measurements.statuses if "(killed)" in status or " 502 " in status]
    if name == "primary-killed":
        assert found.measurements.marks["reads marked unverified, primary stopped"] > 0
        assert found.measurements.statuses["write 503 unavailable"] > 0


def test_the_checker_detects_writes_that_raise_no_stamp(site, checked):
    site.serve("tests.faults.without_end:app")
    try:
        found = run(site, checked, "none")
    finally:
        site.serve(APPLICATION)

    assert found.ledger.verdicts["stale"] > 0
    assert "stale" in report.broken(found)
