"""A group with a roster and a session, and requests of its students."""

from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role
from tests.attendance.conftest import a_class, enrol, group, students, today  # noqa: F401 - fixtures

URL = "/api/attendance/leave-requests/"


@pytest.fixture
def trainer(tenant):
    return tenant.the(Role.TRAINER)


@pytest.fixture
def request_leave(api, today):  # noqa: F811 - the fixture
    """Return a function that requests leave for a student, by default for today."""

    def requested(student_id, *, by=api, days=1, begins=0, **fields):
        first = today + timedelta(days=begins)
        body = {
            "student_id": student_id,
            "first_date": str(first),
            "last_date": str(first + timedelta(days=days - 1)),
            "reason": "Ill.",
            **fields,
        }
        return by.post(URL, body)

    return requested


@pytest.fixture
def approved(api, request_leave):
    """Return a function that requests and approves leave; it returns the response of the approval."""

    def approve(student_id, **fields):
        made = request_leave(student_id, **fields)
        assert made.status == 201, made.raw.get_data(as_text=True)
        return api.post(f"{URL}{made.json['id']}/approve/", {})

    return approve


@pytest.fixture
def mark_of(api):
    """Return a function that reads a student's mark in a session."""

    def read(roster, student, session=None):
        url = f"/api/attendance/sessions/{session or roster.session}/records/"
        rows = {row["student_id"]: row["mark"] for row in api.get(url).json["items"]}
        return rows[student]

    return read
