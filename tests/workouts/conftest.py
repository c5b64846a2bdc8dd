"""Fixtures for workouts: an exercise, a log, and a user who trains."""

from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from campshub.workouts import catalogue

SQUAT, BENCH, PLANK = (str(catalogue.exercise_id(key)) for key in ("back_squat", "bench_press", "plank"))


@pytest.fixture
def ago():
    """Return a function for an instant so long ago, in the format of a client."""
    return lambda **time: (datetime.now(UTC) - timedelta(**time)).isoformat()


@pytest.fixture
def log(api, student, ago):
    """Return a maker of logs: ``log(sets=[...])`` returns the created one, by default of a new student."""

    def make(client=None, *, sets=({"reps": 5, "load": "100", "load_unit": "kg"},), **fields):
        body = {"started_at": ago(hours=1), "exercises": [{"exercise_id": SQUAT, "sets": list(sets)}], **fields}
        if client is None and "student_id" not in fields:
            body["student_id"] = student()["id"]
        return (client or api).made("/api/workout-logs/", body)

    return make


@pytest.fixture
def trainee(api, tenant, student):
    """A client user of the organization, and the student that it is linked to."""
    client = tenant.someone(Role.CLIENT)
    return client, student(user_id=str(client.user_id))


@pytest.fixture
def coach(tenant, sql):
    """Return a maker of trainers of a student's group."""

    def make(*student_ids):
        client = tenant.someone(Role.TRAINER)
        group = new_id()
        sql("INSERT INTO groups (organization_id, id, code, name, sort_name, search_text, kind)"
            " VALUES (%s, %s, %s, 'A', 'a', 'a', 'class') RETURNING 1",
            tenant.id, group, group.hex)  # fmt: skip
        sql("INSERT INTO group_trainers (organization_id, id, group_id, user_id) VALUES (%s, %s, %s, %s) RETURNING 1",
            tenant.id, new_id(), group, client.user_id)  # fmt: skip
        for student_id in student_ids:
            sql(
                "INSERT INTO enrolments (organization_id, id, student_id, group_id, begins_on)"
                " VALUES (%s, %s, %s, %s, '2026-01-01') RETURNING 1",
                *(tenant.id, new_id(), student_id, group),
            )
        return client

    return make


@pytest.fixture
def whole(student, ago):
    """A body with every field of a log."""
    return {
        "id": str(new_id()),
        "student_id": student()["id"],
        "started_at": ago(hours=2),
        "ended_at": ago(hours=1),
        "time_zone": "Europe/Berlin",
        "title": "Legs and chest",
        "note": "left knee hurts",
        "body_weight": 180,
        "body_weight_unit": "lb",
        "source": "hevy",
        "external_id": "h-1",
        "exercises": [
            {
                "id": str(new_id()),
                "exercise_id": SQUAT,
                "note": "belt",
                "superset": 1,
                "sets": [
                    {"type": "warm_up", "reps": 10, "load": 20, "load_unit": "kg"},
                    {"id": str(new_id()), "reps": 5, "load": "225.50", "load_unit": "lb", "rir": 1.5,
                     "rest_seconds": 120, "done_at": ago(minutes=90)},
                ],
            },
            {"exercise_id": BENCH, "superset": 1,
             "sets": [{"type": "amrap", "reps": 8, "load": 60.5, "load_unit": "kg"}]},
            {"exercise_id": PLANK, "sets": [{"seconds": 90}]},
        ],
    }  # fmt: skip
