"""E-mail: one small interface, over SMTP, or as files in a folder if no server is configured (for development)."""

import re
import smtplib
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from campshub.config import Settings
from campshub.core.circuit_breaker import CircuitBreaker, CircuitOpen
from campshub.core.observe import metrics

TIMEOUT_S = 30
# After this number of consecutive failures, no email is sent for PAUSE_S seconds.
FAILURES, PAUSE_S = 3, 30.0
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class MailRefused(Exception):
    """The email must not be sent; the message gives the reason."""


@dataclass(frozen=True)
class Email:
    """One email. Its id is that of the event that it reports: sent twice, it is the same email."""

    id: UUID
    to: str
    subject: str
    text: str
    at: datetime


class Mailer(Protocol):
    """The interface of mailers."""

    def send(self, email: Email) -> None:
        """Send an email; if this raises no error, the email is sent."""

    def check(self) -> None:
        """Check that emails can be sent, without sending one.

        :raises OSError: sending would fail; smtplib's errors are of this class.
        :raises MailRefused: the password would be sent unencrypted.
        """


def mailer_of(settings: Settings) -> Mailer:
    """Return the mailer that the settings configure; an SMTP server gets a circuit breaker."""
    if settings.smtp_url:
        return GuardedMailer(SmtpMailer(settings.smtp_url, settings.mail_from))
    return FileMailer(Path(settings.mail_folder), settings.mail_from)


class GuardedMailer:
    """A circuit breaker before a mailer, so that emails do not wait for a server that has failed several times."""

    def __init__(self, mailer: Mailer) -> None:
        self.mailer = mailer
        changed = metrics.breaker_open.labels("mail").set
        self._breaker = CircuitBreaker(PAUSE_S, FAILURES, name="mail", changed=changed)

    def send(self, email: Email) -> None:
        """Send an email.

        :raises CircuitOpen: the server has failed, and the pause has not ended.
        """
        if not self._breaker.allows():
            raise CircuitOpen("mail", PAUSE_S)
        try:
            self.mailer.send(email)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):  # the fault of this email, not of the server
            self._breaker.succeeded()
            raise
        except OSError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()

    def check(self) -> None:
        """Connect and sign in, regardless of earlier failures."""
        self.mailer.check()


class FileMailer:
    """Writes each email to a file in a folder."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder, self._sender = folder, sender

    def check(self) -> None:
        """Write a file and remove it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder):
            pass

    def send(self, email: Email) -> None:
        """Write an email atomically; only the owner of the file can read it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{email.id}.new"
        temporary.touch(mode=0o600)
        temporary.write_bytes(_message(email, self._sender).as_bytes())
        temporary.replace(self._folder / f"{email.id}.eml")


class SmtpMailer:
    """Sends emails to an SMTP server: ``smtp://user:password@host:587`` or ``smtps://...:465``.

    With ``smtp`` the connection is encrypted if the server offers it. A password is never sent over an unencrypted
    connection, except to this machine.
    """

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._is_tls = parts.scheme == "smtps"
        self._sender = sender

    def send(self, email: Email) -> None:
        """Send an email.

        :raises MailRefused: the password would be sent unencrypted.
        """
        with self._signed_in() as server:
            server.send_message(_message(email, self._sender))
            server.quit()

    def check(self) -> None:
        """Connect and sign in."""
        with self._signed_in() as server:
            server.quit()

    @contextmanager
    def _signed_in(self) -> Iterator[smtplib.SMTP]:
        context = ssl.create_default_context()
        opened = (
            smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=context)
            if self._is_tls
            else smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
        )
        with closing(opened) as server:
            self._sign_in(server, context)
            yield server

    def _sign_in(self, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
        server.ehlo()
        if not self._is_tls and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif self._user and not self._is_tls and self._host not in _LOOPBACK:
            raise MailRefused("the SMTP server offers no encryption, so the password is not sent")
        if self._user:
            server.login(self._user, self._password)


def _message(email: Email, sender: str) -> EmailMessage:
    name, address = parseaddr(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=email.to)
    message["Subject"] = _CONTROL.sub(" ", email.subject)
    message["Date"] = format_datetime(email.at)
    message["Message-ID"] = f"<{email.id}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(email.text)
    return message
