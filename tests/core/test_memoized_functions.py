"""A memoized function: when it is called, what it may know, and what is stored."""

import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from campshub.core.cache.memory import ENTRY_OVERHEAD_BYTES
from campshub.core.cache.values import TagsMissing
from campshub.core.db.models import new_id
from campshub.core.db.session import begin
from campshub.core.db.unit import Unit
from campshub.core.http import read_routing
from campshub.core.memoized import Memoized, everyone, memoized, whole_organization
from campshub.core.security.permissions import Permission, Role
from campshub.core.security.principal import Principal
from tests.dates import today
from tests.memoized import COUNTS, PATIENCE_S, counts_of, forget, forget_responses, read_until, stored_keys
from tests.waiting import until


@pytest.fixture
def unit(app, tenant, api, monkeypatch) -> Callable[..., Unit]:
    """Return a factory of units of work with the values of a read whose lookup was trusted."""
    found: list[Any] = []
    values = read_routing._values
    monkeypatch.setattr(read_routing, "_values", lambda *given: found.append(values(*given)) or found[-1])
    read_until(api, COUNTS, "memory", lambda: forget_responses(app))
    given = {"organization_id": tenant.id, "user_id": api.user_id, "checks_caller": False, "values": found[-1]}
    return lambda **changes: Unit(engine=app.extensions["campshub"].engines[None], **{**given, **changes})


@pytest.fixture
def admin(tenant, api) -> Principal:
    return Principal(api.user_id, tenant.id, Role.ADMIN, "UTC")


@pytest.fixture
def calls() -> list[int]:
    return []


@pytest.fixture
def counted(calls) -> Memoized:
    """A memoized function that returns how often it was called."""

    @memoized(tags=("students",), key=everyone)
    def counted_calls(_session: Any, _principal: Any, **_given: Any) -> dict[str, int]:
        calls.append(1)
        return {"calls": len(calls)}

    return counted_calls


def test_a_function_gets_nothing_of_its_caller_that_is_not_in_the_key():
    admin = Principal(new_id(), new_id(), Role.ADMIN, "Asia/Kolkata", session_id=new_id())
    for key in (everyone, whole_organization):
        shared = key(admin)
        assert shared.organization_id == admin.organization_id
        assert (shared.user_id.int, shared.role, shared.time_zone, shared.session_id) == (0, None, None, None)
        with pytest.raises(TypeError):
            shared.may(Permission.STUDENTS_READ)
    assert whole_organization(Principal(new_id(), new_id(), Role.TRAINER, "UTC")) is None


def test_a_value_is_computed_once_for_equal_arguments(context, unit, admin, counted):
    session = begin(unit())
    for given in ({}, {"on": today()}, {"on": today(), "of": frozenset("ab")}):
        before = counted(session, admin, **given)
        assert counted(session, admin, **given) == before
    assert counted(session, admin) == {"calls": 1}
    assert counted(session, admin, on=today(), of=frozenset("ba")) == {"calls": 3}
    session.close()


def test_a_unit_that_writes_neither_uses_nor_stores_a_value(context, app, tenant, unit, admin, counted):
    reading, writing = begin(unit()), begin(unit(read_only=False))
    assert [counted(writing, admin) for _ in range(2)] == [{"calls": 1}, {"calls": 2}]
    assert stored_keys(app, tenant, counted) == []
    assert [counted(reading, admin) for _ in range(2)] == [{"calls": 3}, {"calls": 3}]
    assert counted(writing, admin) == {"calls": 4}
    for session in (reading, writing):
        session.rollback()
        session.close()


def test_a_new_release_of_a_function_does_not_use_the_values_of_the_previous_one(context, unit, admin, counted):
    session = begin(unit())
    assert [counted(session, admin) for _ in range(2)] == [{"calls": 1}, {"calls": 1}]
    counted._release = "another"
    assert counted(session, admin) == {"calls": 2}
    session.close()


def test_an_endpoint_without_the_tags_of_a_value_is_an_error(context, unit, admin):
    @memoized(tags=("students", "exercises"), key=everyone)
    def of_both(_session: Any, _principal: Any) -> int:
        return 1

    session = begin(unit())
    with pytest.raises(TagsMissing, match="exercises"):
        of_both(session, admin)
    session.close()


@pytest.mark.parametrize(
    "forged",
    [pickle.dumps(["value"]), b"\x80\x04\x95", b"", b"{", b"7", b"[]", b'["a", "b"]', b'{"calls": 0}'],
)
def test_what_is_not_a_value_in_redis_is_a_miss(context, app, tenant, unit, admin, counted, forged):
    session, client = begin(unit()), app.extensions["campshub"].cache.client
    assert counted(session, admin) == {"calls": 1}
    (key,) = stored_keys(app, tenant, counted)
    client.set(key, forged)
    forget(app.extensions["campshub"], values=True)

    assert counted(session, admin) == {"calls": 2}
    assert client.get(key) == b'[{"calls":2}]'
    client.delete(key)
    client.lpush(key, "not even a string")
    forget(app.extensions["campshub"], values=True)
    assert counted(session, admin) == {"calls": 3}
    session.close()


def test_a_value_is_the_same_whether_it_was_computed_or_cached(context, app, unit, admin):
    @memoized(tags=("students",), key=everyone)
    def mixed(_session: Any, principal: Any) -> Any:
        return principal.organization_id, {"on": today(), "none": None}, (1, 2.5)

    session = begin(unit())
    first = mixed(session, admin)
    assert first == [str(admin.organization_id), {"on": str(today()), "none": None}, [1, 2.5]]
    first.clear()
    assert mixed(session, admin)[1] == {"on": str(today()), "none": None}
    assert mixed(begin(unit(values=None)), admin) == mixed(session, admin)
    session.close()


def test_concurrent_callers_compute_a_value_once(context, unit, admin):
    may_end, has_begun, results, computed = threading.Event(), threading.Event(), [], []

    @memoized(tags=("students",), key=everyone)
    def slow(_session: Any, _principal: Any) -> int:
        computed.append(1)
        has_begun.set()
        assert may_end.wait(PATIENCE_S)
        return 7

    def call() -> None:
        results.append(slow(session, admin))

    session = begin(unit())
    threads = [threading.Thread(target=call) for _ in range(4)]
    threads[0].start()
    assert has_begun.wait(PATIENCE_S)
    for thread in threads[1:]:
        thread.start()
    until(lambda: counts_of(slow)["computed"] == 4)  # all have looked it up, and wait
    may_end.set()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert (results, computed) == ([7] * 4, [1])
    session.close()


def test_values_are_bounded_by_the_memory_of_responses(context, app, unit, admin, calls, counted):
    memory = app.extensions["campshub"].response_cache.memory
    session = begin(unit())
    for number in range(3):
        counted(session, admin, number=number)
    assert sum(location[0] == "value" for location in memory._entries) >= 3
    assert memory.bytes == sum(len(one.body) + ENTRY_OVERHEAD_BYTES for one, _ in memory._entries.values())
    session.close()
