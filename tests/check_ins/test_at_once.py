"""50 people mark one roster with different marks while two kiosks replay the same 500 events, on a real server."""

import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from bench.servers import gunicorn
from campshub.core.security.permissions import Role
from devstack.http_client import new_client
from tests.check_ins.conftest import BULK, event, moment

WRITERS, STUDENTS, PORTION = 50, 250, 125
CODES = ("present", "absent", "late", "excused", "left_early")
PATIENCE_S = 120


@pytest.fixture
def server(stack, database):
    with gunicorn("wsgi:app", {**stack.environment(database), "PASSWORD_COST": "4"}, workers=2, name="at-once") as url:
        yield url


def sent(client, method, url, body):
    """Send a request until the server has capacity; return the response's body."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        response = client.request(method, url, json=body)
        if response.status_code != 503 or time.monotonic() > deadline:
            assert response.status_code == 200, response.text
            return response.json()
        time.sleep(0.1)


def mark(url, writer, roster, number, found):
    """Mark the roster in an order of its own; every fifth writer overwrites."""
    students = random.sample(roster.students, len(roster.students))
    rows = [{"student_id": student, "code": CODES[(number + n) % len(CODES)]} for n, student in enumerate(students)]
    with new_client(url, headers=writer.headers) as client:
        found[writer.user_id] = sent(client, "PUT", roster.records, {"records": rows, "overwrite": number % 5 == 0})


def replay(url, device, events, found):
    """Upload the events twice, each time in another order."""
    with new_client(url, headers=device.headers) as client:
        for _ in range(2):
            mixed = random.sample(events, len(events))
            for begin in range(0, len(mixed), PORTION):
                found += sent(client, "POST", BULK, {"events": mixed[begin : begin + PORTION]})["results"]


def days_events(roster):
    """Return two events of each student, and the times that the record must have."""
    now, events, times = moment(), [], {}
    for student in roster.students:
        arrived, left = (now - timedelta(minutes=random.randint(*bounds)) for bounds in ((15, 28), (0, 14)))
        times[uuid.UUID(student)] = (arrived, left)
        events.append(event(roster.session, student, at=arrived))
        events.append(event(roster.session, student, kind="out", at=left))
    return events, times


def test_no_mark_and_no_event_is_lost(server, tenant, meeting, kiosk, sql):
    roster = meeting(STUDENTS)
    events, times = days_events(roster)
    writers, devices = [tenant.someone(Role.ADMIN) for _ in range(WRITERS)], [kiosk(), kiosk()]
    marked, recorded = {}, []
    work = [(mark, (server, writer, roster, number, marked)) for number, writer in enumerate(writers)]
    work += [(replay, (server, device, events, recorded)) for device in devices]
    random.shuffle(work)
    threads = [threading.Thread(target=one, args=arguments) for one, arguments in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(marked) == WRITERS
    require_each_event_once(recorded, events)
    records = the_records(sql, tenant, roster)
    require_true_times(records, times)
    require_history(sql, tenant, records, marked)


def require_each_event_once(recorded, events):
    """Each event was created by one upload, and a repetition in the three others."""
    outcomes = defaultdict(Counter)
    for row in recorded:
        outcomes[row["id"]][row["outcome"]] += 1

    assert outcomes == {one["id"]: {"created": 1, "repeated": 3} for one in events}


def the_records(sql, tenant, roster):
    """Return the one record of each student."""
    rows = sql(
        "SELECT student_id, id, code, version, check_in_at, check_out_at FROM attendance_records"
        " WHERE organization_id = %s AND session_id = %s",
        *(tenant.id, uuid.UUID(roster.session)),
    )
    assert sorted(str(row[0]) for row in rows) == sorted(roster.students)
    return {row[0]: row[1:] for row in rows}


def require_true_times(records, times):
    assert {student: row[3:] for student, row in records.items()} == times


def require_history(sql, tenant, records, marked):
    """Each mark was acknowledged and is in the audit log, or was refused with the mark that was there."""
    history = defaultdict(list)
    for record_id, user_id, after in sql(
        "SELECT entity_id, user_id, after FROM audit_log WHERE organization_id = %s AND entity = 'attendance_records'",
        tenant.id,
    ):
        history[record_id].append((user_id, after))
    assert {record_id: len(entries) for record_id, entries in history.items()} == {
        record_id: version for record_id, _, version, *_ in records.values()
    }, "each version of a record has one entry"
    decided = Counter()
    for user_id, response in marked.items():
        assert len(response["results"]) == STUDENTS
        for row in response["results"]:
            entries = history[uuid.UUID(row["id"])]
            decided[row["outcome"]] += 1
            if row["outcome"] in ("created", "updated"):
                assert [after["code"] for by, after in entries if by == user_id and "code" in after] == [row["code"]]
            else:
                there = row["present"] if row["outcome"] == "conflict" else row
                assert there["code"] in {after.get("code") for _, after in entries}
    assert decided.keys() <= {"created", "updated", "unchanged", "conflict"}
    assert decided["updated"] > 0
    assert decided["conflict"] > 0
