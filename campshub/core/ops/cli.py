"""``flask check-config``."""

from datetime import UTC, datetime
from typing import Any

import click
import redis
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from campshub.core.cache.connection import ANSWER_WITHIN_S
from campshub.core.db import partitions as months
from campshub.core.db.partitions.archives import Archives
from campshub.core.db.session import db
from campshub.core.http.serialise import write
from campshub.core.platform import Platform

LEAST_AHEAD = 2


@click.command("check-config")
@with_appcontext
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check_config(*, as_json: bool) -> None:
    """Try everything that the settings name, and say what does not answer.

    Example: flask check-config
    """
    found = [*_check_databases(), *_check_redis(), _check_archive()]
    if as_json:
        click.echo(write([{"what": what, "problem": problem} for what, problem in found]).decode())
    else:
        for what, problem in found:
            click.echo(f"{'ok  ' if problem is None else 'FAIL'} {what}{f': {problem}' if problem else ''}")
    if any(problem for _, problem in found):
        raise click.exceptions.Exit(1)


commands = (check_config,)


def _platform() -> Platform:
    platform: Platform = current_app.extensions["campshub"]
    return platform


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
        except SQLAlchemyError as error:
            found.append((what, _first_line(error)))
            continue
        unsafe = name != "system" and (role.rolsuper or role.rolbypassrls)
        found.append((what, "this role bypasses row-level security" if unsafe else None))
    return [*found, *_check_direct()]


def _check_direct() -> list[tuple[str, str | None]]:
    settings = _platform().settings
    what = f"database: maintenance as {settings.postgres_maintenance_user}"
    try:
        with months.maintenance(settings) as connection:
            count = months.months_ahead(connection, datetime.now(UTC).date())
            lacking = [table for table, ahead in count.items() if ahead < LEAST_AHEAD]
    except SQLAlchemyError as error:
        return [(what, _first_line(error))]
    problem = (
        f"fewer than {LEAST_AHEAD} months ahead: {', '.join(lacking)}; run flask partitions ensure" if lacking else None
    )
    return [(what, problem)]


def _check_redis() -> list[tuple[str, str | None]]:
    settings = _platform().settings
    found: list[tuple[str, str | None]] = []
    for name, url, policy in (
        ("cache", settings.redis_url, "volatile-lfu"),
        ("broker", settings.celery_broker_url, "noeviction"),
    ):
        client: Any = redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S)
        try:
            has = client.config_get("maxmemory-policy")["maxmemory-policy"]
            found.append((f"redis: {name}", None if has == policy else f"maxmemory-policy is {has}, not {policy}"))
        except redis.RedisError as error:
            found.append((f"redis: {name}", _first_line(error)))
        finally:
            client.close()
    return found


def _check_archive() -> tuple[str, str | None]:
    try:
        Archives(_platform().settings).all()
    except (months.MonthsProblem, OSError) as error:
        return "archive", _first_line(error)
    return "archive", None


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]
