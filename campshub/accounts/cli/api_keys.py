"""``flask api-keys``: revoke leaked keys."""

import re

import click
from flask.cli import AppGroup

from campshub.accounts.queries.api_keys import organizations_with
from campshub.accounts.service.api_keys import revoke_leaked
from campshub.core.commands.options import json_option, say, yes_option
from campshub.core.db.unit_of_work import unit_of_work

api_keys = AppGroup("api-keys", help="Keys with which programs and kiosks call the API.")
_PREFIXED = re.compile(r"(?:chk_)?([0-9A-Za-z]{12})(?:_[0-9A-Za-z]*)?")


@api_keys.command("revoke")
@click.option("--prefix", required=True, help="The part between the underscores; the whole key is accepted too.")
@yes_option
@json_option
def revoke_key(*, prefix: str, yes: bool, as_json: bool) -> None:
    """Revoke a leaked key of any user.

    Example: flask api-keys revoke --prefix 3hT9sQbX0aLm
    """
    named = _PREFIXED.fullmatch(prefix.strip())
    if named is None:
        raise click.ClickException("A key's prefix has 12 letters and digits.")
    if not yes:
        click.confirm("All programs that use this key will stop working. Continue?", abort=True, err=True)
    with unit_of_work(system=True, read_only=True) as session:
        owners = organizations_with(session, named[1])
    ids = []
    for owner in owners:
        with unit_of_work(system=True, organization_id=owner) as session:
            found = revoke_leaked(session, organization_id=owner, prefix=named[1], now=session.unit.now)
            ids += [key.id for key in found]
    if not ids:
        raise click.ClickException(f"No valid key has the prefix {named[1]}.")
    say(as_json, f"Revoked {', '.join(map(str, ids))}.", ids=ids)
