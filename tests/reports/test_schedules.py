"""Schedules: on time in the organization's time zone, once each, for permitted authors and recipients only."""

import threading
from calendar import monthrange
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role
from campshub.reports.dates import PERIODS, next_slot
from campshub.reports.service import rendering
from campshub.reports.service.schedules import make_due
from tests.conftest import Client
from tests.emails import emails_in, path_in
from tests.waiting import until


def times(zone, after, count, **when):
    """Return a schedule's next times, each in its time zone and in UTC."""
    schedule = SimpleNamespace(**{"frequency": "daily", "weekday": None, "day": None, "local_time": "02:30", **when})
    at, found = datetime.fromisoformat(after).replace(tzinfo=UTC), []
    for _ in range(count):
        at = next_slot(schedule, zone, at)
        found.append(f"{at:%m-%d %H:%M}")
    return found


def test_a_time_in_a_skipped_hour_runs_right_after_it():
    # In Berlin 2026-03-29 has no 02:30: the clocks go from 02:00 to 03:00.
    assert times("Europe/Berlin", "2026-03-27T12:00", 3) == ["03-28 01:30", "03-29 01:30", "03-30 00:30"]


def test_a_time_in_a_repeated_hour_runs_once():
    # In Berlin 2026-10-25 has 02:30 twice, at 00:30 and 01:30 UTC.
    assert times("Europe/Berlin", "2026-10-23T12:00", 4) == ["10-24 00:30", "10-25 00:30", "10-26 01:30", "10-27 01:30"]
    assert times("Europe/Berlin", "2026-10-25T00:30", 1) == ["10-26 01:30"]


def test_the_local_time_stays_the_same_across_clock_changes():
    assert times("America/New_York", "2026-03-06T00:00", 4, local_time="07:00") == [
        *("03-06 12:00", "03-07 12:00"),
        *("03-08 11:00", "03-09 11:00"),  # summer time from the 8th on
    ]
    assert times("Asia/Kolkata", "2026-11-18T01:29", 2, local_time="07:00") == ["11-18 01:30", "11-19 01:30"]
    # Where midnight itself is skipped (Beirut, 2026-03-29), the day still has its report.
    assert times("Asia/Beirut", "2026-03-27T23:00", 3, local_time="00:30") == [
        "03-28 22:30",
        "03-29 21:30",
        "03-30 21:30",
    ]


def test_weekly_and_monthly_schedules_run_on_their_day():
    weekly = {"frequency": "weekly", "weekday": 0, "local_time": "08:00"}
    assert times("UTC", "2026-11-18T00:00", 2, **weekly) == ["11-23 08:00", "11-30 08:00"]
    monthly = {"frequency": "monthly", "day": 31, "local_time": "08:00"}
    assert times("UTC", "2026-01-31T08:00", 3, **monthly) == ["02-28 08:00", "03-31 08:00", "04-30 08:00"]


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("today", "2026-03-01", "2026-03-01"),
        ("yesterday", "2026-02-28", "2026-02-28"),
        ("this_week", "2026-02-23", "2026-03-01"),
        ("last_week", "2026-02-16", "2026-02-22"),
        ("this_month", "2026-03-01", "2026-03-31"),
        ("last_month", "2026-02-01", "2026-02-28"),
        ("last_365_days", "2025-03-02", "2026-03-01"),
    ],
)
def test_relative_periods_have_the_expected_dates(period, first, last):
    sunday = datetime(2026, 3, 1, tzinfo=UTC).date()

    assert tuple(map(str, PERIODS[period](sunday))) == (first, last)


def test_periods_are_valid_on_every_day_of_a_common_and_a_leap_year():
    for number in range(date(2027, 1, 1).toordinal(), date(2029, 1, 1).toordinal()):
        day = date.fromordinal(number)
        first, last = PERIODS["this_month"](day)
        assert (first, last) == (day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1]))
        year, month = (day.year, day.month - 1) if day.month > 1 else (day.year - 1, 12)
        assert PERIODS["last_month"](day) == (date(year, month, 1), date(year, month, monthrange(year, month)[1]))
        monday, sunday = PERIODS["this_week"](day)
        assert (monday.weekday(), sunday - monday, monday <= day <= sunday) == (0, timedelta(days=6), True)
        assert PERIODS["last_week"](day) == (monday - timedelta(days=7), monday - timedelta(days=1))


@pytest.fixture
def due(school, monkeypatch):
    """A maker of schedules that are due."""

    def make(who=None, **fields):
        who = who or school.admin
        body = {
            "name": "Register",
            "kind": "attendance_register",
            "format": "pdf",
            "parameters": {"group_id": school.group_id, "period": "last_month"},
            "frequency": "daily",
            "local_time": "07:30",
            "recipient_ids": [str(school.trainer.user_id)],
            **fields,
        }
        return who.made("/api/report-schedules/", body)

    return make


def run_beat(school, schedule, days=1):
    """Run a schedule when it is due; return how many reports were requested in this organization."""
    before = len(school.admin.get("/api/reports/?limit=200").json["items"])
    at = datetime.fromisoformat(schedule["next_at"]) + timedelta(days=days - 1, minutes=1)
    with school.tenant.app.app_context():
        make_due(school.tenant.app.extensions["campshub"], at)
    return len(school.admin.get("/api/reports/?limit=200").json["items"]) - before


@pytest.fixture
def trainers_emails(school):
    """Return the e-mails that were sent to the organization's trainer so far."""
    folder = school.tenant.app.extensions["campshub"].settings.mail_folder
    recipient = school.trainer.get("/api/me/").json["email"]
    return lambda: emails_in(folder, to=recipient)


def test_a_scheduled_report_is_rendered_and_its_link_is_sent(school, due, trainers_emails):
    schedule = due()
    assert run_beat(school, schedule) == 1
    report = school.admin.get("/api/reports/").json["items"][0]

    school.work(report["job_id"])
    school.work_off()

    assert report["schedule_id"] == schedule["id"]
    # As of the schedule's time in the organization's calendar: today or tomorrow, which may be in the next month.
    day = datetime.fromisoformat(schedule["next_at"]).astimezone(ZoneInfo("Asia/Kolkata")).date()
    last = day.replace(day=1) - timedelta(days=1)
    assert (report["parameters"]["from"], report["parameters"]["to"]) == (str(last.replace(day=1)), str(last))
    (message,) = trainers_emails()
    assert message["Subject"] == "Register (Hill Camp)"
    assert not message.is_multipart(), "the file itself is not in it"
    link = path_in(message)
    assert link.startswith("/api/reports/")
    response = Client(school.tenant.app).get(link)
    assert (response.status, response.raw.get_data()[:5]) == (200, b"%PDF-")

    assert school.admin.patch(f"/api/users/{school.trainer.user_id}/", {"role": "client"}).status == 200
    assert Client(school.tenant.app).get(link).status == 404, "it ends with the permission"


def test_two_beats_run_a_schedule_once_and_advance_it(school, due):
    schedule = due()
    app, at = school.tenant.app, datetime.fromisoformat(schedule["next_at"])

    def beat():
        with app.app_context():
            make_due(app.extensions["campshub"], at)

    beats = [threading.Thread(target=beat) for _ in range(6)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()

    items = school.admin.get("/api/reports/").json["items"]
    assert len(items) == 1
    present = school.admin.get(f"/api/report-schedules/{schedule['id']}/").json
    assert datetime.fromisoformat(present["next_at"]) == at + timedelta(days=1)
    assert run_beat(school, present) == 1


def test_missed_times_are_made_up_for_once(school, due):
    schedule = due()

    assert run_beat(school, schedule, days=10) == 1
    assert run_beat(school, schedule, days=10) == 0


def test_a_schedule_is_paused_when_its_author_loses_the_permission(school, due):
    mine = due(who=school.trainer)
    assert school.admin.patch(f"/api/users/{school.trainer.user_id}/", {"status": "disabled"}).status == 200

    assert run_beat(school, mine) == 0
    assert school.admin.get(f"/api/report-schedules/{mine['id']}/").json["is_paused"] is True


def test_a_recipient_without_permission_gets_no_email(school, due, trainers_emails):
    schedule = due()
    assert run_beat(school, schedule) == 1
    report = school.admin.get("/api/reports/").json["items"][0]
    school.work(report["job_id"])
    assert school.admin.patch(f"/api/users/{school.trainer.user_id}/", {"role": "client"}).status == 200

    school.work_off()

    assert trainers_emails() == []


def test_a_paused_schedule_and_a_suspended_organization_run_nothing(school, due, other):
    paused = due(is_paused=True)
    assert run_beat(school, paused) == 0

    schedule = due()
    superadmin = other.the(Role.SUPERADMIN)
    assert superadmin.patch(f"/api/organizations/{school.tenant.id}/", {"status": "suspended"}).status == 200
    with school.tenant.app.app_context():
        make_due(school.tenant.app.extensions["campshub"], datetime.fromisoformat(schedule["next_at"]))
    assert superadmin.patch(f"/api/organizations/{school.tenant.id}/", {"status": "active"}).status == 200

    assert school.admin.get("/api/reports/").json["items"] == []


def test_invalid_schedules_are_refused(school, due, other):
    def pointers(**fields):
        body = {
            "name": "x",
            "kind": "roster",
            "format": "csv",
            "parameters": {"group_id": school.group_id},
            "frequency": "daily",
            "local_time": "07:30",
            "recipient_ids": [],
            **fields,
        }
        return school.admin.post("/api/report-schedules/", body).pointers

    assert pointers(frequency="weekly") == {"/weekday"}
    assert pointers(day=3) == {"/day"}
    assert pointers(local_time="24:00") == {"/local_time"}
    assert pointers(parameters={}) == {"/parameters/group_id"}
    foreign_user = str(other.the(Role.ADMIN).user_id)
    assert pointers(recipient_ids=[str(school.trainer.user_id), foreign_user]) == {"/recipient_ids/1"}


def test_an_invalid_change_is_refused_with_its_pointer(school, due):
    url = f"/api/report-schedules/{due()['id']}/"

    for change, pointer in (({"frequency": "weekly"}, "/weekday"), ({"day": 3}, "/day"), ({"weekday": 0}, "/weekday")):
        response = school.admin.patch(url, change)
        assert (response.status, response.pointers) == (422, {pointer})


def test_a_schedule_can_be_changed_and_deleted_by_its_maker(school, due):
    mine = due(who=school.trainer)
    url = f"/api/report-schedules/{mine['id']}/"

    changed = school.trainer.patch(url, {"frequency": "weekly", "weekday": 2, "local_time": "18:00"}).json
    assert datetime.fromisoformat(changed["next_at"]).strftime("%a %H:%M") == "Wed 12:30"  # 18:00 in India
    assert school.tenant.the(Role.NUTRITIONIST).get(url).status == 404
    assert school.trainer.delete(url).status == 204
    assert school.trainer.get(url).status == 404


def test_the_reports_of_a_deleted_schedule_stay_as_they_are(school, due):
    schedule = due()
    assert run_beat(school, schedule) == 1
    (report,) = school.admin.get("/api/reports/").json["items"]
    school.work(report["job_id"])
    before = school.admin.get(f"/api/reports/{report['id']}/").json

    assert school.admin.delete(f"/api/report-schedules/{schedule['id']}/").status == 204

    after = school.admin.get(f"/api/reports/{report['id']}/").json
    assert after["schedule_id"] is None
    changing = dict.fromkeys(("schedule_id", "download"))  # each link has a new token
    assert {**after, **changing} == {**before, **changing}
    assert school.file(after).startswith(b"%PDF-")


def test_a_report_whose_schedule_is_deleted_while_it_is_rendered_is_ready_and_is_not_sent(
    school, due, trainers_emails, monkeypatch
):
    schedule = due()
    assert run_beat(school, schedule) == 1
    (report,) = school.admin.get("/api/reports/").json["items"]
    write_report = rendering.write_report

    def deleted_meanwhile(*arguments):
        assert school.admin.delete(f"/api/report-schedules/{schedule['id']}/").status == 204
        return write_report(*arguments)

    monkeypatch.setattr(rendering, "write_report", deleted_meanwhile)
    school.work(report["job_id"])
    school.work_off()

    after = school.admin.get(f"/api/reports/{report['id']}/").json
    assert (after["state"], after["schedule_id"]) == ("ready", None)
    assert trainers_emails() == []


def test_a_schedule_deleted_while_it_runs_leaves_one_report_or_none(school, due, sql):
    app = school.tenant.app
    for _ in range(5):
        schedule = due()
        at = datetime.fromisoformat(schedule["next_at"])

        def beat(at=at):
            with app.app_context():
                make_due(app.extensions["campshub"], at)

        def delete(schedule=schedule):
            return Client(app, school.admin.headers).delete(f"/api/report-schedules/{schedule['id']}/").status

        with ThreadPoolExecutor(4) as pool:
            beats = [pool.submit(beat) for _ in range(3)]
            assert pool.submit(delete).result() == 204
            for one in beats:
                one.result()

        reports = school.admin.get("/api/reports/").json["items"]
        assert len(reports) in (0, 1)
        assert [one["schedule_id"] for one in reports] == [None] * len(reports)
        assert sql("SELECT count(*) FROM report_slots WHERE schedule_id = %s", UUID(schedule["id"])) == [(0,)]
        for one in reports:
            school.work(one["job_id"])
            assert school.admin.get(f"/api/reports/{one['id']}/").json["state"] == "ready"
            assert school.admin.delete(f"/api/reports/{one['id']}/").status == 204


def local(schedule, zone):
    return datetime.fromisoformat(schedule["next_at"]).astimezone(ZoneInfo(zone)).strftime("%H:%M")


def test_the_next_time_follows_the_organizations_time_zone(school, due):
    mine, theirs, paused = due(), due(who=school.trainer, local_time="18:00"), due(is_paused=True)
    assert local(mine, "Asia/Kolkata") == "07:30"

    changed = school.admin.patch("/api/organization/", {"time_zone": "America/New_York"})

    assert changed.status == 200
    for who, before, at in (
        (school.admin, mine, "07:30"),
        (school.trainer, theirs, "18:00"),
        (school.admin, paused, "07:30"),
    ):
        after = who.get(f"/api/report-schedules/{before['id']}/").json
        assert (local(after, "America/New_York"), after["version"]) == (at, before["version"] + 1)
        wait = datetime.fromisoformat(after["next_at"]) - datetime.now(UTC)
        assert timedelta(0) < wait <= timedelta(days=1, hours=1)  # the day on which clocks go back has 25 hours
    assert run_beat(school, school.admin.get(f"/api/report-schedules/{mine['id']}/").json) >= 1


def test_other_changes_do_not_move_the_next_time(school, due):
    schedule = due()

    for change in ({"name": "Hill Camp"}, {"time_zone": "Asia/Kolkata"}):
        assert school.admin.patch("/api/organization/", change).status == 200

    assert school.admin.get(f"/api/report-schedules/{schedule['id']}/").json == schedule


def test_a_due_time_runs_once_when_the_time_zone_changes(school, due, sql):
    schedule = due()
    past = "UPDATE report_schedules SET next_at = now() - interval '1 minute' WHERE id = %s RETURNING next_at"
    ((slot,),) = sql(past, schedule["id"])

    assert school.admin.patch("/api/organization/", {"time_zone": "America/New_York"}).status == 200
    assert sql("SELECT next_at FROM report_schedules WHERE id = %s", schedule["id"]) == [(slot,)]

    now = datetime.now(UTC)
    with school.tenant.app.app_context():
        make_due(school.tenant.app.extensions["campshub"], now)
        make_due(school.tenant.app.extensions["campshub"], now)
    assert sql("SELECT slot FROM report_slots WHERE schedule_id = %s", schedule["id"]) == [(slot,)]
    ((next_at,),) = sql("SELECT next_at FROM report_schedules WHERE id = %s", schedule["id"])
    assert next_at.astimezone(ZoneInfo("America/New_York")).strftime("%H:%M") == "07:30"


@pytest.mark.parametrize("how", ["created", "changed"])
def test_a_schedule_written_during_a_time_zone_change_gets_the_new_zone(school, due, stack, database, how):
    schedule = due() if how == "changed" else None
    responses = []

    def write():
        if schedule is None:
            responses.append(due(name="At once"))
        else:
            url = f"/api/report-schedules/{schedule['id']}/"
            responses.append(school.admin.patch(url, {"local_time": "07:30", "weekday": None}).json)

    with stack.primary.connect(database) as connection, connection.transaction():
        connection.execute("UPDATE organizations SET time_zone = 'America/New_York' WHERE id = %s", (school.tenant.id,))
        thread = threading.Thread(target=write)
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with stack.primary.connect(database) as watching:
            until(lambda: watching.execute(waits).fetchone()[0])
    thread.join()

    assert local(responses[0], "America/New_York") == "07:30"
