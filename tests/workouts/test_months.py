"""Workouts of past years: a write to a missing month is refused clearly, and the month is requested and provided."""

import json
from datetime import UTC, date, datetime, time, timedelta

import pytest

from campshub.core.dates import add_months
from campshub.core.db.models import new_id
from campshub.core.jobs import runner
from campshub.core.partitions import archive, months, restore
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue
from tests.core.partitions.conftest import a_month_ago, site_of

SQUAT = str(catalogue.exercise_id("back_squat"))
LOGS = "/api/workout-logs/"
TABLES = ("workout_log_exercises", "workout_logs", "workout_sets")
SET = {"reps": 5, "load": "100", "load_unit": "kg"}


@pytest.fixture
def site(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path / "archive") as site:
        yield site


@pytest.fixture
def body(site):
    """Return a maker of bodies: a log of one set on a date, of one student."""
    student = site.api.made("/api/students/", {"code": "S1", "given_name": "A", "family_name": "B"})["id"]

    def of(day, **fields):
        at = min(datetime.combine(day, time(12), UTC), datetime.now(UTC)).isoformat()  # the day may not be half over
        exercises = [{"exercise_id": SQUAT, "sets": [SET]}]
        header = {"id": str(new_id()), "student_id": student, "started_at": at, "time_zone": "UTC"}
        return {**header, "exercises": exercises, **fields}

    return of


def work(site):
    """Run the jobs that are due."""
    with site.app.app_context():
        return runner.run_due(site.services)


def refused(response):
    return (response.status, response.problem["code"], response.headers.get("Retry-After"))


UNAVAILABLE = (409, "month_unavailable", "2")


def years_ago(count):
    return date.today().replace(day=15, year=date.today().year - count)  # noqa: DTZ011 - any day of the month


def requested(site):
    return site.sql("SELECT count(*) FROM outbox WHERE job = 'partitions.provide'")[0][0]


def test_a_workout_of_eight_years_ago_is_logged_once_its_month_has_been_created(site, body):
    log = body(years_ago(8), title="Old")
    responses = [site.api.post(LOGS, log, headers={"Idempotency-Key": "one"}) for _ in range(3)]

    assert [refused(response) for response in responses] == [UNAVAILABLE] * 3
    assert f"{years_ago(8):%Y-%m}" in responses[0].problem["detail"]
    assert requested(site) == 1, "one request for all three"
    assert site.sql("SELECT count(*) FROM workout_log_ids") == [(0,)], "a refused log leaves nothing"

    assert work(site).done == 1
    made = site.api.post(LOGS, log, headers={"Idempotency-Key": "one"})

    assert made.status == 201, made.json
    day = made.json["local_date"]
    assert day == str(years_ago(8))
    url = f"{LOGS}{log['id']}/"
    assert site.api.post(f"{url}sets/", {"exercise_id": SQUAT, **SET}).status == 201
    assert site.api.patch(url, {"title": "Very old"}).status == 200
    assert site.api.get(url).json["set_count"] == 2
    assert [one["id"] for one in site.api.get(f"{LOGS}?from={day}&to={day}").json["items"]] == [log["id"]]
    [week] = site.api.get(f"/api/progress/weeks/?from={day}&to={day}").json["items"]
    assert (week["working_sets"], week["heaviest_grams"]) == (2, 100_000)
    checked = site.app.test_cli_runner().invoke(args=["rollups", "check", "--json"])
    assert json.loads(checked.stdout)["differences"] == []


def test_a_month_that_was_created_on_request_is_protected_like_any_other(site, body):
    day = years_ago(9)
    site.api.post(LOGS, body(day))
    work(site)

    names = [months.name_of(table, day) for table in TABLES]
    rows = site.sql(
        "SELECT relname, relrowsecurity AND relforcerowsecurity, coalesce(relacl::text, '') LIKE '%%campshub_app%%'"
        " FROM pg_class WHERE relname = ANY(%s) ORDER BY relname",
        names,
    )
    assert rows == [(name, True, False) for name in names]


def test_each_missing_month_is_requested_separately(site, body):
    for years in (3, 4, 3):
        assert refused(site.api.post(LOGS, body(years_ago(years)))) == UNAVAILABLE

    assert requested(site) == 2
    assert work(site).done == 2
    assert [site.api.post(LOGS, body(years_ago(years))).status for years in (3, 4)] == [201, 201]
    assert requested(site) == 2


@pytest.mark.parametrize("years", [1, 10])
def test_a_log_must_begin_within_the_configured_years(stack, scratch, tmp_path, years):
    with site_of(stack, scratch, tmp_path, workout_years_back=years) as site:
        today = datetime.now(UTC).date()
        last = today - timedelta(days=years * 365 - 5)
        too_old = today - timedelta(days=years * 366 + 5)
        student = site.api.made("/api/students/", {"code": "S1", "given_name": "A", "family_name": "B"})["id"]

        def sent(day):
            at = datetime.combine(day, time(12), UTC).isoformat()
            return site.api.post(LOGS, {"student_id": student, "started_at": at, "time_zone": "UTC", "exercises": []})

        old = sent(too_old)
        assert (old.status, old.pointers) == (422, {"/started_at"})
        assert f"at most {years} years ago" in old.problem["errors"][0]["detail"]
        assert sent(last).status in (201, 409)
        work(site)
        assert sent(last).status == 201


@pytest.fixture
def archived(site, body):
    """A log whose month has been archived, as it was read before."""
    log = body(site.day, title="Archived")
    made = site.api.made(LOGS, log)
    for table in TABLES:
        site.archived(table)
    return log, made


@pytest.mark.parametrize(
    ("method", "url", "fields", "status"),
    [
        ("POST", "sets/", {"exercise_id": SQUAT, **SET}, 201),
        ("PATCH", "", {"title": "Changed"}, 200),
        ("DELETE", "", None, 204),
        ("POST", "undelete/", None, 200),
        ("PATCH", "sets/{set}/", {"reps": 6}, 200),
        ("DELETE", "sets/{set}/", None, 204),
        ("POST", "sets/{set}/undelete/", None, 200),
    ],
)
def test_a_write_to_an_archived_log_restores_its_month(site, archived, method, url, fields, status):
    log, made = archived
    where = f"{LOGS}{log['id']}/{url.format(set=made['exercises'][0]['sets'][0]['id'])}"

    first = site.api.call(method, where, fields)

    assert refused(first) == UNAVAILABLE
    assert site.api.get(f"{LOGS}{log['id']}/").status == 404, "reads show none of an archived month"
    assert work(site).done == 1
    assert site.api.get(f"{LOGS}{log['id']}/").json == made
    assert site.api.call(method, where, fields).status == status


def test_a_new_log_and_a_retry_restore_an_archived_month(site, body, archived):
    log, made = archived
    new = body(site.day)

    assert [refused(site.api.post(LOGS, one)) for one in (new, log)] == [UNAVAILABLE] * 2
    assert (requested(site), work(site).done) == (1, 1)

    retry = site.api.post(LOGS, log)
    assert (retry.status, retry.json) == (200, made)
    assert site.api.post(LOGS, new).status == 201


def test_a_month_without_its_sets_is_unavailable_as_well(site, body):
    log = body(site.day)
    made = site.api.made(LOGS, log)
    site.archived("workout_sets")
    one = f"{LOGS}{log['id']}/sets/{made['exercises'][0]['sets'][0]['id']}/"

    assert refused(site.api.post(f"{LOGS}{log['id']}/sets/", {"exercise_id": SQUAT, **SET})) == UNAVAILABLE
    assert refused(site.api.patch(one, {"reps": 6})) == UNAVAILABLE
    work(site)
    assert site.api.patch(one, {"reps": 6}).json["reps"] == 6


def test_an_unknown_log_is_not_found_and_requests_no_month(site, body, archived):
    assert site.api.patch(f"{LOGS}{new_id()}/", {"title": "x"}).status == 404
    live = body(site.day + timedelta(days=62))
    site.api.made(LOGS, live)
    assert site.api.patch(f"{LOGS}{live['id']}/sets/{new_id()}/", {"reps": 1}).status == 404
    assert site.tenants[1].the(Role.ADMIN).patch(f"{LOGS}{archived[0]['id']}/", {"title": "x"}).status == 404
    assert requested(site) == 0


def test_a_damaged_archive_stays_unavailable_and_raises_an_alert(site, archived, tmp_path):
    for file in (tmp_path / "archive" / "workout_sets").rglob("rows.csv.gz*"):
        file.write_bytes(b"damaged")
    log, _ = archived

    assert refused(site.api.patch(f"{LOGS}{log['id']}/", {"title": "x"})) == UNAVAILABLE
    tally = work(site)

    assert (tally.done, tally.failed) == (0, 1)
    assert refused(site.api.patch(f"{LOGS}{log['id']}/", {"title": "x"})) == UNAVAILABLE
    assert requested(site) == 1


def test_a_half_archived_month_is_neither_created_nor_restored(site, body):
    site.api.made(LOGS, body(site.day))

    class Stop(Exception):
        pass

    def on_stage(stage):
        if stage == archive.DETACHED:
            raise Stop

    with pytest.raises(Stop):
        site.archived("workout_logs", on_stage)
    with site.maintenance() as connection, pytest.raises(restore.HalfArchived):
        restore.provide(site.services, connection, table="workout_logs", month=site.month)

    site.archived("workout_logs")
    with site.maintenance() as connection:
        for _ in range(2):
            restore.provide(site.services, connection, table="workout_logs", month=site.month)
    assert len(site.contents("workout_logs")) == 1


def test_months_that_may_be_written_are_not_archived_by_the_schedule(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path, retention_months=15, workout_years_back=2) as site:
        today = datetime.now(UTC).date()
        with site.maintenance() as connection:
            for table in site.tables:
                months.ensure(connection, table, add_months(today, -30), today)
            found = archive.due(connection, today=today, settings=site.services.settings)

    newest = {table: max(month for of, month in found if of == table) for table, _ in found}
    assert newest == {table: a_month_ago(26 if table.startswith("workout") else 16) for table in site.tables}


def test_attendance_of_an_archived_month_is_marked_once_it_is_restored(site):
    site.fill()
    session, student, organization = site.sql(
        "SELECT session_id, student_id, organization_id FROM attendance_records LIMIT 1"
    )[0]
    api = next(tenant for tenant in site.tenants if tenant.id == organization).the(Role.ADMIN)
    record = site.sql("SELECT id FROM attendance_records WHERE student_id = %s", student)[0][0]
    before = site.contents("attendance_records")
    site.archived("attendance_records")
    marks = {"records": [{"student_id": str(student), "code": "late"}]}

    register = api.put(f"/api/attendance/sessions/{session}/records/", marks)
    change = api.patch(f"/api/attendance/records/{record}/?on={site.day}", {"code": "absent"})

    assert [refused(response) for response in (register, change)] == [UNAVAILABLE] * 2
    assert work(site).done == 1
    assert site.contents("attendance_records") == before
    assert api.put(f"/api/attendance/sessions/{session}/records/", marks).status == 200
    assert api.patch(f"/api/attendance/records/{record}/?on={site.day}", {"code": "absent"}).status == 200


@pytest.mark.parametrize("on", ["1990-01-01", "2099-01-01"])
def test_a_month_outside_the_accepted_dates_is_not_requested(site, on):
    response = site.api.patch(f"/api/attendance/records/{new_id()}/?on={on}", {"code": "absent"})

    assert refused(response) == (409, "month_unavailable", None)
    assert requested(site) == 0


def test_a_missing_month_of_the_audit_log_is_not_requested(site, body):
    site.sql(f"DROP TABLE {months.name_of('audit_log', datetime.now(UTC).date())}")

    response = site.api.post(LOGS, body(datetime.now(UTC).date()))

    assert (response.status, response.problem["code"]) == (503, "month_missing")
    assert requested(site) == 0
