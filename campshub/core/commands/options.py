"""Options that many commands take, and the output of their results."""

from typing import Any

import click
from marshmallow import ValidationError

from campshub.core.http.schemas import fields
from campshub.core.json import write

_EMAIL = fields.EmailAddress(required=True)


class NameType(click.ParamType[str]):
    """A name, validated as in the API."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name without surrounding blanks; an invalid name is a usage error."""
        try:
            return str(fields.Name().deserialize(value))
        except ValidationError as error:
            self.fail(" ".join(map(str, error.messages)), param, ctx)


NAME = NameType()


def _email(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return str(_EMAIL.deserialize(value))
    except ValidationError as error:
        raise click.BadParameter(" ".join(map(str, error.messages))) from error


organization_option = click.option("--organization", "organization_id", required=True, type=click.UUID)
# The e-mail address, normalized as in the API.
email_option = click.option("--email", required=True, callback=_email)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def say(as_json: bool, sentence: str, **facts: Any) -> None:  # noqa: FBT001 - a flag of the command line
    """Print a command's result: a sentence for people, or JSON for scripts."""
    click.echo(write(facts).decode() if as_json else sentence)
