"""Alerts to registers that are not taken in time, and notices of absences to guardians."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from campshub.app import create_app
from campshub.attendance.service import absence_notices, register_alerts
from campshub.core.db.models import new_id
from campshub.core.jobs.runner import run_due
from campshub.core.security.permissions import Role
from tests.conftest import close, settings_of
from tests.emails import emails_in

ORGANIZATION = "/api/organization/"
# In India 10:30 to 11:30, on the date of UTC.
STARTS = datetime.now(UTC).replace(hour=5, minute=0, second=0, microsecond=0)


@pytest.fixture
def mailing(stack, database, tmp_path):
    """An application that writes e-mails into a folder."""
    app = create_app(settings_of(stack, database, mail_folder=str(tmp_path)))
    app.folder = tmp_path
    yield app
    close(app)


@pytest.fixture
def alerted(api, late, mailing):
    """Return a function that lists the recipients of the e-mails so far: the trainer and the admin of this test.

    The jobs act for all organizations of the database, also for those of other tests.
    """
    own = {email_of(api), email_of(late.trainer)}
    return lambda: sorted(message["To"] for message in emails_in(mailing.folder) if message["To"] in own)


@pytest.fixture
def alert(mailing, alerted):
    """Return a function that runs the job at a point in time, and returns the recipients so far."""

    def run(now):
        with mailing.app_context():
            register_alerts.alert_registers(now)
            run_due(mailing.extensions["campshub"])
        return alerted()

    return run


@pytest.fixture
def guardian():
    """The e-mail address of a guardian, which no other test has."""
    return f"{new_id().hex}@example.org"


@pytest.fixture
def notify(mailing, guardian):
    """Return a function that runs the job so many minutes from now, and returns the e-mails to the guardian."""

    def notified(minutes):
        with mailing.app_context():
            absence_notices.notify(datetime.now(UTC) + timedelta(minutes=minutes))
            run_due(mailing.extensions["campshub"])
        return [message["Subject"] for message in emails_in(mailing.folder, to=guardian)]

    return notified


@pytest.fixture
def late(tenant, a_class):
    """Return a class with a trainer, whose session has started."""
    trainer = tenant.someone(Role.TRAINER)
    return a_class(1, trainer=trainer, on=STARTS.date(), starts_at=STARTS.isoformat())


def email_of(client):
    return client.get("/api/me/").json["email"]


def minutes(count):
    return STARTS + timedelta(minutes=count)


def test_trainers_and_then_admins_are_alerted_once_each(api, late, alert, mailing):
    trainer, admin = email_of(late.trainer), email_of(api)
    api.patch(ORGANIZATION, {"register_alert_after_minutes": 15, "register_alert_admins_after_minutes": 30})

    assert alert(minutes(14)) == []
    assert alert(minutes(15)) == [trainer]
    assert alert(minutes(44)) == [trainer]
    assert alert(minutes(45)) == sorted([trainer, admin])
    assert alert(minutes(90)) == sorted([trainer, admin])
    text = emails_in(mailing.folder, to=trainer)[0].get_content()
    assert "Blue" in text
    assert "10:30" in text


def test_an_alert_is_resolved_when_the_register_is_taken(api, late, alert, sql, tenant):
    api.patch(ORGANIZATION, {"register_alert_after_minutes": 15, "register_alert_admins_after_minutes": 30})
    sent = alert(minutes(20))
    late.mark("present")

    assert alert(minutes(60)) == sent
    resolved = "SELECT resolved_at IS NOT NULL, admins_at FROM register_alerts WHERE organization_id = %s"
    assert sql(resolved, tenant.id) == [(True, None)]


@pytest.mark.parametrize("change", ["mark", "cancel", "off"])
def test_no_alert_without_a_reason(api, late, alert, change):
    api.patch(ORGANIZATION, {"register_alert_after_minutes": None if change == "off" else 15})
    if change == "mark":
        late.mark("present")
    if change == "cancel":
        api.patch(late.url, {"status": "cancelled"})
    assert alert(minutes(60)) == []


def test_a_session_of_long_ago_is_not_alerted_to(api, late, alert):
    api.patch(ORGANIZATION, {"register_alert_after_minutes": 15})
    assert alert(minutes(15 + 24 * 60)) == []


def test_a_register_taken_before_the_email_is_sent_sends_none(api, late, mailing, alerted):
    api.patch(ORGANIZATION, {"register_alert_after_minutes": 15})
    with mailing.app_context():
        register_alerts.alert_registers(minutes(20))
        late.mark("present")
        run_due(mailing.extensions["campshub"])
    assert alerted() == []


def test_two_runs_at_once_alert_once(api, late, mailing, alert):
    api.patch(ORGANIZATION, {"register_alert_after_minutes": 15})
    gate = threading.Barrier(4)

    def run():
        gate.wait()
        with mailing.app_context():
            register_alerts.alert_registers(minutes(20))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alert(minutes(21)) == [email_of(late.trainer)]


@pytest.fixture
def absent(api, a_class, guardian):
    """Return a class of one absent student with two guardians, one of whom has an address."""
    roster = a_class(1)
    guardians = [{"name": "Asha Rao", "email": guardian}, {"name": "Ravi Rao", "phone": "1"}]
    response = api.patch(f"/api/students/{roster.students[0]}/", {"guardians": guardians})
    assert response.status == 200
    roster.mark("absent")
    return roster


def test_guardians_are_notified_once_after_the_delay(api, absent, notify, mailing, guardian):
    api.patch(ORGANIZATION, {"absence_notice_after_minutes": 30})

    assert notify(0) == []
    assert notify(29) == []
    assert notify(31) == ["Absence of N0000 Rao (Hill Camp)"]
    assert notify(60) == ["Absence of N0000 Rao (Hill Camp)"]
    assert "absent from Blue" in emails_in(mailing.folder, to=guardian)[0].get_content()


def test_a_guardian_who_wants_no_notifications_gets_none(api, absent, notify):
    url = f"/api/students/{absent.students[0]}/guardians/"
    links = [{**link, "receives_notifications": False} for link in api.get(url).json["guardians"]]
    named = ("guardian_id", "receives_notifications")
    api.put(url, {"guardians": [{name: link[name] for name in named} for link in links]})
    api.patch(ORGANIZATION, {"absence_notice_after_minutes": 30})

    notify(0)
    assert notify(31) == []


def test_a_mark_that_is_corrected_in_time_is_no_notice(api, absent, notify):
    api.patch(ORGANIZATION, {"absence_notice_after_minutes": 30})
    notify(0)
    absent.mark("late", overwrite=True)
    assert notify(31) == []
    absent.mark("absent", overwrite=True)
    notify(32)
    assert len(notify(63)) == 1


@pytest.mark.parametrize("code", ["present", "excused", None])
def test_a_notice_is_corrected_once(api, absent, notify, code, today):
    api.patch(ORGANIZATION, {"absence_notice_after_minutes": 30})
    notify(0)
    assert len(notify(31)) == 1
    if code is None:
        mark = api.get(absent.records).json["items"][0]["mark"]
        api.delete(f"/api/attendance/records/{mark['id']}/?on={today}")
    else:
        absent.mark(code, overwrite=True)

    assert notify(32)[1:] == ["Correction: N0000 Rao (Hill Camp)"]
    absent.mark("absent", overwrite=True)
    assert len(notify(90)) == 2


def test_nothing_is_sent_without_the_setting_or_for_old_marks(api, absent, notify, sql, tenant):
    assert notify(60) == []
    api.patch(ORGANIZATION, {"absence_notice_after_minutes": 30})
    assert notify(30 + 6 * 60 + 1) == []
    assert sql("SELECT count(*) FROM absence_notices WHERE organization_id = %s", tenant.id) == [(0,)]
