"""The circuit breaker: closed, open for its pause, then one trial call."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from campshub.core.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_calls_are_rejected_during_the_pause_after_a_failure(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    assert breaker.allows()
    assert not breaker.is_open

    breaker.failed()

    assert breaker.is_open
    assert not breaker.allows()
    clock.now += 1.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.allows()


def test_it_opens_after_a_number_of_consecutive_failures(clock):
    breaker = CircuitBreaker(2.0, failures=3, clock=clock)

    for step in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        step()
    assert breaker.allows()

    breaker.failed()
    assert not breaker.allows()


def test_after_the_pause_one_call_is_a_trial_and_others_are_rejected(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    breaker.failed()
    clock.now += 2

    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]

    breaker.succeeded()
    assert not breaker.is_open
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_a_failed_trial_starts_another_pause(clock):
    breaker = CircuitBreaker(2.0, failures=3, clock=clock)
    for _ in range(3):
        breaker.failed()
    clock.now += 2
    assert breaker.allows()

    clock.now += 1
    breaker.failed()

    clock.now += 1.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.allows()


def test_a_trial_that_never_ends_does_not_reject_others_for_ever(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    breaker.failed()
    clock.now += 2
    assert breaker.allows()

    clock.now += 2

    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_of_many_threads_one_makes_the_trial(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    threads = 8
    together = Barrier(threads)

    def call(_):
        together.wait()
        return breaker.allows()

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(200):
            breaker.failed()
            clock.now += 2
            assert sum(pool.map(call, range(threads))) == 1


def test_a_failure_reported_while_a_trial_starts_ends_it(clock):
    breaker = CircuitBreaker(2.0, clock=lambda: late(clock()))

    def late(now):
        # Between the check of the pause and the trial, an earlier call of another thread fails.
        if now == 102.0:
            clock.now = 102.5
            breaker.failed()
        return now

    breaker.failed()
    clock.now = 102.0

    assert not breaker.allows()


def test_opening_and_closing_are_reported_once_each(clock):
    states = []
    breaker = CircuitBreaker(2.0, name="cache", changed=states.append, clock=clock)

    for step in (breaker.succeeded, breaker.failed, breaker.failed, breaker.succeeded, breaker.succeeded):
        step()

    assert (breaker.name, states) == ("cache", [True, False])
