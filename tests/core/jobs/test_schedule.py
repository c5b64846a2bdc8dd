"""The schedule: the current slot, and two beats that enqueue it once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import schedule
from campshub.core.jobs.registry import job
from campshub.core.jobs.schedule import Daily, Every, Weekly
from tests.core.jobs.conftest import a_group, in_steps

AT = datetime(2026, 11, 21, 14, 37, 12, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("when", "slot"),
    [
        (Every(minutes=5), datetime(2026, 11, 21, 14, 35, tzinfo=UTC)),
        (Every(minutes=60), datetime(2026, 11, 21, 14, tzinfo=UTC)),
        (Daily(hour=14, minute=37), datetime(2026, 11, 21, 14, 37, tzinfo=UTC)),
        (Daily(hour=14, minute=38), datetime(2026, 11, 20, 14, 38, tzinfo=UTC)),
        (Weekly(day=5, hour=3), datetime(2026, 11, 21, 3, tzinfo=UTC)),
        (Weekly(day=5, hour=15), datetime(2026, 11, 14, 15, tzinfo=UTC)),
        (Weekly(day=6, hour=3), datetime(2026, 11, 15, 3, tzinfo=UTC)),
    ],
)
def test_the_current_slot_is_the_one_that_started_last(when, slot):
    assert when.slot(AT) == slot
    assert when.slot(slot) == slot
    assert when.slot(slot + when.period) == slot + when.period
    assert when.slot(slot - timedelta(microseconds=1)) == slot - when.period


def test_two_beats_enqueue_a_slot_once(app, sql):
    in_steps(1)
    job("tests.group", system=True)(lambda session, run, *, number: a_group(session))
    schedule.scheduled("tests.group", Every(minutes=1), number=1)
    schedule.scheduled("tests.steps", Every(minutes=1))
    made = []

    def tick():
        with app.app_context(), unit_of_work(system=True) as session:
            made.append(len(schedule.enqueue_due(session, AT)))

    threads = [threading.Thread(target=tick) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert sorted(made) == [0] * 7 + [2]
    assert sql("SELECT job, arguments, slot FROM outbox ORDER BY job") == [
        ("tests.group", {"number": 1}, AT.replace(second=0)),
        ("tests.steps", {}, AT.replace(second=0)),
    ]
    assert sql("SELECT job, state FROM jobs") == [("tests.steps", "queued")]


def test_a_missed_slot_is_enqueued_while_half_of_its_period_is_left(app, sql):
    job("tests.group", system=True)(lambda session, run: a_group(session))
    schedule.scheduled("tests.group", Daily(hour=3))
    with app.app_context(), unit_of_work(system=True) as session:
        late = schedule.enqueue_due(session, datetime(2026, 11, 21, 15, 1, tzinfo=UTC))
        in_time = schedule.enqueue_due(session, datetime(2026, 11, 21, 14, 59, tzinfo=UTC))

    assert (len(late), len(in_time)) == (0, 1)


def test_the_commands_of_the_schedule(app, sql):
    flask = app.test_cli_runner().invoke
    job("tests.group", system=True)(lambda session, run: None)
    schedule.scheduled("tests.group", Every(minutes=5))

    assert "every 5 minutes" in flask(args=["schedule", "list"]).output
    assert ": done (" in flask(args=["schedule", "run", "tests.group", "--here"]).output
    refused = flask(args=["schedule", "run", "tests.unknown"])
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "tests.group" in refused.output
