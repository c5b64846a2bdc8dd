"""``flask check-config``: check the services named in the settings."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click
import redis
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from campshub.config import SettingsError
from campshub.core import partitions as months
from campshub.core.db.session import db
from campshub.core.json import write
from campshub.core.mail import MailRefused
from campshub.core.partitions.store import Archives
from campshub.core.redis.connection import ANSWER_WITHIN_S
from campshub.core.services import ServiceContainer
from campshub.core.storage import Storage

MIN_AHEAD = 2


@click.command("check-config")
@with_appcontext
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config(*, as_json: bool) -> None:
    """Check the databases, Redis, files, mail and issuers from the settings, and report failures.

    Example: flask check-config
    """
    found = [*_check_databases(), *_check_redis(), _check_archive(), _check_storage(), _check_mail(), _check_links()]
    found += _check_issuers()
    if as_json:
        click.echo(write([{"what": what, "problem": problem} for what, problem in found]).decode())
    else:
        for what, problem in found:
            click.echo(f"{'ok  ' if problem is None else 'FAIL'} {what}{f': {problem}' if problem else ''}")
    if any(problem for _, problem in found):
        raise click.exceptions.Exit(1)


def _services() -> ServiceContainer:
    services: ServiceContainer = current_app.extensions["campshub"]
    return services


def _check_databases() -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name, engine in db.engines.items():
        what = f"database: {name or 'primary'} as {engine.url.username} at {engine.url.host}:{engine.url.port}"
        try:
            with engine.connect() as connection:
                role = connection.execute(
                    text("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
                ).one()
                connection.execute(text("SELECT count(*) FROM organizations"))
        except (SQLAlchemyError, SettingsError) as error:  # for example an unsupported locale
            found.append((what, _first_line(error)))
            continue
        unsafe = name != "system" and (role.rolsuper or role.rolbypassrls)
        found.append((what, "this role bypasses row-level security" if unsafe else None))
    return [*found, *_check_direct(), *_check_migrator()]


def _check_direct() -> list[tuple[str, str | None]]:
    settings = _services().settings
    what = f"database: maintenance as {settings.postgres_maintenance_user}"
    try:
        with months.maintenance(settings) as connection:
            count = months.months_ahead(connection, datetime.now(UTC).date())
            lacking = [table for table, ahead in count.items() if ahead < MIN_AHEAD]
    except SQLAlchemyError as error:
        return [(what, _first_line(error))]
    problem = (
        f"fewer than {MIN_AHEAD} months ahead: {', '.join(lacking)}; run flask partitions ensure" if lacking else None
    )
    return [(what, problem)]


def _check_migrator() -> list[tuple[str, str | None]]:
    """Check the role of ``flask db upgrade`` if its password is set; API processes and workers do not need it."""
    settings = _services().settings
    if not settings.postgres_migrator_password:
        return []
    what = f"database: migrator as {settings.postgres_migrator_user}"
    try:
        with create_engine(settings.database_url("migrator"), poolclass=NullPool).connect():
            return [(what, None)]
    except SQLAlchemyError as error:
        return [(what, _first_line(error))]


def _check_redis() -> list[tuple[str, str | None]]:
    settings = _services().settings
    found: list[tuple[str, str | None]] = []
    for name, url, policy in (
        *((f"cache{number or ''}", url, "volatile-lfu") for number, url in enumerate(settings.redis_urls)),
        ("broker", settings.celery_broker_url, "noeviction"),
    ):
        client: Any = redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        try:
            has = client.info("memory")["maxmemory_policy"]
            found.append((f"redis: {name}", None if has == policy else f"maxmemory-policy is {has}, not {policy}"))
        except redis.RedisError as error:
            found.append((f"redis: {name}", _first_line(error)))
        finally:
            client.close()
    return found


def _check_archive() -> tuple[str, str | None]:
    settings = _services().settings
    try:
        Archives(settings).all()
        Storage(settings.archive_url).check()
    except Exception as error:  # noqa: BLE001 - each fsspec storage has its own errors
        return "archive", _first_line(error)
    return "archive", None


def _check_storage() -> tuple[str, str | None]:
    what = f"files: {_without_password(_services().settings.storage_url)}"
    try:
        _services().storage.check()
    except Exception as error:  # noqa: BLE001 - each fsspec storage has its own errors
        return what, _first_line(error)
    return what, None


def _without_password(url: str) -> str:
    """Return a URL for display, without user and password."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url


def _check_mail() -> tuple[str, str | None]:
    settings = _services().settings
    what = "mail: SMTP_URL" if settings.smtp_url else f"mail: folder {settings.mail_folder}"
    try:
        _services().mailer.check()
    except (OSError, MailRefused) as error:
        return what, _first_line(error)
    return what, None


def _check_links() -> tuple[str, str | None]:
    """Check that links in e-mails lead to an allowed host."""
    settings = _services().settings
    what, host = f"links: {settings.public_url}", urlsplit(settings.public_url).hostname
    is_served = bool(host) and (settings.hosts is None or host in settings.hosts)
    return what, None if is_served else f"the host of PUBLIC_URL, {host}, is not in ALLOWED_HOSTS"


def _check_issuers() -> list[tuple[str, str | None]]:
    problem = "its keys cannot be read; the log says why"
    found = _services().oidc.unreadable()
    return [(f"issuer: {name}", problem if is_unreadable else None) for name, is_unreadable in found.items()]


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]
