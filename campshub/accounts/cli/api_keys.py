"""``flask api-keys``: keys that have leaked are revoked."""

import re

import click
from flask.cli import AppGroup

from campshub.accounts.queries.api_keys import organizations_with
from campshub.accounts.service.api_keys import revoke_leaked
from campshub.core.commands.options import json_option, say, yes_option
from campshub.core.db.unit_of_work import unit_of_work

api_keys = AppGroup("api-keys", help="Keys with which programs and kiosks ask.")
_PREFIXED = re.compile(r"(?:chk_)?([0-9A-Za-z]{12})(?:_[0-9A-Za-z]*)?")


@api_keys.command("revoke")
@click.option("--prefix", required=True, help="What stands between the underscores; the whole key will do.")
@yes_option
@json_option
def revoke_key(*, prefix: str, yes: bool, as_json: bool) -> None:
    """Revoke a key that has leaked, whoever it belongs to.

    Example: flask api-keys revoke --prefix 3hT9sQbX0aLm
    """
    named = _PREFIXED.fullmatch(prefix.strip())
    if named is None:
        raise click.ClickException("A prefix has 12 letters and digits.")
    if not yes:
        click.confirm("Whatever uses this key will stop. Go on?", abort=True, err=True)
    with unit_of_work(system=True, read_only=True) as session:
        owners = organizations_with(session, named[1])
    ids = []
    for owner in owners:
        with unit_of_work(system=True, organization_id=owner) as session:
            found = revoke_leaked(session, organization_id=owner, prefix=named[1], now=session.unit.now)
            ids += [key.id for key in found]
    if not ids:
        raise click.ClickException(f"No key that holds has the prefix {named[1]}.")
    say(as_json, f"Revoked {', '.join(map(str, ids))}.", ids=ids)
