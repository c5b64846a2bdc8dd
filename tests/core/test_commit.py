"""Between the call that sends readers to the primary and the COMMIT there is no delay."""

from typing import Any

import pytest

from campshub.core.db.models import new_id
from campshub.core.freshness import protocol
from campshub.core.freshness.lease import elapsed
from campshub.core.observe import metrics
from campshub.core.redis.pipeline import PipelinedRedis

LATE_S = protocol.COMMIT_WITHIN_S + 1
COMMITTED = "COMMIT; SELECT pg_current_wal_flush_lsn()"


class Clock:
    """The process's clock, which can jump while the process is suspended."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def elapsed(self) -> float:
        """Return the time that the process sees when it continues."""
        return elapsed() + self.ahead_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(protocol, "elapsed", clock.elapsed)
    return clock


@pytest.fixture
def sent_calls(monkeypatch) -> list[tuple[Any, ...]]:
    """All calls of a write to Redis and PostgreSQL, in order."""
    sent_calls: list[tuple[Any, ...]] = []
    run, send = PipelinedRedis.run, PipelinedRedis.send

    def recorded_run(wire: PipelinedRedis, script: Any, nonce: str, *arguments: Any) -> Any:
        sent_calls.append((script.name, nonce))
        return run(wire, script, nonce, *arguments)

    def recorded_send(wire: PipelinedRedis, *command: Any) -> Any:
        sent_calls.append(command)
        return send(wire, *command)

    monkeypatch.setattr(PipelinedRedis, "run", recorded_run)
    monkeypatch.setattr(PipelinedRedis, "send", recorded_send)
    with metrics.listening(lambda statement: sent_calls.append(("sql", statement))):
        yield sent_calls


@pytest.fixture
def delay_begin(monkeypatch, clock):
    """Let a number of calls of ``begin`` return late."""

    def delay(times: int) -> None:
        run, left = PipelinedRedis.run, [None] * times

        def slowly(wire: PipelinedRedis, script: Any, *arguments: Any) -> Any:
            response = run(wire, script, *arguments)
            if script.name == "begin" and left:
                left.pop()
                clock.ahead_s += LATE_S
            return response

        monkeypatch.setattr(PipelinedRedis, "run", slowly)

    return delay


def create(api) -> int:
    return api.post("/api/students/", {"code": new_id().hex, "given_name": "A", "family_name": "B"}).status


def calls(sent_calls: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the calls from the first ``begin`` on."""
    return sent_calls[next(number for number, call in enumerate(sent_calls) if call[0] == "begin") :]


def raised(sql) -> int:
    return sql("SELECT freshness_epoch()")[0][0]


def test_the_commit_follows_its_begin_at_once(api, sent_calls):
    sent_calls.clear()
    assert create(api) == 201

    (begin, nonce), *rest = calls(sent_calls)
    assert (begin, *rest) == ("begin", ("sql", COMMITTED), ("end", nonce))


def test_a_suspended_process_begins_again_before_it_commits(api, sent_calls, delay_begin, sql):
    delay_begin(1)
    sent_calls.clear()
    before = raised(sql)
    assert create(api) == 201

    first, second = (nonce for name, nonce in sent_calls if name == "begin")
    expected = [("begin", first), ("end", first), ("begin", second), ("sql", COMMITTED), ("end", second)]
    assert calls(sent_calls) == expected
    assert first != second
    assert raised(sql) == before


def test_a_second_delay_raises_the_epoch_instead(api, sent_calls, delay_begin, sql):
    delay_begin(2)
    sent_calls.clear()
    before = raised(sql)
    assert create(api) == 201

    first, second = (nonce for name, nonce in sent_calls if name == "begin")
    begins = [("begin", first), ("end", first), ("begin", second), ("end", second)]
    assert [call[:2] for call in calls(sent_calls)][:4] == begins
    assert [text[:6] for _, text in calls(sent_calls)[4:]] == ["INSERT", "COMMIT"]
    assert raised(sql) == before + 1


def test_no_constraint_is_deferred_to_the_commit(sql):
    deferred = (
        "SELECT conname FROM pg_constraint WHERE condeferred UNION SELECT tgname FROM pg_trigger WHERE tginitdeferred"
    )

    assert sql(deferred) == []
    assert len(sql("SELECT FROM pg_constraint WHERE contype = 'f'")) > 20
