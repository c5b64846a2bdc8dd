"""A job enqueued by a commit runs at least once, with any number of senders, and is given up after five failures."""

import json
import smtplib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from campshub.app import create_app
from campshub.config import SettingsError
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import registry, runner
from campshub.core.jobs.store import enqueue
from campshub.core.mail import Email, FileMailer, GuardedMailer, MailRefused, SmtpMailer, mailer_of
from devstack import ports
from tests.conftest import close, new_tenant, settings_of
from tests.emails import parse

AT = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)
SENDER = "CampsHub <post@camp.example>"


@pytest.fixture
def app(stack, scratch, tmp_path):
    app = create_app(settings_of(stack, scratch, mail_folder=str(tmp_path)))
    yield app
    close(app)


@pytest.fixture
def done(app, monkeypatch):
    """The calls of a test job; ``fails`` takes errors to raise."""
    calls = []

    def work(run, *, number):
        calls.append((number, run.id, run.attempt))
        if work.fails:
            raise work.fails.pop(0)

    work.fails, work.calls = [], calls
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    registry.external_job("tests.work")(work)
    return work


@pytest.fixture
def add_job(app):
    tenant = new_tenant(app)

    def add(number=1, job="tests.work"):
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            return enqueue(session, job, number=number)

    return add


@pytest.fixture
def send(app):
    def run_due():
        with app.app_context():
            tally = runner.run_due(app.extensions["campshub"])
        return tally.done, tally.failed, tally.dead

    return run_due


@pytest.fixture
def sql(scratch_sql):
    return scratch_sql


DUE_NOW = "UPDATE outbox SET available_at = now() WHERE finished_at IS NULL RETURNING 1"


def test_an_enqueued_job_runs_once(done, add_job, send, sql):
    ids = [add_job(number) for number in range(3)]

    assert (send(), send()) == ((3, 0, 0), (0, 0, 0))
    assert done.calls == [(number, id_, 1) for number, id_ in enumerate(ids)]
    assert sql("SELECT count(*) FROM outbox WHERE finished_at IS NOT NULL AND problem IS NULL") == [(3,)]


def test_a_rollback_enqueues_nothing(app, done, send):
    tenant = new_tenant(app)
    with pytest.raises(ZeroDivisionError), app.app_context(), unit_of_work(organization_id=tenant.id) as session:
        enqueue(session, "tests.work", number=1)
        raise ZeroDivisionError

    assert (send(), done.calls) == ((0, 0, 0), [])


def test_many_senders_run_each_job_once(app, done, add_job):
    for number in range(30):
        add_job(number)

    def one(_):
        with app.app_context():
            return runner.run_due(app.extensions["campshub"]).done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 30
    assert sorted(number for number, *_ in done.calls) == list(range(30))


def test_a_failed_job_is_retried_with_growing_delays_and_given_up_after_the_fifth(done, add_job, send, sql):
    add_job()
    done.fails = [ValueError("this message is not stored")] * 5
    waits, tallies = [], []
    for _ in range(5):
        tallies.append(send())
        assert send() == (0, 0, 0)  # not due yet
        waits.append(float(sql("SELECT extract(epoch FROM available_at - now()) FROM outbox")[0][0]))
        sql(DUE_NOW)

    assert tallies == [(0, 1, 0)] * 4 + [(0, 0, 1)]
    # With a random part, so that jobs that failed together do not retry together.
    assert [
        wait for wait, usual in zip(waits, (30, 120, 480, 1920), strict=False) if not 0.85 < wait / usual < 1.15
    ] == []
    assert any(abs(wait / usual - 1) > 0.001 for wait, usual in zip(waits, (30, 120, 480, 1920), strict=False))
    assert send() == (0, 0, 0)
    assert sql("SELECT problem, died_at IS NULL FROM outbox") == [("ValueError", False)]


def test_a_job_that_failed_once_succeeds_at_the_second_attempt(done, add_job, send, sql):
    id_ = add_job()
    done.fails = [OSError()]

    assert send() == (0, 1, 0)
    sql(DUE_NOW)
    assert send() == (1, 0, 0)
    assert done.calls == [(1, id_, 1), (1, id_, 2)]
    assert sql("SELECT problem FROM outbox") == [(None,)]


def test_a_sender_killed_after_the_effect_causes_a_second_run_and_no_loss(app, done, add_job, send, sql):
    id_ = add_job()
    done.fails = [KeyboardInterrupt()]  # after the effect, like a kill
    with pytest.raises(KeyboardInterrupt):
        send()
    assert send() == (0, 0, 0)  # still claimed
    sql(DUE_NOW)

    assert send() == (1, 0, 0)
    assert [id_ for _, id_, _ in done.calls] == [id_, id_]


def test_a_job_that_kills_its_senders_is_given_up(done, add_job, send, sql):
    add_job()
    for _ in range(5):
        done.fails = [KeyboardInterrupt()]
        with pytest.raises(KeyboardInterrupt):
            send()
        sql(DUE_NOW)

    assert send() == (0, 0, 1)
    assert len(done.calls) == 5


def test_an_unknown_job_is_skipped(done, add_job, send, sql):
    add_job(job="tests.of_a_later_version")

    assert send() == (0, 0, 0)
    assert sql("SELECT attempts FROM outbox") == [(0,)]


def test_the_command_reports_what_it_did_and_pending_jobs(app, done, add_job):
    flask = app.test_cli_runner().invoke
    add_job()

    assert flask(args=["jobs", "list"]).output == "tests.work: 1 pending (the oldest for 0 s), 0 given up\n"
    assert json.loads(flask(args=["jobs", "run", "--json"]).stdout) == {"done": 1, "failed": 0, "dead": 0}
    assert flask(args=["jobs", "run"]).exit_code == 0
    assert flask(args=["jobs", "list"]).output == "Nothing is pending.\n"


# Email ----------------------------------------------------------------------------------------------------------------


def an_email(**given):
    return Email(**{"id": new_id(), "to": "asha@example.org", "subject": "Héllo", "text": "Línk\n", "at": AT, **given})


class Received:
    """The messages that an SMTP server of the test has received."""

    def __init__(self):
        self.messages, self.refuses = [], 0

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library's own name
        if self.refuses:
            self.refuses -= 1
            return "451 try again later"
        self.messages.append(parse(envelope.content))
        return "250 taken"


@pytest.fixture
def smtp():
    """A real SMTP server."""
    received = Received()

    def admits(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"post", b"p@ss"), handled=False)

    received.port = ports.unused()  # aiosmtpd cannot choose one
    controller = Controller(
        received,
        hostname="127.0.0.1",
        port=received.port,
        authenticator=admits,
        auth_require_tls=False,
    )
    controller.start()
    yield received
    controller.stop()


def test_an_email_is_sent_by_smtp(smtp):
    sent = an_email(subject="Two\r\nBcc: everyone@example.org")

    SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER).send(sent)

    (message,) = smtp.messages
    assert (message["From"], message["To"], message["Bcc"]) == (SENDER, "asha@example.org", None)
    assert message["Subject"] == "Two Bcc: everyone@example.org"
    assert message["Message-ID"] == f"<{sent.id}@camp.example>"
    assert message.get_content().strip() == "Línk"


def test_a_refused_email_is_retried(app, smtp, add_job, sql, monkeypatch):
    from campshub.accounts.service import attempts  # noqa: PLC0415

    services = app.extensions["campshub"]
    monkeypatch.setattr(services, "mailer", SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER))
    from campshub.core.security.permissions import Role  # noqa: PLC0415

    address = new_tenant(app).the(Role.ADMIN).get("/api/me/").json["email"]
    smtp.refuses = 1
    with app.app_context():
        with unit_of_work() as session:
            attempts.enqueue_email(session, services, "accounts.forgot_password", address)
        first = runner.run_due(services)
        sql(DUE_NOW)
        second = runner.run_due(services)

    assert (first.failed, second.done, len(smtp.messages)) == (1, 1, 1)
    assert smtp.messages[0]["To"] == address


class Failing:
    """A mailer whose server is unavailable for a number of emails."""

    def __init__(self, *errors):
        self.errors, self.tried = list(errors), 0

    def send(self, email):
        self.tried += 1
        if self.errors:
            raise self.errors.pop(0)


def test_an_unavailable_server_is_skipped_and_its_emails_are_not_given_up(app, add_job, send, sql, monkeypatch):
    mailer = Failing(*[ConnectionRefusedError()] * 3)
    guarded = GuardedMailer(mailer)
    kinds_before = dict(registry._definitions)
    monkeypatch.setattr(registry, "_definitions", kinds_before)
    registry.external_job("tests.work")(lambda run, *, number: guarded.send(an_email()))
    add_job()
    for _ in range(7):
        assert send() == (0, 1, 0)
        sql(DUE_NOW)

    assert mailer.tried == 3  # and then the breaker opened
    assert sql("SELECT attempts, died_at FROM outbox") == [(3, None)]


def test_an_email_refused_for_its_own_reason_does_not_delay_others():
    refused = smtplib.SMTPRecipientsRefused({"asha@example.org": (550, b"unknown recipient")})
    guarded = GuardedMailer(Failing(*[refused] * 5))
    for _ in range(5):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            guarded.send(an_email())
    guarded.send(an_email())


def test_a_wrong_smtp_password_is_an_error_and_not_a_refused_email(smtp):
    with pytest.raises(OSError, match="535"):
        SmtpMailer(f"smtp://post:wrong@127.0.0.1:{smtp.port}", SENDER).send(an_email())

    assert smtp.messages == []


def test_a_password_is_not_sent_unencrypted_over_a_network(smtp, monkeypatch):
    monkeypatch.setattr("campshub.core.mail._LOOPBACK", frozenset())

    with pytest.raises(MailRefused):
        SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER).send(an_email())


@pytest.mark.parametrize("url", ["http://x", "smtp://", "x", "mailto:a@b.c"])
def test_an_invalid_mail_url_stops_the_start(stack, database, url):
    with pytest.raises(SettingsError, match="SMTP_URL"):
        settings_of(stack, database, smtp_url=url)


def test_without_a_server_emails_are_files_readable_only_by_their_owner(settings, tmp_path):
    mailer = mailer_of(settings.model_copy(update={"mail_folder": str(tmp_path / "mail")}))
    sent = an_email()

    mailer.send(sent)
    mailer.send(sent)

    assert isinstance(mailer, FileMailer)
    (file,) = (tmp_path / "mail").iterdir()  # also no temporary file
    assert file.name == f"{sent.id}.eml"
    assert file.stat().st_mode & 0o077 == 0
    assert parse(file.read_bytes())["Subject"] == "Héllo"
