"""Whether policies without a subselect cost anything: the same reads on two copies of one database, in turns.

In one copy the policies compare with ``current_setting``, in the other with a subselect of it. Execution times are
those of ``auto_explain``, without parsing and planning; response times have both.
"""

import os
import re
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import ROOT
from campshub.app import create_app
from devstack.stack import Stack
from tests.conftest import Tenant, close, migrate, settings_of
from tests.large import data, plans

PLAIN, SUBSELECT = "plain", "subselect"
FORMS = (PLAIN, SUBSELECT)
SCALE = data.Scale(
    organizations=5, students=120_000, largest=100_000, records=600_000, months=14, sets=200_000, share=0.8
)
# The lists, with the filters that change their plans; and one page that joins, and one row.
READS = re.compile(
    r"(/api/students/ (bare|status 0|group_id [01]|q 1|sort -?name)|/api/groups/ (bare|q 3)"
    r"|/api/attendance/(sessions|records)/ (bare|a month|a year|group_id 1)|/api/workout-logs/ (bare|a year)"
    r"|/api/attendance/analytics/students/ bare|/api/progress/weeks/ bare|/api/users/ bare|/api/exercises/ bare"
    r"|/api/students/statistics/ bare|/api/students/<uuid:student_id>/ bare"
    r"|/api/attendance/sessions/<uuid:session_id>/(records|register)/ bare)$"
)
PEOPLE = ("admin", "trainer", "client")
# PostgreSQL's own text of the two forms; policies that show the platform's rows too are the same in both.
_EXPRESSIONS = {PLAIN: "id = (NULLIF(current_setting('app.organization_id'::text, true), ''::text))::uuid"}
_EXPRESSIONS[SUBSELECT] = (
    "id = ( SELECT (NULLIF(current_setting('app.organization_id'::text, true), ''::text))::uuid AS \"nullif\")"
)
_POLICIES = "SELECT tablename, policyname, qual, with_check FROM pg_policies WHERE schemaname = 'public'"
# The worst case: nothing but the policy selects, and every row is compared.
SCAN = "every student counted, by the policy only"
_COUNT = "SELECT count(*) FROM students"


@dataclass
class Copy:
    """One copy of the database, with an application on it and what it has sent."""

    people: dict[str, Any]
    caught: list[plans.Plan]
    connection: Any
    organization_id: str


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Send each read to both copies in turns; return medians in milliseconds."""
    stack = Stack(
        Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-policies",
        replica=False,
        pgbouncer=False,
        durable=False,
    )
    with ExitStack() as cleanup:
        cleanup.callback(stack.stop)
        stack.start_data()
        made = _fill(stack)
        apps = {form: cleanup.enter_context(_application(stack, form)) for form in FORMS}
        copies = {form: cleanup.enter_context(_copy(stack, form, apps[form], made)) for form in FORMS}
        reads = plans.reads(apps[PLAIN], copies[PLAIN].connection, made, list(PEOPLE))
        plans.reads(apps[SUBSELECT], copies[SUBSELECT].connection, made, list(PEOPLE))  # it writes a few rows
        chosen = [read for read in reads if READS.match(f"{read.rule} {read.about}")]
        compared = {read.name: _compared(copies, read, rounds) for read in chosen}
        found = {name: row for name, row in compared.items() if row}
        found["all of them"] = _sum(found)
        found[SCAN] = _scanned(copies, rounds)
    return found


def _database(form: str) -> str:
    return f"policies_{form}"


def _fill(stack: Stack) -> data.Made:
    """Fill the first database and copy it, unless both exist; give each its form of policies."""
    first, second = map(_database, FORMS)
    stack.create_database(first)
    migrate(settings_of(stack, first, **_ALONE))
    with stack.primary.connect(first) as connection:
        made = data.made(connection, SCALE) or data.make(connection, SCALE)
    app = create_app(settings_of(stack, first, log_level="ERROR", **_ALONE))
    with stack.primary.connect(first) as connection:
        data.refresh_rollups(connection, app)
    close(app)
    stack.create_database(second, first)
    for form in FORMS:
        with stack.primary.connect(_database(form)) as connection:
            _change_policies(connection, form)
            connection.execute("VACUUM ANALYZE")
    return made


def _change_policies(connection: Any, form: str) -> None:
    """Write every policy that compares with the setting in one form."""
    for table, policy, *conditions in connection.execute(_POLICIES).fetchall():
        parts = []
        for clause, condition in zip(("USING", "WITH CHECK"), conditions, strict=True):
            if condition is not None:
                parts.append(f"{clause} ({_in_form(condition, form)})")
        connection.execute(f"ALTER POLICY {policy} ON {table} {' '.join(parts)}")


def _in_form(condition: str, form: str) -> str:
    """Return a policy's condition in a form, whichever form it has."""
    return condition.replace(_EXPRESSIONS[SUBSELECT], _EXPRESSIONS[PLAIN]).replace(
        _EXPRESSIONS[PLAIN], _EXPRESSIONS[form]
    )


_ALONE = {"postgres_replica_host": "", **plans.UNCACHED}


@contextmanager
def _application(stack: Stack, form: str) -> Iterator[Any]:
    with stack.primary.connect(_database(form)) as connection:
        plans.explain_everything(connection, _database(form))
    app = create_app(settings_of(stack, _database(form), log_level="ERROR", **_ALONE))
    yield app
    close(app)


@contextmanager
def _copy(stack: Stack, form: str, app: Any, made: data.Made) -> Iterator[Copy]:
    people = plans.people_of(Tenant(app, made.organization_id), made)
    with stack.primary.connect(_database(form)) as connection, plans.planning(app) as caught:
        yield Copy(people, caught, connection, str(made.organization_id))


def _compared(copies: dict[str, Copy], read: plans.Read, rounds: int) -> dict[str, Any]:
    """Send a read to each copy in turns, the first of a round changing; return nothing if it is refused."""
    executed: dict[str, list[float]] = {form: [] for form in FORMS}
    answered: dict[str, list[float]] = {form: [] for form in FORMS}
    rows: dict[str, list[int]] = {}
    for number in range(rounds + 1):
        for form in FORMS if number % 2 else FORMS[::-1]:
            copy = copies[form]
            found = list(plans.followed(copy.people[read.who], read, copy.caught))
            if not found:
                return {}
            rows[form] = [plan.rows for _, plan, _ in found]
            if number:
                executed[form].append(sum(plan.milliseconds for _, plan, _ in found))
                answered[form].append(sum(milliseconds for _, _, milliseconds in found))
    return {
        **_row(executed, "executed"),
        **_row(answered, "answered"),
        "rows": "/".join(str(sum(rows[f])) for f in FORMS),
    }


def _row(taken: dict[str, list[float]], what: str) -> dict[str, Any]:
    medians = {form: statistics.median(taken[form]) for form in FORMS}
    ratio = statistics.median(
        mine / other for mine, other in zip(*(taken[form] for form in FORMS), strict=True) if other
    )
    return {f"{what} {form} ms": round(medians[form], 2) for form in FORMS} | {f"{what} ratio": round(ratio, 2)}


def _sum(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for what in ("executed", "answered"):
        sums = {form: sum(row[f"{what} {form} ms"] for row in found.values()) for form in FORMS}
        total |= {f"{what} {form} ms": round(sums[form], 2) for form in FORMS}
        total[f"{what} ratio"] = round(sums[PLAIN] / sums[SUBSELECT], 2)
    return total


def _scanned(copies: dict[str, Copy], rounds: int) -> dict[str, Any]:
    """Count a table's rows as the application's role without any index."""
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(rounds + 1):
        for form in FORMS if number % 2 else FORMS[::-1]:
            connection = copies[form].connection
            with connection.transaction():
                connection.execute("SET LOCAL ROLE campshub_app")
                for setting in ("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"):
                    connection.execute(f"SET LOCAL {setting} = off")
                connection.execute("SELECT set_config('app.organization_id', %s, true)", [copies[form].organization_id])
                explained = connection.execute(f"EXPLAIN (ANALYZE, TIMING off, FORMAT json) {_COUNT}").fetchone()[0][0]
            if number:
                taken[form].append(explained["Execution Time"])
    return _row(taken, "executed")
