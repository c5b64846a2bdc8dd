"""``flask permissions``: who may call what, as the application itself says."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from campshub.core.json import write as written
from campshub.core.security.permissions import GRANTS, OF_KEYS, OF_OWN_ROLES, Permission, Role

permissions = AppGroup("permissions", help="Permissions: which route needs which, and who has them.")

_HEAD = """# Who may call what

Made by `make permissions` from the routes and the roles; a test holds that it is up to date.

A role is a set of permissions and a scope: `all` sees the whole organization, `groups` the groups that one trains,
`own` oneself. Beside the five built-in roles an organization makes its own (`/api/roles/`), of every permission but
`organizations:write`, and always with `me:*`: people see to their own affairs. Nobody gives more than they have:
whoever makes, changes or deletes a role, gives it to someone, or changes someone who has it, holds all of its
permissions and sees at least as far.

A key (`/api/api-keys/`) has some of its maker's permissions and at most their scope, and never does more than its maker
may at that moment. A device's key has `attendance:mark` alone.
"""


@permissions.command("show")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def show(*, as_json: bool) -> None:
    """Print who may call what.

    Example: flask permissions show
    """
    if as_json:
        found = [
            {"method": method, "route": rule, "permission": permission, "roles": list(_who(permission))}
            for method, rule, permission in routes(current_app)
        ]
        click.echo(written(found).decode())
        return
    click.echo(page(current_app), nl=False)


@permissions.command("write")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def write(*, path: Path) -> None:
    """Write who may call what into a file.

    Example: flask permissions write docs/permissions.md
    """
    path.write_text(page(current_app), encoding="utf-8")
    click.echo(f"Wrote {path}.")


def page(app: Flask) -> str:
    """Return the page of documentation."""
    roles = [role.value for role in Role]
    lines = [_HEAD, "## Permissions", "", *_table(["permission", *roles, "own roles", "keys"], _of_permissions())]
    scopes = ["scope", *(GRANTS[role].scope.value for role in roles), "as made", "as made"]
    lines += ["| " + " | ".join(scopes) + " |", "", "## Routes", ""]
    lines += _table(["route", "needs", *roles, "keys"], _of_routes(app))
    return "\n".join(lines) + "\n"


def routes(app: Flask) -> Iterator[tuple[str, str, Permission | None]]:
    """Yield method, rule and permission of every operation of the API, by rule; None is for everyone."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: one.rule):
        resource = getattr(app.view_functions[rule.endpoint], "view_class", None)
        handlers: dict[str, Any] = getattr(resource, "handlers", {})
        for method, handler in handlers.items():
            yield method, rule.rule, handler.options.permission


def _who(permission: Permission | None) -> Iterator[str]:
    return (role.value for role in Role if permission is None or permission in GRANTS[role].permissions)


def _of_permissions() -> Iterator[list[str]]:
    for permission in Permission:
        has = set(_who(permission))
        kinds = [permission in OF_OWN_ROLES, permission in OF_KEYS]
        yield [f"`{permission}`", *_marks(*(role in has for role in Role), *kinds)]


def _of_routes(app: Flask) -> Iterator[list[str]]:
    for method, rule, permission in routes(app):
        may = set(_who(permission))
        by_key = permission is None or permission in OF_KEYS
        needs = f"`{permission}`" if permission else "public"
        yield [f"{method} `{rule}`", needs, *_marks(*(role in may for role in Role), by_key)]


def _marks(*said: bool) -> list[str]:
    return ["yes" if one else "" for one in said]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
