"""Every problem that the code behind an operation can raise is in the document.

The tests' client compares what it receives (``tests/documented.py``); here it is what could be received: the functions
that a handler reaches, read from their code.
"""

from types import CodeType, FunctionType, ModuleType

import pytest
from marshmallow import Schema

from campshub.core.errors import Conflict, Invalid, PreconditionFailed, Problem
from campshub.core.http.openapi.document import operation_id
from campshub.core.http.openapi.responses import problems_of
from campshub.core.http.schemas.rows import Rows
from tests.surface import operations

DEPTH = 9
# What every request passes through; their problems follow from the marks.
EVERYWHERE = tuple(
    f"campshub.core.{name}"
    for name in ("http.dispatch", "db", "cache", "redis", "partitions", "rollups", "service_base", "freshness")
)


def _codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _named(function):
    """Yield what the code of a function names: globals of its module, and parts of the modules that it imports."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        if isinstance(value, ModuleType) and value.__name__.startswith("campshub"):
            yield from (getattr(value, inner) for inner in names if hasattr(value, inner))


def _is_ours(value):
    return value.__module__.startswith("campshub") and not value.__module__.startswith(EVERYWHERE)


def _reach(function, seen, depth=0):
    """Return the problems that a function and those that it calls can raise."""
    if function in seen or depth > DEPTH:
        return set()
    seen.add(function)
    found = set()
    for named in _named(function):
        value = getattr(named, "__wrapped__", named)
        if isinstance(value, type) and issubclass(value, Problem):
            found.add(value)
        elif isinstance(value, FunctionType) and _is_ours(value):
            found |= _reach(value, seen, depth + 1)
        elif isinstance(value, type) and _is_ours(value):
            for method in vars(value).values():
                if isinstance(method, FunctionType):
                    found |= _reach(method, seen, depth + 1)
    return found


def test_problems_that_a_handler_can_raise_are_documented(app):
    missing = []
    for operation in operations(app):
        handler = operation.handler
        documented = {(int(kind.status), kind.code) for kind in problems_of(handler)}
        has_rows = any(isinstance(field, Rows) for field in (handler.options.body or Schema)().fields.values())
        for kind in _reach(handler.function, set()):
            if kind is PreconditionFailed and not handler.compares_version:
                continue  # the helper that it shares with others asks for no version
            if has_rows and issubclass(kind, Invalid | Conflict):
                continue  # each row says what is wrong with it, within a 200
            if (int(kind.status), kind.code) not in documented:
                missing.append(f"{operation_id(handler, handler.method)}: {kind.__name__}")

    assert sorted(missing) == []


@pytest.mark.parametrize("constraint", sorted(Problem.by_constraint))
def test_the_problem_of_a_constraint_is_documented(constraint, app):
    kind = Problem.by_constraint[constraint]

    assert any(kind.code in {p.code for p in problems_of(o.handler)} for o in operations(app))
