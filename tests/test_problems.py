"""Every problem that the code of an operation can raise is in the document.

The tests' client compares what it receives (``tests/documented.py``). These tests compare what could be received: they
read the code of the functions that an endpoint reaches.
"""

from types import CodeType, FunctionType, ModuleType

import pytest
from marshmallow import Schema

from campshub.core.errors import Conflict, Forbidden, Invalid, PreconditionFailed, Problem
from campshub.core.http.openapi.document import operation_id
from campshub.core.http.openapi.responses import problems_of
from campshub.core.http.schemas.rows import Rows
from tests.surface import operations

DEPTH = 9
# The parts that every request uses; their problems follow from the endpoint options.
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
    """Yield the globals and module attributes that the code of a function names."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield value
        if isinstance(value, ModuleType) and value.__name__.startswith("campshub"):
            yield from (getattr(value, inner) for inner in names if hasattr(value, inner))


def _is_ours(value):
    return value.__module__.startswith("campshub") and not value.__module__.startswith(EVERYWHERE)


def _reach(function, seen, depth=0):
    """Return the problems that a function and the functions that it calls can raise."""
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


def test_problems_that_an_endpoint_can_raise_are_documented(app):
    missing = []
    for operation in operations(app):
        endpoint = operation.endpoint
        documented = {(int(kind.status), kind.code) for kind in problems_of(endpoint)}
        has_rows = any(isinstance(field, Rows) for field in (endpoint.options.body or Schema)().fields.values())
        for kind in _reach(endpoint.function, set()):
            if kind is PreconditionFailed and not endpoint.compares_version:
                continue  # the shared helper does not require a version here
            if has_rows and issubclass(kind, Invalid | Conflict | Forbidden):
                continue  # each row has its own result, within a 200
            if (int(kind.status), kind.code) not in documented:
                missing.append(f"{operation_id(endpoint, endpoint.method)}: {kind.__name__}")

    assert sorted(missing) == []


@pytest.mark.parametrize("constraint", sorted(Problem.by_constraint))
def test_the_problem_of_a_constraint_is_documented(constraint, app):
    kind = Problem.by_constraint[constraint]

    assert any(kind.code in {p.code for p in problems_of(o.endpoint)} for o in operations(app))
