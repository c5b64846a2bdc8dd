"""E-mail: one small interface, over SMTP, or as files in a folder where no server is named (for development)."""

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
# After so many failures in a row the server is left alone for so long.
FAILURES, PAUSE_S = 3, 30.0
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class MailRefused(Exception):
    """The letter must not be sent like this; the message says why."""


@dataclass(frozen=True)
class Email:
    """One e-mail. Its id is that of the event that it tells of: sent twice, it is the same letter."""

    id: UUID
    to: str
    subject: str
    text: str
    at: datetime


class Mailer(Protocol):
    """What sends letters."""

    def send(self, letter: Email) -> None:
        """Send a letter; whoever is told nothing may take it for sent."""

    def check(self) -> None:
        """Try what sending needs, without sending anything.

        :raises OSError: it would fail; smtplib's errors are of this class.
        :raises MailRefused: the password would be readable on its way.
        """


def mailer_of(settings: Settings) -> Mailer:
    """Return what the settings name; a server that is away is left alone for a while."""
    if settings.smtp_url:
        return GuardedMailer(SmtpMailer(settings.smtp_url, settings.mail_from))
    return FileMailer(Path(settings.mail_folder), settings.mail_from)


class GuardedMailer:
    """Leaves a server alone that has failed several times in a row, so that letters do not queue up before it."""

    def __init__(self, mailer: Mailer) -> None:
        self.mailer = mailer
        changed = metrics.breaker_open.labels("mail").set
        self._breaker = CircuitBreaker(PAUSE_S, FAILURES, name="mail", changed=changed)

    def send(self, letter: Email) -> None:
        """Send a letter.

        :raises CircuitOpen: the server is left alone for now.
        """
        if not self._breaker.allows():
            raise CircuitOpen("mail", PAUSE_S)
        try:
            self.mailer.send(letter)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):  # this letter's own fault
            self._breaker.succeeded()
            raise
        except OSError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()

    def check(self) -> None:
        """Connect and sign in, whatever failed before."""
        self.mailer.check()


class FileMailer:
    """Writes letters into a folder, a file each."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder, self._sender = folder, sender

    def check(self) -> None:
        """Write a file and remove it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder):
            pass

    def send(self, letter: Email) -> None:
        """Write a letter; the file stands there when it is whole, for its owner alone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        growing = self._folder / f".{letter.id}.new"
        growing.touch(mode=0o600)
        growing.write_bytes(_message(letter, self._sender).as_bytes())
        growing.replace(self._folder / f"{letter.id}.eml")


class SmtpMailer:
    """Hands letters to an SMTP server: ``smtp://user:password@host:587`` or ``smtps://...:465``.

    With ``smtp`` the connection is encrypted where the server offers it; a password is never sent over one that is not,
    but to this machine.
    """

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._is_tls = parts.scheme == "smtps"
        self._sender = sender

    def send(self, letter: Email) -> None:
        """Send a letter.

        :raises MailRefused: the password would be readable on its way.
        """
        with self._signed_in() as server:
            server.send_message(_message(letter, self._sender))
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


def _message(letter: Email, sender: str) -> EmailMessage:
    name, address = parseaddr(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(addr_spec=letter.to)
    message["Subject"] = _CONTROL.sub(" ", letter.subject)
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = f"<{letter.id}@{address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message
