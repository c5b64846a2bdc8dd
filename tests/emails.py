"""E-mails that the application has sent, parsed as a mail program parses them."""

import email
import re
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from urllib.parse import urlsplit


def parse(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=default)


def emails_in(folder: str | Path, *, to: str = "") -> list[EmailMessage]:
    """Return the e-mails in a mail folder in the order of sending; with ``to``, only those to this address."""
    files = sorted(Path(folder).glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    messages = [parse(file.read_bytes()) for file in files]
    return [message for message in messages if not to or message["To"] == to]


def link_in(message: EmailMessage) -> str:
    """Return the only link of an e-mail."""
    (link,) = re.findall(r"https?://\S+", message.get_content())
    return link


def path_in(message: EmailMessage) -> str:
    """Return the path and query of the only link of an e-mail."""
    return urlsplit(link_in(message))._replace(scheme="", netloc="").geturl()


def token_in(message: EmailMessage) -> str:
    """Return the token of the only link of an e-mail, which the e-mail also shows as a code."""
    token = urlsplit(link_in(message)).fragment.removeprefix("token=")
    assert token in message.get_content().splitlines()
    return token
