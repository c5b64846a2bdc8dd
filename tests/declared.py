"""What each module declares for the tests that go through all modules: one file, `tests/<module>/declared.py`.

The tests read operations, tables and fields from the application, so a new one is tested immediately. What they cannot
read there is declared here: rows to work with, statement budgets, reasons why a filter needs no index, and so on.
docs/adding-a-module.md has a table of the fields, with the tests that fail where an entry is missing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from campshub.modules import MODULES

Body = dict[str, Any]
# A list's filter ("status") or order ("sort name") to the table and the columns with which an index begins after the
# organization, to "=" and the name of an index, or to the reason why it needs none.
Indexes = Mapping[str, tuple[str, ...] | str]


class Undeclared(Exception):
    """A module lacks its declarations, or two modules declare the same entry."""


def no_rows(*_given: Any) -> dict[str, Any]:
    """Create nothing."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Examples:
    """How the examples of the OpenAPI document are sent, by operation id (tests/test_examples.py)."""

    # These first and in this order: other examples need their rows.
    first: tuple[str, ...] = ()
    # Where the server chooses the id: the path parameter that takes it later, and where the response has it.
    created: Mapping[str, tuple[str, Callable[[Any], str]]] = field(default_factory=dict)
    # Operations of another caller than the organization's admin: a function of the day.
    callers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    # What an example cannot contain: a function of the day and the caller.
    values: Mapping[str, Callable[[Any, Any], Body]] = field(default_factory=dict)
    # What has to happen before and after an operation: functions of the day, and of the day and the response's body.
    before: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    after: Mapping[str, Callable[[Any, Any], None]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Large:
    """What the plans of reads need (tests/large): rows, values of filters, and exceptions with their reasons."""

    # Creates the module's rows in the large organization, unless they exist; returns ids by path parameter.
    rows: Callable[[Any, Any], dict[str, str]] = no_rows
    # The values of each filter, one that many rows have and one that few or none have: a function of what was made, and
    # of the ids.
    values: Callable[[Any, Mapping[str, str]], dict[str, list[str]]] = no_rows
    # The most days that the range of a read may have, if they are not about 400.
    most_days: Mapping[str, int] = field(default_factory=dict)
    # Tables that no read may scan.
    tables: frozenset[str] = frozenset()
    # Reads that need more rows than usual: a pattern of their names, rows, rows sorted, the reason.
    exceptions: tuple[tuple[str, float, float, str], ...] = ()
    # Reads for which a sequential scan is the best plan: a pattern of their names.
    scans: tuple[str, ...] = ()
    # Pages that are sorted, since there is no other way: a pattern of their names, the reason.
    sorted: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The entries of one module. Operations are named by method and rule: ``GET /api/students/<uuid:student_id>/``."""

    # Two rows of each kind; the first one's id is that of a path parameter (tests/seeds.py).
    seed: Callable[[Any], Any] = no_rows
    # By a path parameter: URL and body of a row to which nothing refers.
    empty: Mapping[str, tuple[str, Body]] = field(default_factory=dict)

    # The most SQL statements of each operation, without those that begin and end the transaction.
    budgets: Mapping[str, int] = field(default_factory=dict)
    # Creates that take more than five statements in all, and how many.
    creates: Mapping[str, int] = field(default_factory=dict)

    # The body of an operation that the smallest valid body would not change anything with.
    bodies: Mapping[str, Body] = field(default_factory=dict)
    # The same where the body depends on the seeds: a function of them and of the caller, None for no body.
    real_bodies: Mapping[str, Callable[[Any, Any], Body | None]] = field(default_factory=dict)
    # What has to happen before an operation can succeed: a function of the seeds and the caller.
    before: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    # By a path parameter of which callers can only use their own: a function of the seeds and a role.
    own: Mapping[str, Callable[[Any, Any], str]] = field(default_factory=dict)
    # Required query parameters that depend on the seeds.
    queries: Mapping[str, Callable[[Any], dict[str, str]]] = field(default_factory=dict)
    # Endings of rules of operations that use up their row. DELETE and undelete/ always do.
    spending: tuple[str, ...] = ()

    # Values by the name of a field, beyond what its type requires.
    values: Mapping[str, str] = field(default_factory=dict)
    # Values by the name of a schema, then of a field. None: the value from the field, although it is optional.
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # A field that may be sent instead of another one, which is then left out.
    instead: Mapping[str, str] = field(default_factory=dict)
    # Names of fields with an id to the path parameter of the row that they refer to.
    references: Mapping[str, str] = field(default_factory=dict)
    # Text fields that are no names: several lines, secrets, texts with their own format.
    texts: frozenset[str] = frozenset()

    # By the rule of a list.
    lists: Mapping[str, Indexes] = field(default_factory=dict)
    # Tags that no cached response names, so that their writes need no stamp.
    unstamped: frozenset[str] = frozenset()

    # Creates that conflict with one row: URL, first body, changes of the second body, error code, and the field that a
    # PATCH changes to cause the conflict (None: none does) with a value of that field that is free.
    conflicts: Callable[[Any], Any] = no_rows
    # By a create whose body has no ``name``: a field and a value that make it another row.
    others: Mapping[str, Body] = field(default_factory=dict)
    # Public operations, and their own rate limits.
    public: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # Beginnings of rules that act on the caller's own session, and that need a recently entered password.
    ends_sessions: tuple[str, ...] = ()
    wants_step_up: tuple[str, ...] = ()
    # Operations that succeed only once in an organization.
    only_once: frozenset[str] = frozenset()

    examples: Examples = field(default_factory=Examples)
    large: Large = field(default_factory=Large)


def declared_by(module: str) -> Declared:
    """Return the declarations of a module.

    :raises Undeclared: the file does not exist, or declares nothing.
    """
    name, path = f"tests.{module}.declared", f"tests/{module}/declared.py"
    # A folder without the file is no package either.
    if find_spec(f"tests.{module}") is None or find_spec(name) is None:
        raise Undeclared(f"the module {module} has no {path}: write it, as docs/adding-a-module.md describes")
    declared = getattr(import_module(name), "DECLARED", None)
    if not isinstance(declared, Declared):
        raise Undeclared(f"{path} has no DECLARED = Declared(...): add it, as docs/adding-a-module.md describes")
    return declared


@cache
def all_declared() -> dict[str, Declared]:
    """Return the declarations of all modules, in the order of the modules."""
    return {module: declared_by(module) for module in MODULES}


def merged(name: str, found: Mapping[str, Any] | None = None) -> Any:
    """Return a field's entries of all modules; ``examples.first`` is a field of a part.

    :raises Undeclared: two modules declare the same entry.
    """
    by_module = {module: _at(one, name) for module, one in (found or all_declared()).items()}
    values = list(by_module.values())
    if not isinstance(values[0], Mapping):
        return tuple(entry for value in values for entry in value)
    owners: dict[str, str] = {}
    for module, value in by_module.items():
        for key in value:
            if key in owners:
                raise Undeclared(f"{key} is among the {name} of {owners[key]} and of {module}: one has to go")
            owners[key] = module
    return {key: entry for value in values for key, entry in value.items()}


def each(name: str) -> Iterator[Any]:
    """Yield a field of each module, in the order of the modules."""
    yield from (_at(one, name) for one in all_declared().values())


def file_of(operation: Any) -> str:
    """Return the file in which an operation's module declares."""
    return f"tests/{operation.module}/declared.py"


def _at(declared: Any, name: str) -> Any:
    for part in name.split("."):
        declared = getattr(declared, part)
    return declared
