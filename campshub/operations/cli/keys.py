"""``flask keys``: create and list the keys that sign access tokens and encrypt columns."""

import base64
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.config import KEY_BYTES, Settings, read_keys
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.json import write
from campshub.core.security.encrypted_columns import ResealTally, reseal, sealed_columns
from campshub.core.services import ServiceContainer

keys = AppGroup("keys", help="The keys that sign access tokens and encrypt columns.")

_SETTINGS = {"tokens": "JWT_PRIVATE_KEYS", "fields": "FIELD_ENCRYPTION_KEYS"}
_kind = click.option("--for", "kind", type=click.Choice(sorted(_SETTINGS)), default="tokens", show_default=True)


@keys.command("list")
@_kind
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(*, kind: str, as_json: bool) -> None:
    """List the ids of the keys in use, the current one first; never the keys themselves.

    Example: flask keys list --for tokens
    """
    ids = list(read_keys(_value(kind)))
    if as_json:
        click.echo(write({"setting": _SETTINGS[kind], "ids": ids}).decode())
        return
    for number, name in enumerate(ids):
        click.echo(f"{name}{'  (current)' if number == 0 else ''}")


@keys.command("new")
@_kind
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(*, kind: str, as_json: bool) -> None:
    """Create a key and print the steps to put it into the settings; this command changes nothing.

    Example: flask keys new --for tokens
    """
    present = _value(kind)
    made = _made(read_keys(present))
    first, then = f"{present},{made}", f"{made},{present}"
    if as_json:
        click.echo(write({"setting": _SETTINGS[kind], "key": made, "first": first, "then": then}).decode())
        return
    click.echo("1. Make the new key known to every process, without using it: set this and restart them all.")
    click.echo(f"{_SETTINGS[kind]}={first}")
    click.echo("2. Then make it the current key: set this and restart them all.")
    click.echo(f"{_SETTINGS[kind]}={then}")
    click.echo(f"3. {_LAST[kind]}")


@keys.command("reseal")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reseal_fields(*, as_json: bool) -> None:
    """Encrypt values of older keys again with the current one; the command can be interrupted and run again.

    Afterwards nothing in the database needs an older key, but earlier backups do.

    Example: flask keys reseal
    """
    services: ServiceContainer = current_app.extensions["campshub"]
    tallies = {str(column): _reseal_column(services, column) for column in sealed_columns()}
    if as_json:
        click.echo(write({name: asdict(tally) for name, tally in tallies.items()}).decode())
    else:
        for name, tally in tallies.items():
            click.echo(f"{name}: {tally.resealed} encrypted again, {tally.unreadable} unreadable")
    if any(tally.unreadable for tally in tallies.values()):
        raise click.ClickException("Some values were encrypted with a key that is not in FIELD_ENCRYPTION_KEYS.")


def _reseal_column(services: ServiceContainer, column: Any) -> ResealTally:
    whole, after = ResealTally(), None
    while True:
        with unit_of_work(system=True) as session:
            after, tally = reseal(session, services.ring, column, after)
        whole.resealed += tally.resealed
        whole.unreadable += tally.unreadable
        if after is None:
            return whole


_LAST = {
    "tokens": "After ACCESS_TOKEN_MINUTES no valid token is left of the older keys: remove them. No one is signed out.",
    "fields": "Run flask keys reseal. Store the older keys as long as you store earlier backups.",
}


def _value(kind: str) -> str:
    settings: Settings = current_app.extensions["campshub"].settings
    return settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys


def _made(present: dict[str, bytes]) -> str:
    """Return a new key named after the day, with a number if the name is in use."""
    day = f"k{datetime.now(UTC):%Y%m%d}"
    name = next(n for n in (day, *(f"{day}-{number}" for number in range(2, 1000))) if n not in present)
    return f"{name}:{base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip('=')}"
