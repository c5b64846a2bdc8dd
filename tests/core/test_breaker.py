"""The breaker: closed, open for its pause, and then one caller's trial."""

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


def test_what_has_failed_is_left_alone_until_the_pause_is_over(clock):
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


def test_it_opens_after_so_many_failures_in_a_row(clock):
    breaker = CircuitBreaker(2.0, failures=3, clock=clock)

    for step in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        step()
    assert breaker.allows()

    breaker.failed()
    assert not breaker.allows()


def test_when_the_pause_is_over_one_tries_and_the_others_go_past(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    breaker.failed()
    clock.now += 2

    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]

    breaker.succeeded()
    assert not breaker.is_open
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_a_trial_that_fails_costs_another_pause(clock):
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


def test_a_trial_that_never_ends_does_not_keep_the_others_away_for_ever(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    breaker.failed()
    clock.now += 2
    assert breaker.allows()

    clock.now += 2

    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_of_many_threads_one_tries(clock):
    breaker = CircuitBreaker(2.0, clock=clock)
    threads = 8
    together = Barrier(threads)

    def ask(_):
        together.wait()
        return breaker.allows()

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(200):
            breaker.failed()
            clock.now += 2
            assert sum(pool.map(ask, range(threads))) == 1


def test_a_failure_that_comes_in_while_a_trial_is_taken_ends_it(clock):
    breaker = CircuitBreaker(2.0, clock=lambda: late(clock()))

    def late(now):
        # Between the look at the pause and the trial, what someone else had asked before fails.
        if now == 102.0:
            clock.now = 102.5
            breaker.failed()
        return now

    breaker.failed()
    clock.now = 102.0

    assert not breaker.allows()


def test_its_opening_and_closing_are_told_once_each(clock):
    told = []
    breaker = CircuitBreaker(2.0, name="cache", changed=told.append, clock=clock)

    for step in (breaker.succeeded, breaker.failed, breaker.failed, breaker.succeeded, breaker.succeeded):
        step()

    assert (breaker.name, told) == ("cache", [True, False])
