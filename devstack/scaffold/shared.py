"""The entries of a new module in the files that all modules share."""

import re
import textwrap

from devstack.scaffold.names import Names

_WIDTH = 120
# The modules that may import accounts and students, and each other not.
_LAYER = re.compile(r'^    \((?P<modules>[^()\n]*"workouts"[^()\n]*)\),$', re.MULTILINE)
# The roles that read the rows; admins may do everything.
_READERS = ("TRAINER", "NUTRITIONIST")


class NoPlace(Exception):
    """A shared file no longer has the lines after which an entry belongs."""


def modules(text: str, names: Names) -> str:
    """Add the module to the layer of attendance and workouts, in campshub/modules.py."""
    return _replaced(_LAYER, rf'    (\g<modules>, "{names.module}"),', text, "LAYERS")


def permissions(text: str, names: Names) -> str:
    """Add the permissions to read and to write, and grant reading to those who look after students."""
    for action in ("READ", "WRITE"):
        member = f'    {names.module.upper()}_{action} = "{names.module}:{action.lower()}"\n'
        text = _sorted_into(text, "class Permission(StrEnum):", r"    [A-Z_0-9]+ = .+\n", member)
    for role in _READERS:
        granted = f"        Permission.{names.module.upper()}_READ,\n"
        text = _sorted_into(text, f"    Role.{role}: _EVERYONE", r"        Permission\.[A-Z_0-9]+,\n", granted)
    return text


def api_page(text: str, names: Names) -> str:
    """Add the list to those whose rows can be created safely and undeleted, in docs/api.md."""
    row = re.compile(r"^\| (?P<urls>.*`/api/groups/\{id\}/enrolments/`.*) \| yes \| yes \|", re.MULTILINE)
    text = _replaced(row, rf"| `{names.url}`, \g<urls> | yes | yes |", text, "the table of Retries")
    found = re.search(r"^The rows of (?:.+\n)+", text, re.MULTILINE)
    if found is None:
        raise NoPlace("docs/api.md no longer begins a paragraph with 'The rows of': adapt devstack/scaffold/shared.py")
    longer = found[0].replace("The rows of ", f"The rows of `{names.url}`, ", 1)
    filled = textwrap.fill(" ".join(longer.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return text.replace(found[0], f"{filled}\n")


def changelog(text: str, names: Names) -> str:
    """Add a line under "Unreleased" in CHANGELOG.md."""
    words = names.placeholders()["Words"]
    line = f"- {words}: create, change, list, delete and undelete (`{names.url}`).\n"
    added = re.compile(r"^## Unreleased\n\n### Added\n(?:(?!#).*\S.*\n)*", re.MULTILINE)
    return _replaced(added, lambda found: found[0] + line, text, "the list of what was added")


def _sorted_into(text: str, start: str, entry: str, line: str) -> str:
    """Insert a line among the entries that follow a start, in alphabetical order."""
    found = re.compile(rf"{re.escape(start)}(?:.*\n)*?(?P<entries>(?:{entry})+)").search(text)
    if found is None:
        raise NoPlace(f"no entries follow {start!r}: adapt devstack/scaffold/shared.py")
    entries = "".join(sorted([*found["entries"].splitlines(keepends=True), line]))
    return text[: found.start("entries")] + entries + text[found.end("entries") :]


def _replaced(pattern: re.Pattern[str], by: object, text: str, what: str) -> str:
    changed, count = pattern.subn(by, text, count=1)  # type: ignore[call-overload] # a text or a function
    if not count:
        raise NoPlace(f"{what} is no longer where it was: adapt devstack/scaffold/shared.py")
    result: str = changed
    return result
