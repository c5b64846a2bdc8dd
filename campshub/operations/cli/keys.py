"""``flask keys``: making and listing the keys that sign access tokens and seal fields."""

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

keys = AppGroup("keys", help="The keys that sign access tokens and seal fields.")

_SETTINGS = {"tokens": "JWT_PRIVATE_KEYS", "fields": "FIELD_ENCRYPTION_KEYS"}
_kind = click.option("--for", "kind", type=click.Choice(sorted(_SETTINGS)), default="tokens", show_default=True)


@keys.command("list")
@_kind
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def list_keys(*, kind: str, as_json: bool) -> None:
    """List the ids of the keys in use, the one that signs or seals first; never the keys.

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
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def new(*, kind: str, as_json: bool) -> None:
    """Make a new key and tell what to put into the settings, in which order; it changes nothing by itself.

    Example: flask keys new --for tokens
    """
    present = _value(kind)
    made = _made(read_keys(present))
    first, then = f"{present},{made}", f"{made},{present}"
    if as_json:
        click.echo(write({"setting": _SETTINGS[kind], "key": made, "first": first, "then": then}).decode())
        return
    click.echo("1. Let every process know the new key, which nothing uses yet: set this and restart them all.")
    click.echo(f"{_SETTINGS[kind]}={first}")
    click.echo("2. Then let it be the current one: set this and restart them all.")
    click.echo(f"{_SETTINGS[kind]}={then}")
    click.echo(f"3. {_LAST[kind]}")


@keys.command("reseal")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def reseal_fields(*, as_json: bool) -> None:
    """Seal what older keys have sealed anew with the current one; it may be stopped, and run again.

    Afterwards nothing in the database needs an older key; backups from before still do.

    Example: flask keys reseal
    """
    services: ServiceContainer = current_app.extensions["campshub"]
    tallies = {str(column): _reseal_column(services, column) for column in sealed_columns()}
    if as_json:
        click.echo(write({name: asdict(tally) for name, tally in tallies.items()}).decode())
    else:
        for name, tally in tallies.items():
            click.echo(f"{name}: {tally.resealed} sealed anew, {tally.unreadable} not to be opened")
    if any(tally.unreadable for tally in tallies.values()):
        raise click.ClickException("Some values were sealed by a key that FIELD_ENCRYPTION_KEYS does not have.")


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
    "tokens": "After ACCESS_TOKEN_MINUTES nothing is signed with the older ones: take them out. Nobody is signed out.",
    "fields": "Run flask keys reseal. Keep the older ones for as long as backups from before are kept.",
}


def _value(kind: str) -> str:
    settings: Settings = current_app.extensions["campshub"].settings
    return settings.jwt_private_keys if kind == "tokens" else settings.field_encryption_keys


def _made(present: dict[str, bytes]) -> str:
    """Return a new key under the day's name, with a letter where there is one of that name."""
    day = f"k{datetime.now(UTC):%Y%m%d}"
    name = next(n for n in (day, *(f"{day}-{number}" for number in range(2, 1000))) if n not in present)
    return f"{name}:{base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip('=')}"
