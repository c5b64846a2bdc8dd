"""The names of a new module: which are possible, and which names of tables, classes and URLs follow."""

import builtins
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SHORTEST, _LONGEST = 3, 24
# Names that the templates use for something else.
_USED = frozenset(
    {
        *("api", "app", "body", "changes", "connection", "expected", "fields", "given", "made", "name", "names", "new"),
        *("other", "page", "place", "principal", "queries", "request", "row", "rows", "schemas", "seed", "seeds"),
        *("service", "session", "settings", "sql", "staff", "stack", "url", "values"),
    }
)


class UnfitName(Exception):
    """The name cannot be that of a module; the message says what to do."""


@dataclass(frozen=True)
class Names:
    """The names that follow from a module's name.

    :param module: the package, such as ``equipment``.
    :param entity: one row, such as ``equipment_item``.
    """

    module: str
    entity: str

    @property
    def table(self) -> str:
        """The table, its tag and the blueprint."""
        return plural(self.entity)

    @property
    def url(self) -> str:
        """The URL of the list."""
        return f"/api/{self.module.replace('_', '-')}/"

    def placeholders(self) -> dict[str, str]:
        """Return the values of the templates' placeholders."""
        word, words = self.entity.replace("_", " "), self.table.replace("_", " ")
        a_word = f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
        return {
            "module": self.module,
            "MODULE": self.module.upper(),
            "entity": self.entity,
            "table": self.table,
            "TABLE": self.table.upper(),
            "Entity": _camel(self.entity),
            "Entities": _camel(self.table),
            "word": word,
            "words": words,
            "Word": word.capitalize(),
            "Words": words.capitalize(),
            "a_word": a_word,
            "A_word": a_word.capitalize(),
            "url": self.url,
            "bare_url": self.url.rstrip("/"),
        }


def plural(entity: str) -> str:
    """Return the plural, from which the operation ids of the API find the singular again."""
    if re.search(r"[^aeiou]y$", entity):
        return f"{entity[:-1]}ies"
    return f"{entity}s"


def singular(name: str) -> str | None:
    """Return the singular of a plural; None if the name is no plural."""
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us", "is")) else None


def names_of(module: str, row: str | None, root: Path) -> Names:
    """Return the names of a new module, after checking that all of them are free.

    :raises UnfitName: one of them is not possible.
    """
    if not module:
        raise UnfitName("name the module: make module name=equipment")
    _require_identifier(module, "name")
    entity = row or singular(module) or f"{module}_item"
    _require_identifier(entity, "row")
    if plural(entity) == entity or singular(plural(entity)) != entity:
        raise UnfitName(f"{entity!r} has no plural that ends in a single s: name one row, as in row=device")
    names = Names(module, entity)
    _require_free(names, root)
    return names


def _require_identifier(text: str, what: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        raise UnfitName(f"{what}={text!r} is no identifier: use lower-case letters, digits and _, as in sick_notes")
    if not _SHORTEST <= len(text) <= _LONGEST:
        raise UnfitName(f"{what}={text} has {len(text)} characters: use {_SHORTEST} to {_LONGEST}")
    if keyword.iskeyword(text) or keyword.issoftkeyword(text) or hasattr(builtins, text) or text in _USED:
        raise UnfitName(f"{text} has a meaning of its own in the code: choose another {what}")


def _require_free(names: Names, root: Path) -> None:
    """Check that no folder, table, class or path parameter has one of the names.

    :raises UnfitName: one of them is taken.
    """
    for path in (f"campshub/{names.module}", f"campshub/{names.module}.py", f"tests/{names.module}"):
        if (root / path).exists():
            raise UnfitName(f"{path} exists: choose another name, or remove it")
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "campshub").rglob("*.py")))
    camel = _camel(names.entity)
    taken = {
        f"the table {names.table}": rf'__tablename__ = "{names.table}"',
        f"the tag {names.table}": rf'__tag__ = "{names.table}"',
        f"a class {camel}": rf"^class (?:One)?{camel}(?:s|In|Out|Patch|Filter|Undelete)?\b",
        f"the path parameter {names.entity}_id": rf"<uuid:{names.entity}_id>",
        f"the URL {names.url}": rf'url_prefix="{names.url.rstrip("/")}["/]',
        f"the permission {names.module}": rf'^    {names.module.upper()}_(?:READ|WRITE) = "',
    }
    for what, pattern in taken.items():
        if re.search(pattern, code, re.MULTILINE):
            raise UnfitName(f"{what} exists: choose another name, or another word for one row, as in row=device")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
