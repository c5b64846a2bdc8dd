"""Between the call that sends readers to the primary and the COMMIT nothing may take time."""

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
    """The process's clock, which may stand still for the process."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def elapsed(self) -> float:
        """Return the time as the process finds it when it goes on."""
        return elapsed() + self.ahead_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(protocol, "elapsed", clock.elapsed)
    return clock


@pytest.fixture
def told(monkeypatch) -> list[tuple[Any, ...]]:
    """All that a write says to Redis and to PostgreSQL, in its order."""
    told: list[tuple[Any, ...]] = []
    run, send = PipelinedRedis.run, PipelinedRedis.send

    def said(wire: PipelinedRedis, script: Any, nonce: str, *arguments: Any) -> Any:
        told.append((script.name, nonce))
        return run(wire, script, nonce, *arguments)

    def sent(wire: PipelinedRedis, *command: Any) -> Any:
        told.append(command)
        return send(wire, *command)

    monkeypatch.setattr(PipelinedRedis, "run", said)
    monkeypatch.setattr(PipelinedRedis, "send", sent)
    with metrics.listening(lambda statement: told.append(("sql", statement))):
        yield told


@pytest.fixture
def standing_still(monkeypatch, clock):
    """Let so many calls of ``begin`` find, when they go on, that it is late."""

    def stand(times: int) -> None:
        run, left = PipelinedRedis.run, [None] * times

        def slowly(wire: PipelinedRedis, script: Any, *arguments: Any) -> Any:
            answer = run(wire, script, *arguments)
            if script.name == "begin" and left:
                left.pop()
                clock.ahead_s += LATE_S
            return answer

        monkeypatch.setattr(PipelinedRedis, "run", slowly)

    return stand


def create(api) -> int:
    return api.post("/api/students/", {"code": new_id().hex, "given_name": "A", "family_name": "B"}).status


def calls(told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return what was said from the first ``begin`` on."""
    return told[next(number for number, call in enumerate(told) if call[0] == "begin") :]


def raised(sql) -> int:
    return sql("SELECT freshness_epoch()")[0][0]


def test_the_commit_follows_its_begin_at_once(api, told):
    told.clear()
    assert create(api) == 201

    (begin, nonce), *rest = calls(told)
    assert (begin, *rest) == ("begin", ("sql", COMMITTED), ("end", nonce))


def test_a_process_that_stood_still_begins_again_before_it_commits(api, told, standing_still, sql):
    standing_still(1)
    told.clear()
    before = raised(sql)
    assert create(api) == 201

    first, second = (nonce for name, nonce in told if name == "begin")
    said = [("begin", first), ("end", first), ("begin", second), ("sql", COMMITTED), ("end", second)]
    assert calls(told) == said
    assert first != second
    assert raised(sql) == before


def test_one_that_is_late_again_raises_the_epoch_instead(api, told, standing_still, sql):
    standing_still(2)
    told.clear()
    before = raised(sql)
    assert create(api) == 201

    first, second = (nonce for name, nonce in told if name == "begin")
    begins = [("begin", first), ("end", first), ("begin", second), ("end", second)]
    assert [call[:2] for call in calls(told)][:4] == begins
    assert [text[:6] for _, text in calls(told)[4:]] == ["INSERT", "COMMIT"]
    assert raised(sql) == before + 1


def test_no_check_is_put_off_to_the_commit(sql):
    deferred = (
        "SELECT conname FROM pg_constraint WHERE condeferred UNION SELECT tgname FROM pg_trigger WHERE tginitdeferred"
    )

    assert sql(deferred) == []
    assert len(sql("SELECT FROM pg_constraint WHERE contype = 'f'")) > 20
