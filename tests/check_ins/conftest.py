"""A class that meets today from 30 minutes ago until in 30 minutes, its kiosk, and events."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from campshub.accounts.models import ApiKey
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security import api_keys
from campshub.core.security.opaque import hash_of
from campshub.core.security.permissions import OF_DEVICES
from tests.attendance.conftest import a_class, enrol, group, students, today
from tests.conftest import Client

__all__ = ["a_class", "enrol", "group", "students", "today"]
URL, BULK = "/api/attendance/check-ins/", "/api/attendance/check-ins/bulk/"


def moment(minutes=0):
    """Return the time so many minutes from now."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)


@pytest.fixture
def plan(stack, database):
    """Return a function that sets when a session begins and ends, in minutes from now.

    It writes to the table: near midnight, the session would begin on the day before its date.
    """

    def set_times(session, since, until):
        with stack.primary.connect(database) as connection:
            connection.execute(
                "UPDATE attendance_sessions SET starts_at = %s, ends_at = %s WHERE id = %s",
                (moment(since), moment(until), uuid.UUID(session)),
            )

    return set_times


@pytest.fixture
def meeting(a_class, plan):
    """Return a maker of a class whose session began ``since`` minutes ago and ends in ``until`` minutes."""

    def make(count=2, *, since=30, until=30, **fields):
        made = a_class(count, **fields)
        plan(made.session, -since, until)
        return made

    return make


@pytest.fixture
def kiosk(app, api, tenant):
    """Return a maker of clients with a device's key of the admin, in an organization that allows kiosks everything."""

    def make(owner=None, ways=("card", "code", "personal_code", "search")):
        assert api.patch("/api/organization/", {"check_in_ways": [*ways]}).status == 200
        key, prefix = api_keys.new_key()
        with app.app_context(), unit_of_work(organization_id=tenant.id) as session:
            made = ApiKey(
                id=new_id(),
                user_id=(owner or api).user_id,
                kind="device",
                name="Front door",
                prefix=prefix,
                secret_hash=hash_of(key),
                permissions=sorted(OF_DEVICES),
                scope="all" if owner is None else "groups",
                expires_at=moment(60 * 24),
            )
            session.add(made)
            session.flush()
            key_id = made.id
        return Client(app, {"Authorization": f"Bearer {key}"}, key_id)

    return make


def event(session=None, student=None, *, kind="in", minutes=None, at=None, **fields):
    """Return the body of an event."""
    if minutes is not None:
        at = moment(minutes)
    body = {"id": str(new_id()), "kind": kind, **fields}
    given = {"session_id": session, "student_id": student, "at": at.isoformat() if at else None}
    return body | {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def record_of(api):
    """Return a reader of a student's mark in a class."""

    def read(made, student):
        rows = api.get(made.records).json["items"]
        return next(row["mark"] for row in rows if row["student_id"] == student)

    return read
