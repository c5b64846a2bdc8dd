"""Memoized values in responses: as current as the response that shows them, and shared by the right callers."""

import sys
import threading
from typing import Any

import pytest

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.memoized import Memoized
from campshub.core.security.permissions import Role
from tests.conftest import Client, close
from tests.dates import today
from tests.memoized import (
    BY_GROUP,
    COUNTS,
    MEMOIZED,
    PATIENCE_S,
    STATISTICS,
    elsewhere,
    forget,
    forget_responses,
    read,
    read_until,
    stored_keys,
)
from tests.seeds import seed
from tests.transactions import tags, watched


@pytest.fixture(scope="module")
def second_app(settings):
    """An application that counts as another process."""
    made = create_app(settings)
    yield made
    close(made)


@pytest.fixture
def nutritionist(tenant) -> Client:
    """A client with another role than the admin's, who sees the whole organization too."""
    return tenant.the(Role.NUTRITIONIST)


def total(client: Client) -> int:
    response, _ = read(client, COUNTS)
    assert "Campshub-Freshness" not in response.headers
    count: int = response.json["total"]
    return count


# What they save ------------------------------------------------------------------------------------------------------


def test_callers_with_different_responses_share_a_value(app, api, nutritionist, student):
    student()
    read_until(api, BY_GROUP, "memory", lambda: forget_responses(app))
    response = read_until(nutritionist, BY_GROUP, "memory", lambda: forget_responses(app))

    assert response.queries == []
    assert response.json == api.get(STATISTICS).json
    assert response.json["total"] == 1


def test_a_write_to_another_tag_leaves_a_value_valid(app, api, student):
    member, number = student()["id"], 0

    def enrol() -> None:
        nonlocal number
        number += 1
        group = api.made("/api/groups/", {"code": f"g{number}", "name": "Group"})["id"]
        api.made(f"/api/groups/{group}/enrolments/", {"student_id": member, "begins_on": str(today())})

    response = read_until(api, COUNTS, "memory", enrol)
    assert len(response.json["by_group"]) == number
    assert len(response.queries) == 1


def test_a_value_of_another_process_is_found_in_redis(app, second_app, api, student):
    student()

    def compute() -> None:
        forget_responses(app)
        forget(app.extensions["campshub"], values=True, in_redis=True)
        total(api)
        forget_responses(app)
        forget(second_app.extensions["campshub"], responses=True, values=True)

    response = read_until(elsewhere(second_app, api), COUNTS, "redis", compute)
    assert response.queries == []
    assert response.json["total"] == 1


# Never outdated ------------------------------------------------------------------------------------------------------


def test_every_read_after_a_write_shows_it_in_every_process(app, second_app, api, nutritionist, student):
    readers = [client for one in (api, nutritionist) for client in (one, elsewhere(second_app, one))]
    read_until(api, COUNTS, "memory", lambda: forget_responses(app))
    for number in range(1, 25):
        writer = (
            student
            if number % 2
            else lambda: elsewhere(second_app, api).made(
                "/api/students/", {"code": new_id().hex, "given_name": "A", "family_name": "B"}
            )
        )
        writer()
        assert [total(reader) for reader in readers] == [number] * 4


def test_concurrent_reads_show_no_less_than_was_acknowledged(app, second_app, api, nutritionist):
    acknowledged, seen, wrong, is_over = [0], [0], [], threading.Event()
    read_until(api, COUNTS, "memory", lambda: forget_responses(app))

    def write() -> None:
        for number in range(1, 40):
            api.made("/api/students/", {"code": f"c{number}", "given_name": "A", "family_name": "B"})
            acknowledged[0] = number
        is_over.set()

    def look(client: Client) -> None:
        while not is_over.is_set():
            least = max(acknowledged[0], seen[0])
            shown = total(client)
            seen[0] = max(seen[0], shown)
            if shown < least:
                wrong.append((shown, least))

    threads = [threading.Thread(target=write)]
    threads += [threading.Thread(target=look, args=[one]) for one in (nutritionist, elsewhere(second_app, api))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert wrong == []
    assert is_over.is_set()
    assert total(api) == total(elsewhere(second_app, nutritionist)) == 39


def test_a_rolled_back_write_changes_no_value(app, api, student):
    student(code="S1")
    read_until(api, COUNTS, "memory", lambda: forget_responses(app))
    for _ in range(3):
        assert api.post("/api/students/", {"code": "S1", "given_name": "A", "family_name": "B"}).status == 409
        assert total(api) == 1
    student(code="S2")
    assert total(api) == 2


# Who shares them -----------------------------------------------------------------------------------------------------


def test_organizations_share_no_values(app, tenant, other, student):
    student()
    mine, theirs = tenant.the(Role.ADMIN), other.the(Role.ADMIN)
    for client in (mine, theirs):
        read_until(client, COUNTS, "memory", lambda: forget_responses(app))

    assert (total(mine), total(theirs)) == (1, 0)
    assert stored_keys(app, tenant, COUNTS)
    assert stored_keys(app, other, COUNTS)


def test_a_caller_who_sees_a_part_neither_gets_nor_stores_the_values_of_the_whole(app, tenant, api, student):
    trainer, members = tenant.the(Role.TRAINER), [student()["id"] for _ in range(3)]
    group = api.made("/api/groups/", {"code": "g", "name": "Group"})["id"]
    api.made(f"/api/groups/{group}/enrolments/", {"student_id": members[0], "begins_on": str(today())})
    assert api.patch(f"/api/groups/{group}/", {"trainer_ids": [str(trainer.user_id)]}).status == 200
    read_until(api, COUNTS, "memory", lambda: forget_responses(app))
    stored = stored_keys(app, tenant, COUNTS)

    response, found = read(trainer, COUNTS)
    assert (response.json["total"], found) == (1, "")
    assert stored_keys(app, tenant, COUNTS) == stored
    assert total(api) == 3


def test_a_value_names_the_tags_of_all_that_it_reads(app, monkeypatch):
    """For every memoized function: the tables that its statements lock."""
    seeds, read_by, tag_of = seed(app, "Quokka"), {}, tags()
    call = Memoized.__call__

    def recorded(value: Memoized, session: Any, principal: Any, **arguments: Any) -> Any:
        with watched() as transactions:
            value.function(session, value._key(principal) or principal, **arguments)
        read_by.setdefault(value, set()).update(*(one.read for one in transactions))
        return call(value, session, principal, **arguments)

    monkeypatch.setattr(Memoized, "__call__", recorded)
    for value in MEMOIZED:
        read_until(seeds.tenant.the(Role.ADMIN), value, "memory", lambda: forget_responses(app))
    assert {value.name: {tag_of[table] for table in read_by[value]} for value in MEMOIZED} == {
        value.name: set(value.tags) for value in MEMOIZED
    }
    modules = [module for name, module in sys.modules.items() if name.startswith("campshub.")]
    assert {one for module in modules for one in vars(module).values() if isinstance(one, Memoized)} == set(MEMOIZED)
