"""Signals end `devstack run` once and completely: in bursts, in any order, while it starts, runs or stops."""

import os
import random
import shutil
import signal
import time

import pytest

from devstack import ports, workspace
from tests.stack.conftest import processes_of
from tests.stack.terminal import SMALL, Terminal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LATEST_START_S = 6.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of one stack: the first test fills it, and the next ones start it again."""
    folder = tmp_path_factory.mktemp("signals") / "devstack"
    yield folder
    shutil.rmtree(workspace.make(folder).runtime, ignore_errors=True)


@pytest.fixture
def terminal(folder):
    started = Terminal(folder, "run", ports.unused(), **SMALL)
    yield started
    if started.process.poll() is None:
        started.kill()


@pytest.fixture
def rng() -> random.Random:
    """Random moments; a failure prints the seed that repeats them."""
    seed = random.randrange(1_000_000)
    rng = random.Random(seed)
    rng.first_seed = seed
    return rng


def burst(terminal: Terminal, rng: random.Random) -> None:
    """Send several signals, some of them at the same moment, to the process or to its whole group."""
    send = {"process": os.kill, "group": os.killpg}
    for _ in range(rng.randint(2, 6)):
        if terminal.process.poll() is None:
            send[rng.choice(list(send))](terminal.process.pid, rng.choice(ENDING))
        time.sleep(rng.choice((0, 0, 0.001, 0.01, 0.1, 0.5)))


def assert_ended_whole(terminal: Terminal, folder, rng: random.Random | None = None) -> None:
    assert terminal.ended() == 0, (rng and rng.first_seed, terminal.shown)
    assert processes_of(workspace.make(folder)) == []
    assert "Traceback" not in terminal.shown
    assert terminal.shown.count("stopping") == 1


def test_two_sigterms_at_once_end_a_running_stack(terminal, folder):
    terminal.state()

    os.killpg(terminal.process.pid, signal.SIGTERM)
    terminal.process.terminate()

    assert_ended_whole(terminal, folder)


@pytest.mark.parametrize("again", range(2))
def test_a_burst_during_the_start_ends_it(terminal, folder, rng, again):
    first_line = time.monotonic() + 30
    while not terminal.lines and time.monotonic() < first_line:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, LATEST_START_S))

    burst(terminal, rng)

    assert_ended_whole(terminal, folder, rng)


def test_a_burst_during_the_stop_changes_nothing(terminal, folder, rng):
    terminal.state()
    terminal.process.send_signal(rng.choice(ENDING))
    time.sleep(rng.uniform(0, 1))

    burst(terminal, rng)

    assert_ended_whole(terminal, folder, rng)
