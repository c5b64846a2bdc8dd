"""``flask passwords``: build the list of refused passwords."""

from collections.abc import Iterator
from pathlib import Path

import click
from flask.cli import AppGroup

from campshub.core.json import write
from campshub.core.security import breached
from campshub.core.security.password_blocklist import obvious_passwords

passwords = AppGroup("passwords", help="The list of refused passwords.")


@passwords.command("build-list")
@click.argument("source", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option(
    "--false-positives",
    default=breached.FALSE_POSITIVES,
    show_default=True,
    type=click.FloatRange(1e-9, 0.5),
    help="The share of good passwords that are refused as well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build_list(*, source: Path | None, output: Path, false_positives: float, as_json: bool) -> None:
    """Build the list for PASSWORD_LIST from a file with a password or a SHA-1, optionally with a count, per line.

    The list always includes the obvious passwords; without a file it contains only these, like the shipped list.

    Example: flask passwords build-list pwned-passwords-sha1.txt --output /srv/campshub/breached.bloom
    """
    given = sum(1 for _ in breached.digests_in(source)) if source else 0
    own = [breached.digest_of(password.encode()) for password in obvious_passwords()]

    def digests() -> Iterator[bytes]:
        yield from own
        if source:
            yield from breached.digests_in(source)

    breached.build(output, digests, count=given + len(own), false_positives=false_positives)
    facts = {"entries": given + len(own), "bytes": output.stat().st_size, "path": str(output)}
    sentence = f"Wrote {facts['entries']:,} passwords into {output}: {facts['bytes']:,} bytes. Set PASSWORD_LIST to it."
    click.echo(write(facts).decode() if as_json else sentence)
