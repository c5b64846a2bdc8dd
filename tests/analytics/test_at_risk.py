"""Students at risk by each rule, and the alerts that follow."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from campshub.analytics.service import alerts
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import schedule
from campshub.core.jobs.runner import Outcome, run_one
from campshub.core.security.permissions import Role
from tests.analytics.conftest import LONG_AGO
from tests.analytics.test_figures import refresh_rollups
from tests.dates import today
from tests.emails import emails_in

URL, ALERTS = "/api/attendance/at-risk/", "/api/attendance/alerts/"


@pytest.fixture
def rules(api):
    """Return a function that sets the organization's rules."""

    def set_rules(**given):
        response = api.patch("/api/organization/", {f"at_risk_{name}": value for name, value in given.items()})
        assert response.status == 200, response.raw.text

    return set_rules


@pytest.fixture
def scan(app, tenant):
    """Return a function that scans the organization, at this moment."""

    def run(now=None):
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            return alerts.scan(session, tenant.id, now=now or datetime.now(UTC))

    return run


def reasons(who, query=""):
    response = who.get(f"{URL}?{query}")
    assert response.status == 200, response.raw.text
    return {row["student_id"]: {r["rule"]: r["value"] for r in row["reasons"]} for row in response.json["items"]}


def test_no_one_is_at_risk_while_all_rules_are_off(course):
    group = course(1)
    group.history(*["absent"] * 5)

    assert reasons(group.admin) == {}


def test_each_rule_finds_the_students_that_meet_it(app, tenant, course, rules):
    group = course(3)
    group.history("present", "absent", "absent", student=0)
    group.history("absent", "present", "present", student=1)
    rules(absences=2)
    for _ in range(2):  # from the marks, and from the rollup
        assert reasons(group.admin) == {group.students[0]: {"absences": 2}}
        rules(absences=3)
        assert reasons(group.admin) == {}
        rules(rate=50)
        assert reasons(group.admin) == {group.students[0]: {"rate": 33}}
        rules(rate=33)
        assert reasons(group.admin) == {}  # 33.3 per cent are not below 33
        rules(rate=None, days_away=2)
        assert reasons(group.admin) == {group.students[0]: {"days_away": 2}, group.students[2]: {"days_away": None}}
        rules(days_away=None, absences=2)
        refresh_rollups(app, tenant)


def test_the_rate_is_of_this_week_and_of_whole_weeks_before_it(course, rules):
    group = course(1)
    monday = today() - timedelta(days=today().weekday())
    group.history("present", until=today())
    for back in (7, 14, 15):  # Mondays, and the Sunday before the second one
        group.mark(group.session(monday - timedelta(days=back)), "absent")

    for weeks, value in ((1, 50), (2, 33), (3, 25), (12, 25)):
        rules(rate=100, weeks=weeks)
        assert reasons(group.admin) == {group.students[0]: {"rate": value}}, weeks


def test_absences_in_a_row_continue_across_months_and_groups(app, tenant, course, enrol, rules):
    group, second = course(1), course(0)
    enrol(second.id, group.students[0])
    second.students = group.students
    first_of_month = today().replace(day=1)
    for back in (70, 40, 2):
        day = first_of_month - timedelta(days=back)
        (group if back != 40 else second).history("absent", until=day)
    rules(absences=3)

    for _ in range(2):
        assert reasons(group.admin) == {group.students[0]: {"absences": 3}}
        refresh_rollups(app, tenant)
    group.mark(group.session(first_of_month - timedelta(days=1)), "excused")
    assert reasons(group.admin) == {group.students[0]: {"absences": 3}}
    second.mark(second.session(first_of_month - timedelta(days=1)), "present")
    assert reasons(group.admin) == {}


def test_a_new_time_of_a_session_changes_the_order_of_its_outcomes(app, tenant, course, rules):
    group = course(1)
    morning, noon, evening = (group.session(today() - timedelta(days=1), hour) for hour in (8, 12, 18))
    group.mark(morning, "present")
    group.mark(noon, "absent")
    group.mark(evening, "absent")
    rules(absences=2)
    refresh_rollups(app, tenant)
    assert reasons(group.admin) == {group.students[0]: {"absences": 2}}

    later = datetime.combine(today() - timedelta(days=1), datetime.min.time()).replace(hour=20)
    moved = group.admin.patch(f"/api/attendance/sessions/{morning}/", {"starts_at": f"{later.isoformat()}+05:30"})

    assert moved.status == 200, moved.raw.text
    assert reasons(group.admin) == {}
    refresh_rollups(app, tenant)
    assert reasons(group.admin) == {}


def test_students_who_are_new_inactive_or_left_are_not_at_risk(course, rules):
    group = course(4)
    new, inactive, left, away = group.students
    changes = {
        new: {"joined_on": str(today() - timedelta(days=3))},
        inactive: {"status": "inactive"},
        left: {"left_on": str(today() - timedelta(days=1))},
    }
    for student, change in changes.items():
        assert group.admin.patch(f"/api/students/{student}/", change).status == 200
    rules(days_away=14)

    assert reasons(group.admin) == {away: {"days_away": None}}


def test_trainers_see_their_students_and_clients_themselves(course, client, rules):
    mine, other = course(2), course(1)
    for group in (mine, other):
        group.history("absent", "absent")
    rules(absences=2, days_away=30)
    me = client(mine.students[0])

    assert reasons(mine.admin).keys() == {*mine.students, *other.students}
    assert reasons(mine.trainer).keys() == set(mine.students)
    assert reasons(me).keys() == {mine.students[0]}
    assert reasons(mine.admin, f"group_id={other.id}").keys() == set(other.students)
    assert reasons(mine.admin, "rule=absences").keys() == {mine.students[0], other.students[0]}
    assert mine.trainer.get(f"{URL}?group_id={other.id}").status == 404


def test_pages_of_the_list_do_not_overlap(course, rules):
    group = course(3)
    rules(days_away=2)

    first = group.admin.get(f"{URL}?limit=2").json
    second = group.admin.get(f"{URL}?limit=2&cursor={first['next_cursor']}").json

    assert [row["student_id"] for row in (*first["items"], *second["items"])] == group.students


def test_rules_outside_their_bounds_are_refused(api):
    for name, value in (("rate", 0), ("weeks", 13), ("weeks", None), ("absences", 1), ("days_away", 91)):
        assert api.patch("/api/organization/", {f"at_risk_{name}": value}).pointers == {f"/at_risk_{name}"}


# Alerts ---------------------------------------------------------------------------------------------------------------


def test_an_alert_is_raised_once_and_resolved_when_its_rule_is_no_longer_met(course, rules, scan):
    group = course(2)
    group.history("absent", "absent")
    rules(absences=2)

    assert scan() == alerts.Scan(raised=1, resolved=0)
    assert scan() == alerts.Scan(raised=0, resolved=0)
    (alert,) = group.admin.get(f"{ALERTS}?open=true").json["items"]
    assert (alert["student_id"], alert["rule"], alert["value"]) == (group.students[0], "absences", 2)
    group.mark(group.session(today(), 23), "present")
    assert scan() == alerts.Scan(raised=0, resolved=1)
    assert group.admin.get(f"{ALERTS}?open=true").json["items"] == []
    (resolved,) = group.admin.get(f"{ALERTS}?student_id={group.students[0]}").json["items"]
    assert resolved["resolved_at"] is not None


def test_two_scans_at_once_raise_each_alert_once(app, course, rules, scan, sql, tenant):
    group = course(6)
    rules(days_away=2)

    with ThreadPoolExecutor(4) as pool:
        results = [one.result() for one in [pool.submit(scan) for _ in range(4)]]

    assert sum(one.raised for one in results) == 6
    assert len(group.admin.get(ALERTS).json["items"]) == 6
    jobs = sql(
        "SELECT arguments->>'user_id', arguments->>'raised_at' FROM outbox"
        " WHERE organization_id = %s AND job = 'analytics.send_digest'",
        tenant.id,
    )
    assert len(jobs) == len(set(jobs)) == 2 * len({at for _, at in jobs})


def test_switching_a_rule_off_resolves_its_alerts(course, rules, scan):
    course(2)
    rules(days_away=2)
    assert scan().raised == 2

    rules(days_away=None)

    assert scan() == alerts.Scan(raised=0, resolved=2)


def test_staff_are_notified_of_each_new_alert_once(app, tenant, course, rules, sql):
    group, other = course(1), course(1)
    services = app.extensions["campshub"]
    rules(days_away=2)

    def run_all():
        """Run the jobs of the organization, until there are none."""
        while waiting := sql(
            "SELECT id FROM outbox WHERE organization_id = %s AND finished_at IS NULL AND job LIKE 'analytics.%%'",
            tenant.id,
        ):
            for (message_id,) in waiting:
                with app.app_context():
                    assert run_one(services, tenant.id, message_id) is Outcome.DONE

    for _ in range(2):
        with app.app_context():
            from campshub.analytics import tasks  # noqa: PLC0415 - modules are loaded by the application

            tasks.scan_due(None)
        run_all()

    folder = services.settings.mail_folder
    sent = {
        who: emails_in(folder, to=client.get("/api/me/").json["email"])
        for who, client in (("admin", group.admin), ("trainer", group.trainer), ("other", other.trainer))
    }
    one, two = "1 new attendance alert (Hill Camp)", "2 new attendance alerts (Hill Camp)"
    subjects = {who: [email["Subject"] for email in found] for who, found in sent.items()}
    assert subjects == {"admin": [two], "trainer": [one], "other": [one]}
    (email,) = sent["trainer"]
    assert "- 1: the last visit was long ago" in email.get_content()
    assert "N0" not in email.get_content()
    course(1)  # a third student: the next e-mail is only about them
    with app.app_context():
        tasks.scan_due(None)
    run_all()
    emails = emails_in(folder, to=group.admin.get("/api/me/").json["email"])
    assert [email["Subject"] for email in emails] == [two, one]


def test_the_first_acknowledgement_of_an_alert_stays(course, rules, scan):
    group, other = course(1), course(1)
    rules(days_away=2)
    scan()
    (alert,) = group.admin.get(f"{ALERTS}?student_id={group.students[0]}").json["items"]
    url = f"{ALERTS}{alert['id']}/acknowledge/"

    first = group.trainer.post(url)
    second = group.admin.post(url)

    assert (first.status, second.status) == (200, 200)
    assert first.json["acknowledged_by"] == second.json["acknowledged_by"] == str(group.trainer.user_id)
    assert other.trainer.post(url).status == 404
    assert len(group.admin.get(f"{ALERTS}?acknowledged=true").json["items"]) == 1
    assert len(group.admin.get(f"{ALERTS}?acknowledged=false").json["items"]) == 1
    key = group.tenant.signed_in(group.admin).made(
        "/api/api-keys/",
        {"name": "Desk", "permissions": ["attendance:mark", "attendance:read"], "scope": "all", "expires_in_days": 9},
    )
    with_key = type(group.admin)(group.admin.app, {"Authorization": f"Bearer {key['key']}"})
    assert with_key.post(url).status == 403


def test_trainers_see_alerts_of_their_students_and_clients_see_none(course, client, rules, scan, tenant):
    mine, other = course(1), course(1)
    rules(days_away=2)
    scan()

    assert [row["student_id"] for row in mine.trainer.get(ALERTS).json["items"]] == mine.students
    assert client(mine.students[0]).get(ALERTS).json["items"] == []
    assert tenant.the(Role.NUTRITIONIST).get(ALERTS).status == 403
    assert len(other.admin.get(ALERTS).json["items"]) == 2


def test_the_scan_is_on_the_schedule(app):
    assert today() > LONG_AGO
    assert schedule.find("analytics.scan_due") is not None
