"""The valid time zones of an organization or a workout: names of the IANA database."""

from datetime import UTC, datetime

import pytest

from campshub.core.security.permissions import Role


@pytest.mark.parametrize(
    "name",
    [
        "localtime",
        "Factory",
        "posixrules",
        "right/UTC",
        "posix/Europe/Berlin",
        "asia/kolkata",
        "utc",
        "GMT+25",
        "../UTC",
    ],
)
def test_a_name_that_users_cannot_choose_is_refused(app, tenant, api, student, name):
    organization = {"name": "New Camp", "time_zone": name, "currency": "INR", "admin_email": "head@example.org",
                    "admin_name": "Head", "admin_password": "correct horse battery"}  # fmt: skip
    log = {"student_id": student()["id"], "started_at": datetime.now(UTC).isoformat(), "time_zone": name}

    responses = [
        api.patch("/api/organization/", {"time_zone": name}),
        tenant.the(Role.SUPERADMIN).post("/api/organizations/", organization),
        api.post("/api/workout-logs/", log),
    ]

    assert [(response.status, response.pointers) for response in responses] == [(422, {"/time_zone"})] * 3
    command = ["organizations", "create", "--name", "X", "--time-zone", name]
    assert "is not a time zone" in app.test_cli_runner().invoke(args=command).output


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT+5", "Asia/Calcutta", "America/Argentina/Buenos_Aires", "EST5EDT"])
def test_a_name_that_a_device_sends_is_accepted(api, name):
    assert api.patch("/api/organization/", {"time_zone": name}).json["time_zone"] == name
