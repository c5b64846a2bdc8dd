"""The number of SQL statements of each operation, without the batch that sets the tenant and the one that commits.

The operations are read from the application: one without a budget fails. A budget is the most that an operation may
take; one that takes less is listed at the end of the run, so that its budget can be lowered. The response cache is off.

A read takes one statement, a create two (the row; audit, outbox and the stored response together) and a change three
(read and lock the row, change it, audit). For any other number, a comment in tests/<module>/declared.py says why.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from campshub.app import create_app
from campshub.core.security.permissions import Role
from tests.conftest import close
from tests.declared import file_of, merged
from tests.large.plans import UNCACHED
from tests.seeds import Seeds, seed, spends
from tests.surface import body_for, operations

BUDGETS, BODIES, BEFORE = merged("budgets"), merged("bodies"), merged("before")
# Creates may take this many statements, including the tenant's batch and the commit's; modules declare exceptions.
MOST_STATEMENTS_OF_A_CREATE = 5
CREATES = merged("creates")


@pytest.fixture(scope="module")
def app(settings):
    app = create_app(settings.model_copy(update=UNCACHED))
    yield app
    close(app)


def prepared(seeds: Seeds, operation: Any) -> Callable[[], Any]:
    """Prepare data for an operation; return a call that succeeds and has something to do."""
    schema, mark = operation.endpoint.options.body, operation.endpoint.options
    role = Role.SUPERADMIN if mark.is_system else Role.ADMIN
    client = seeds.tenant.the(role)
    if operation.ends_sessions:
        client = seeds.signed_in(seeds.tenant.someone(role))
    if operation.wants_step_up:
        client = seeds.signed_in(seeds.tenant.the(role))
    if operation.name in BEFORE:
        BEFORE[operation.name](seeds, client)
    url = operation.address(seeds.ids, seeds.real_query(operation.name))
    body = seeds.real_body(operation, client) or BODIES.get(operation.name)
    if body is None and schema is not None:
        body = body_for(schema, seeds.id_for)
    if operation.rule.endswith("/undelete/"):
        assert client.delete(url.removesuffix("undelete/")).status == 204
    return lambda: client.call(operation.method, url, body)


def run_operation(seeds: Seeds, operation: Any) -> Any:
    """Prepare and call an operation."""
    return prepared(seeds, operation)()


def wrong_of(operation: Any, response: Any) -> Iterator[str]:
    """Yield what is wrong with the statements of a response."""
    count, budget = len(response.queries), BUDGETS.get(operation.name)
    if response.status >= 300:
        yield f"{response.status}: {response.raw.text[:300]}"
    if budget is None:
        yield f"it has no budget: {count} statements; add it to the budgets of {file_of(operation)}"
    elif count > budget:
        yield f"{count} statements, budget {budget} ({file_of(operation)}): {[s[:200] for s in response.queries]}"
    if operation.method == "POST" and response.status == 201 and not operation.endpoint.options.is_system:
        most = CREATES.get(operation.name, MOST_STATEMENTS_OF_A_CREATE)
        if len(response.statements) > most:
            yield f"{len(response.statements)} statements in all, {most} for a create ({file_of(operation)})"


def unused(counts: dict[str, int], budgets: dict[str, int]) -> list[str]:
    """Return the operations that take fewer statements than their budgets."""
    return [
        f"{name}: {count} statements, budget {budgets[name]}"
        for name, count in sorted(counts.items())
        if count < budgets.get(name, 0)
    ]


def test_every_operation_stays_within_its_statement_budget(app, chosen, record_property):
    shared, wrong, counts = seed(app, "Quokka"), [], {}
    for operation in sorted(chosen(operations(app)), key=lambda o: (o.method != "GET", o.name)):
        seeds = seed(app, "Wombat") if spends(operation) else shared
        response = run_operation(seeds, operation)
        counts[operation.name] = len(response.queries)
        wrong += [(operation.name, what) for what in wrong_of(operation, response)]
    for line in unused(counts, BUDGETS):
        record_property("figure", line)

    assert wrong == []
    assert BUDGETS.keys() - {operation.name for operation in operations(app)} == set()
    assert counts


def test_an_operation_within_its_budget_is_reported_if_it_could_be_lowered():
    counts, budgets = {"GET /x/": 2, "GET /y/": 3, "GET /z/": 4}, {"GET /x/": 3, "GET /y/": 3, "GET /z/": 3}

    assert unused(counts, budgets) == ["GET /x/: 2 statements, budget 3"]


def test_lists_limit_the_number_of_rows_in_sql(app):
    seeds, seen, loose = seed(app, "Quokka"), 0, []
    for operation in operations(app):
        if operation.method == "GET" and operation.endpoint.options.is_page:
            statements = run_operation(seeds, operation).queries
            seen += 1
            loose += [(operation.name, s) for s in statements[-1:] if not re.search(r"\bLIMIT\b", s)]

    assert loose == []
    assert seen >= 12
