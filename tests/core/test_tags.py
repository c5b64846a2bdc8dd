"""Cached responses name the tags of everything they read, and writes stamp the tags of everything they change."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from campshub.app import create_app
from campshub.core.db.models import PLATFORM_ID
from campshub.core.http.lookup import ACCESS, stamps_of
from campshub.core.security.permissions import ROLES, Role
from campshub.core.security.principal import shared_tags
from campshub.modules import MODULES
from tests.cached_reads import cached, ids_of_nothing, urls_of
from tests.conftest import ROOT, close, settings_of
from tests.declared import merged
from tests.seeds import Seeds, seed, spends
from tests.surface import operations
from tests.test_budgets import prepared, run_operation
from tests.transactions import Touched, tags, watched

# Tables that the statement that sets the tenant may read besides the caller state.
# Ended sessions are part of that state: the end of a session stamps it, the start changes no response.
OF_THE_EDGE = {"idempotency_keys", "sign_in_sessions"}
# Tags of core that no cached response names, so that their writes need no stamp; modules declare theirs.
UNSTAMPED = {"audit", "epoch", "idempotency", "outbox", "security", *merged("unstamped")}
CHANGING = re.compile(
    r"\b(INSERT INTO|UPDATE \w+ (AS \w+ )?SET|DELETE FROM|MERGE INTO|TRUNCATE|COPY \w+ (\([^)]*\) )?FROM\b)",
    re.IGNORECASE,
)
BYPASSING = {
    "cursor",
    "connection",
    "exec_driver_sql",
    "raw_connection",
    "borrow",
    "driver_connection",
    "engines",
}


@pytest.fixture(scope="module")
def seeds(app) -> Seeds:
    return seed(app, "Quokka")


@pytest.fixture(scope="module")
def empty(seeds) -> dict[str, str]:
    return ids_of_nothing(seeds)


def reads_of(client: Any, url: str) -> Iterator[tuple[str, set[str]]]:
    """Read a URL and its next page; yield each URL and the tables that were read for it."""
    following: str | None = url
    for _ in range(2):
        if following is None:
            return
        with watched() as transactions:
            response = client.get(following)
        assert response.status in (200, 403, 404), (following, response.raw.get_data(as_text=True))
        if response.status != 200:
            return
        read = set()
        for one in transactions:
            assert one.unit.read_only
            assert one.written == set()
            read |= one.read - (OF_THE_EDGE if one.unit.checks_caller else set())
        yield following, read
        cursor = response.json.get("next_cursor")
        following = f"{url}&cursor={cursor}" if cursor else None


def shared_tables(sql: Any) -> set[str]:
    """Return the tables whose policies also show the platform's rows."""
    rows = sql("SELECT tablename, qual FROM pg_policies WHERE cmd IN ('SELECT', 'ALL') AND schemaname = 'public'")
    return {re.sub(r"_p\d{4}_\d{2}$", "", table) for table, qual in rows if str(PLATFORM_ID) in (qual or "")}


def test_every_cached_response_names_the_tags_of_all_that_it_reads(app, seeds, empty, sql, no_response_cache, chosen):
    tag_of, shared, missing, seen = tags(), shared_tables(sql), {}, {}
    for operation in chosen(cached(app)):
        permission = operation.endpoint.options.permission
        urls = dict.fromkeys(one for ids in (seeds.ids, empty) for one in urls_of(operation, ids))
        for role in (role for role in Role if permission in ROLES[role]):
            for url in urls:
                named = operation.endpoint.parsed(url.partition("?")[2].lstrip("&").encode()).tags
                stamps = set(stamps_of(str(seeds.tenant.id), named))
                for read, tables in reads_of(seeds.tenant.the(role), url):
                    seen.setdefault(operation.name, set()).update(tables)
                    needed = {f"{seeds.tenant.id}:{tag_of[table]}" for table in tables}
                    needed |= {f"{PLATFORM_ID}:{tag_of[table]}" for table in tables & shared}
                    if needed - stamps:
                        missing.setdefault((operation.name, *sorted(needed - stamps)), (role.value, read, tables))

    assert missing == {}
    assert seen.keys() == {operation.name for operation in chosen(cached(app))}
    assert all(seen.values()), seen


def test_the_shared_tables_are_known_by_their_policies(app, sql):
    shared = shared_tables(sql)

    assert len(shared) > 2
    assert {tags()[table] for table in shared} == shared_tags()


def test_every_cached_response_depends_on_the_caller_state(seeds):
    assert stamps_of(str(seeds.tenant.id), ()) == (f"{seeds.tenant.id}:{ACCESS}",)
    assert {tags()[table] for table in ("memberships", "users", "organizations")} == {ACCESS}


# Writes --------------------------------------------------------------------------------------------------------------


def wrong_of(one: Touched, named: set[str]) -> set[str]:
    """Return the changed tables without a stamp, for each organization whose rows were changed."""
    tag_of, wrong = tags(), set()
    for table in one.written:
        tag = tag_of[table]
        if tag not in named:
            continue
        stamped_for = {organization for organization, stamped in one.stamped if stamped == tag}
        unstamped = one.owners[table] - stamped_for
        if unstamped or not stamped_for:
            wrong.add(f"{table}: {sorted(unstamped) or 'no organization'} of {tag}")
    return wrong


def named_by_responses(app: Any) -> set[str]:
    return {ACCESS, *(tag for one in cached(app) for tag in one.endpoint.options.cache_policy.tags)}


def test_the_tags_that_no_cached_response_names_are_listed(app):
    assert set(tags().values()) - named_by_responses(app) == UNSTAMPED


def test_every_operation_stamps_the_tags_of_all_that_it_changes(app, chosen):
    named, wrong, changed, shared = named_by_responses(app), {}, {}, seed(app, "Quokka")
    for operation in (one for one in chosen(operations(app)) if one.method != "GET"):
        seeds = seed(app, "Wombat") if spends(operation) else shared
        with watched() as transactions:
            response = run_operation(seeds, operation)
        assert response.status < 300, (operation.name, response.raw.get_data(as_text=True))
        changed[operation.name] = {table for one in transactions for table in one.written if one.owners.get(table)}
        for one in transactions:
            if found := wrong_of(one, named):
                wrong[operation.name] = found

    assert wrong == {}
    assert {name for name, tables in changed.items() if not tables} == set()


def test_no_read_stamps_anything(app, seeds):
    """This includes recorded reads: otherwise each one would invalidate the cached responses of all callers."""
    recorded, stamped = set(), {}
    for operation in (one for one in operations(app) if one.method == "GET"):
        call = prepared(seeds, operation)
        with watched() as transactions:
            assert call().status == 200
        recorded |= {operation.name for one in transactions if one.written}
        stamped[operation.name] = {pair for one in transactions for pair in one.stamped}

    assert {name for name, pairs in stamped.items() if pairs} == set()
    assert "GET /api/students/<uuid:student_id>/medical-note/" in recorded


def test_bulk_load_commands_stamp_their_tags(stack, scratch, tmp_path):
    arguments = ("demo", "seed", "--organizations", "1", "--students", "20", "--days", "7")
    app = create_app(settings_of(stack, scratch))
    named = named_by_responses(app)
    with watched() as transactions:
        result = app.test_cli_runner().invoke(args=(*arguments, "--credentials", str(tmp_path / "signing-in")))
    close(app)

    assert result.exit_code == 0, result.output
    assert {found for one in transactions for found in wrong_of(one, named)} == set()
    assert {table for one in transactions for table in one.written} >= {
        "students",
        "attendance_records",
        "workout_sets",
    }


def test_modules_do_not_write_rows_in_sql_text():
    """Such a statement would name no tag, nor would one that bypasses the session.

    Operations is exempt: it maintains the database itself.
    """
    names = [name for name in MODULES if name != "operations"]
    modules = [path for name in names for path in sorted((ROOT / "campshub" / name).rglob("*.py"))]
    nodes = [(path.name, node) for path in modules for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    texts = [(name, n.value) for name, n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    past = [(name, n.attr) for name, n in nodes if isinstance(n, ast.Attribute) and n.attr in BYPASSING]

    assert [(name, text) for name, text in texts if CHANGING.search(text)] + past == []
    assert len(texts) > 1_000
