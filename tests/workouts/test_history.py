"""Lists of logs: pages, filters, a student's history, and the monthly partitions that they read."""

import re
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import event

from campshub.core.db.models import new_id
from campshub.core.db.session import db
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue

SQUAT = str(catalogue.exercise_id("back_squat"))
BENCH = str(catalogue.exercise_id("bench_press"))
LOGS = "/api/workout-logs/"


def test_the_list_shows_headers_and_aggregates_with_one_statement(api, whole, log):
    logged = api.made(LOGS, whole)
    log()

    page = api.get(f"{LOGS}?student_id={whole['student_id']}")

    assert len(page.queries) == 1
    [header] = page.json["items"]
    assert header == {name: value for name, value in logged.items() if name != "exercises"}
    sparse = api.get(f"{LOGS}?fields=id,set_count")
    assert [set(item) for item in sparse.json["items"]] == [{"id", "set_count"}] * 2


def test_pages_start_with_the_latest_and_neither_overlap_nor_omit_rows(api, student, ago):
    person = student()["id"]
    made = {
        api.made(LOGS, {"student_id": person, "started_at": ago(days=days)})["id"] for days in (0, 0, 0, 20, 50, 50, 90)
    }
    for sort in ("", "date", "-date"):
        collected: list[dict] = []
        url = f"{LOGS}?limit=2&sort={sort}" if sort else f"{LOGS}?limit=2"
        while url:
            page = api.get(url)
            assert len(page.queries) == (0 if sort == "-date" else 1)  # the usual order, which is cached by then
            collected += page.json["items"]
            url = page.headers["Link"].partition(">")[0][1:] if page.json["has_more"] else None
        assert len(collected) == 7
        assert {item["id"] for item in collected} == made
        dates = [item["local_date"] for item in collected]
        assert dates == sorted(dates, reverse=sort != "date")


def test_filters_narrow_the_list(api, log, student, ago):
    person = student()["id"]
    old = log(student_id=person, started_at=ago(days=45))
    new = log(student_id=person, exercises=[{"exercise_id": BENCH, "sets": [{"reps": 5}]}])
    log()
    day = date.fromisoformat(old["local_date"])

    def found(**filters):
        response = api.get(LOGS, query_string=filters)
        assert (response.status, len(response.queries)) == (200, 1)
        return [item["id"] for item in response.json["items"]]

    assert found(student_id=person) == [new["id"], old["id"]]
    assert found(student_id=person, exercise_id=BENCH) == [new["id"]]
    assert found(student_id=person, to=day) == [old["id"]]
    assert found(**{"from": day, "to": day}) == [old["id"]]
    assert found(**{"from": day + timedelta(days=1), "student_id": person}) == [new["id"]]
    assert found(student_id=new_id()) == found(exercise_id=new_id()) == []
    for wrong in ({"from": "yesterday"}, {"from": "2026-02-30"}, {"to": "\x00"}, {"student_id": "x"}, {"month": "5"}):
        refused = api.get(LOGS, query_string=wrong)
        assert (refused.status, refused.pointers) == (422, {f"/{next(iter(wrong))}"})


def test_a_students_history_has_its_own_url(api, log, student, other):
    person = student()["id"]
    made = log(student_id=person)
    log()

    response = api.get(f"/api/students/{person}/workouts/")

    assert [item["id"] for item in response.json["items"]] == [made["id"]]
    assert len(response.queries) == 1
    day = made["local_date"]
    assert len(api.get(f"/api/students/{person}/workouts/?from={day}&to={day}").json["items"]) == 1
    assert api.get(f"/api/students/{person}/workouts/?to=2026-01-01").json["items"] == []
    assert api.get(f"/api/students/{student()['id']}/workouts/").json["items"] == []
    assert api.get(f"/api/students/{new_id()}/workouts/").status == 404
    assert other.the(Role.ADMIN).get(f"/api/students/{person}/workouts/").status == 404


def test_a_range_of_dates_reads_only_its_months(ordinary_reads, api, tenant, app, stack, database):
    last = datetime.now(UTC).date().replace(day=1)
    first = (last - timedelta(days=1)).replace(day=5)
    executed = []
    with app.app_context():
        engines = list(db.engines.values())

    def listen(_connection, _cursor, text, parameters, _context, _many):
        executed.append((text, parameters))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    try:
        api.get(f"{LOGS}?from={first}&to={last}&exercise_id={SQUAT}")
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", listen)
    text, parameters = next((text, parameters) for text, parameters in executed if "workout_logs" in text)
    with stack.primary.connect(database) as connection:
        connection.execute("SET ROLE campshub_app")
        connection.execute("SELECT set_config('app.organization_id', %s, false)", [str(tenant.id)])
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {text}", parameters))
    for table in ("workout_logs", "workout_sets", "workout_log_exercises"):
        assert set(re.findall(rf"{table}_p(\d{{4}}_\d\d)\b", plan)) == {f"{first:%Y_%m}", f"{last:%Y_%m}"}
