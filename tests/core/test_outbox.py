"""What is owed after a commit is done at least once, by any number of senders, and given up after five failures."""

import email
import email.policy
import json
import smtplib
import socket
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
from tests.conftest import close, new_place, settings_of

AT = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)
SENDER = "CampsHub <post@camp.example>"


@pytest.fixture
def app(stack, scratch, tmp_path):
    app = create_app(settings_of(stack, scratch, mail_folder=str(tmp_path)))
    yield app
    close(app)


@pytest.fixture
def done(app, monkeypatch):
    """What a job of the test's own was called with; a list of errors to raise may be put in ``fails``."""
    calls = []

    def work(run, *, number):
        calls.append((number, run.id, run.attempt))
        if work.fails:
            raise work.fails.pop(0)

    work.fails, work.calls = [], calls
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    registry.external_job("tests.work")(work)
    return work


@pytest.fixture
def owe(app):
    place = new_place(app)

    def owing(number=1, job="tests.work"):
        with app.app_context(), unit_of_work(organization_id=place.id) as session:
            return enqueue(session, job, number=number)

    return owing


@pytest.fixture
def send(app):
    def sending_due():
        with app.app_context():
            tally = runner.run_due(app.extensions["campshub"])
        return tally.done, tally.failed, tally.dead

    return sending_due


@pytest.fixture
def rows(stack, scratch):
    with stack.primary.connect(scratch) as connection:
        connection.autocommit = True
        yield lambda statement: connection.execute(statement).fetchall()


DUE_NOW = "UPDATE outbox SET available_at = now() WHERE finished_at IS NULL RETURNING 1"


def test_what_is_owed_is_done_once(done, owe, send, rows):
    ids = [owe(number) for number in range(3)]

    assert (send(), send()) == ((3, 0, 0), (0, 0, 0))
    assert done.calls == [(number, id_, 1) for number, id_ in enumerate(ids)]
    assert rows("SELECT count(*) FROM outbox WHERE finished_at IS NOT NULL AND problem IS NULL") == [(3,)]


def test_nothing_is_owed_by_what_was_rolled_back(app, done, send):
    place = new_place(app)
    with pytest.raises(ZeroDivisionError), app.app_context(), unit_of_work(organization_id=place.id) as session:
        enqueue(session, "tests.work", number=1)
        raise ZeroDivisionError

    assert (send(), done.calls) == ((0, 0, 0), [])


def test_many_senders_do_each_once(app, done, owe):
    for number in range(30):
        owe(number)

    def one(_):
        with app.app_context():
            return runner.run_due(app.extensions["campshub"]).done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 30
    assert sorted(number for number, *_ in done.calls) == list(range(30))


def test_a_failure_comes_again_later_and_later_and_is_given_up_after_the_fifth(done, owe, send, rows):
    owe()
    done.fails = [ValueError("what it says is not kept")] * 5
    waits, tallies = [], []
    for _ in range(5):
        tallies.append(send())
        assert send() == (0, 0, 0)  # not due yet
        waits.append(float(rows("SELECT extract(epoch FROM available_at - now()) FROM outbox")[0][0]))
        rows(DUE_NOW)

    assert tallies == [(0, 1, 0)] * 4 + [(0, 0, 1)]
    # With some chance in it, so that what failed together does not come again together.
    assert [
        wait for wait, usual in zip(waits, (30, 120, 480, 1920), strict=False) if not 0.85 < wait / usual < 1.15
    ] == []
    assert any(abs(wait / usual - 1) > 0.001 for wait, usual in zip(waits, (30, 120, 480, 1920), strict=False))
    assert send() == (0, 0, 0)
    assert rows("SELECT problem, died_at IS NULL FROM outbox") == [("ValueError", False)]


def test_what_failed_once_is_done_at_the_second_time(done, owe, send, rows):
    id_ = owe()
    done.fails = [OSError()]

    assert send() == (0, 1, 0)
    rows(DUE_NOW)
    assert send() == (1, 0, 0)
    assert done.calls == [(1, id_, 1), (1, id_, 2)]
    assert rows("SELECT problem FROM outbox") == [(None,)]


def test_a_sender_that_dies_before_it_notes_what_it_did_does_it_twice_and_not_never(app, done, owe, send, rows):
    id_ = owe()
    done.fails = [KeyboardInterrupt()]  # it comes after the effect, as a kill would
    with pytest.raises(KeyboardInterrupt):
        send()
    assert send() == (0, 0, 0)  # it is still claimed
    rows(DUE_NOW)

    assert send() == (1, 0, 0)
    assert [id_ for _, id_, _ in done.calls] == [id_, id_]


def test_what_kills_each_of_its_senders_is_given_up(done, owe, send, rows):
    owe()
    for _ in range(5):
        done.fails = [KeyboardInterrupt()]
        with pytest.raises(KeyboardInterrupt):
            send()
        rows(DUE_NOW)

    assert send() == (0, 0, 1)
    assert len(done.calls) == 5


def test_a_job_that_nobody_knows_is_left_alone(done, owe, send, rows):
    owe(job="tests.of_a_later_version")

    assert send() == (0, 0, 0)
    assert rows("SELECT attempts FROM outbox") == [(0,)]


def test_the_command_says_what_it_did_and_what_is_owed(app, done, owe):
    flask = app.test_cli_runner().invoke
    owe()

    assert flask(args=["jobs", "list"]).output == "tests.work: 1 owed (the oldest for 0 s), 0 given up\n"
    assert json.loads(flask(args=["jobs", "run", "--json"]).stdout) == {"done": 1, "failed": 0, "dead": 0}
    assert flask(args=["jobs", "run"]).exit_code == 0
    assert flask(args=["jobs", "list"]).output == "Nothing is owed.\n"


# E-mail --------------------------------------------------------------------------------------------------------------


def letter(**given):
    return Email(**{"id": new_id(), "to": "asha@example.org", "subject": "Héllo", "text": "Línk\n", "at": AT, **given})


class Received:
    """What an SMTP server of the test's own was handed."""

    def __init__(self):
        self.messages, self.refuses = [], 0

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library's own name
        if self.refuses:
            self.refuses -= 1
            return "451 try again later"
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 taken"


@pytest.fixture
def smtp():
    """A real SMTP server."""
    received = Received()

    def admits(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"post", b"p@ss"), handled=False)

    with socket.create_server(("127.0.0.1", 0)) as taken:  # the library cannot choose one by itself
        received.port = taken.getsockname()[1]
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


def test_a_letter_goes_out_by_smtp(smtp):
    sent = letter(subject="Two\r\nBcc: everyone@example.org")

    SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER).send(sent)

    (message,) = smtp.messages
    assert (message["From"], message["To"], message["Bcc"]) == (SENDER, "asha@example.org", None)
    assert message["Subject"] == "Two Bcc: everyone@example.org"
    assert message["Message-ID"] == f"<{sent.id}@camp.example>"
    assert message.get_content().strip() == "Línk"


def test_a_server_that_refuses_is_asked_again(app, smtp, owe, rows, monkeypatch):
    from campshub.accounts.service import attempts  # noqa: PLC0415

    services = app.extensions["campshub"]
    monkeypatch.setattr(services, "mailer", SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER))
    from campshub.core.security.permissions import Role  # noqa: PLC0415

    address = new_place(app).the(Role.ADMIN).get("/api/me/").json["email"]
    smtp.refuses = 1
    with app.app_context():
        with unit_of_work() as session:
            attempts.enqueue_email(session, services, "accounts.forgot_password", address)
        first = runner.run_due(services)
        rows(DUE_NOW)
        second = runner.run_due(services)

    assert (first.failed, second.done, len(smtp.messages)) == (1, 1, 1)
    assert smtp.messages[0]["To"] == address


class Failing:
    """A mailer whose server is away for so many letters."""

    def __init__(self, *errors):
        self.errors, self.tried = list(errors), 0

    def send(self, letter):
        self.tried += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_server_that_is_away_is_left_alone_and_its_letters_are_not_given_up(app, owe, send, rows, monkeypatch):
    mailer = Failing(*[ConnectionRefusedError()] * 3)
    guarded = GuardedMailer(mailer)
    kinds_before = dict(registry._kinds)
    monkeypatch.setattr(registry, "_kinds", kinds_before)
    registry.external_job("tests.work")(lambda run, *, number: guarded.send(letter()))
    owe()
    for _ in range(7):
        assert send() == (0, 1, 0)
        rows(DUE_NOW)

    assert mailer.tried == 3  # and then it was left alone
    assert rows("SELECT attempts, died_at FROM outbox") == [(3, None)]


def test_a_letter_that_is_refused_for_itself_does_not_hold_up_others():
    refused = smtplib.SMTPRecipientsRefused({"asha@example.org": (550, b"nobody here")})
    guarded = GuardedMailer(Failing(*[refused] * 5))
    for _ in range(5):
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            guarded.send(letter())
    guarded.send(letter())


def test_a_wrong_password_of_ours_is_an_error_and_no_letter(smtp):
    with pytest.raises(OSError, match="535"):
        SmtpMailer(f"smtp://post:wrong@127.0.0.1:{smtp.port}", SENDER).send(letter())

    assert smtp.messages == []


def test_a_password_is_not_sent_readable_over_a_network(smtp, monkeypatch):
    monkeypatch.setattr("campshub.core.mail._LOOPBACK", frozenset())

    with pytest.raises(MailRefused):
        SmtpMailer(f"smtp://post:p%40ss@127.0.0.1:{smtp.port}", SENDER).send(letter())


@pytest.mark.parametrize("url", ["http://x", "smtp://", "x", "mailto:a@b.c"])
def test_an_address_of_no_server_stops_the_start(stack, database, url):
    with pytest.raises(SettingsError, match="SMTP_URL"):
        settings_of(stack, database, smtp_url=url)


def test_without_a_server_letters_are_files_for_their_owner_alone(settings, tmp_path):
    mailer = mailer_of(settings.model_copy(update={"mail_folder": str(tmp_path / "mail")}))
    sent = letter()

    mailer.send(sent)
    mailer.send(sent)

    assert isinstance(mailer, FileMailer)
    (file,) = (tmp_path / "mail").iterdir()
    assert file.name == f"{sent.id}.eml"
    assert file.stat().st_mode & 0o077 == 0
    assert email.message_from_bytes(file.read_bytes(), policy=email.policy.default)["Subject"] == "Héllo"
