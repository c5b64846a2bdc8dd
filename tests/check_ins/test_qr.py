"""The rotating QR code: only the session's own students, in their own name, from the right place, in time."""

import base64
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from campshub.check_ins.service import qr
from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.check_ins.conftest import BULK, URL, event


@pytest.fixture
def member(tenant, student, enrol):
    """Return a maker of a student with a login, in the group of a class."""

    def make(made=None):
        client = tenant.someone(Role.CLIENT)
        student_id = student(user_id=str(client.user_id))["id"]
        if made is not None:
            enrol(made.group, [student_id])
        return client, student_id

    return make


@pytest.fixture
def shown(api):
    """Return a reader of the code that the screen of a session shows."""
    return lambda made, by=None: (by or api).get(f"{made.url}qr/").json["code"]


@pytest.fixture
def code_of(app, tenant):
    """Return a writer of a code that was issued some seconds ago."""

    def write(made, seconds, organization_id=None):
        issued_at = datetime.now(UTC) - timedelta(seconds=seconds)
        services = app.extensions["campshub"]
        return qr._written(services, organization_id or tenant.id, uuid.UUID(made.session), issued_at)

    return write


def scan(client, code, **fields):
    return client.post(URL, event(qr=code, **fields))


def refusal(response):
    return response.status, response.problem["code"]


def test_a_student_checks_in_with_the_current_code(meeting, member, shown, record_of):
    made = meeting(0)
    client, student_id = member(made)

    response = scan(client, shown(made))

    assert (response.status, response.json["outcome"], response.json["student_id"]) == (200, "created", student_id)
    mark = record_of(made, student_id)
    assert (mark["source"], mark["code"]) == ("qr", "late")


def test_a_second_use_returns_the_same_record(meeting, member, shown):
    made = meeting(0)
    client, _ = member(made)
    code = shown(made)

    first, again = scan(client, code), scan(client, code)
    out, out_again = scan(client, code, kind="out"), scan(client, code, kind="out")

    assert (again.json["outcome"], again.json["record"], again.json["at"]) == (
        "repeated",
        first.json["record"],
        first.json["at"],
    )
    assert (out.json["outcome"], out_again.json["record"]) == ("created", out.json["record"])


def test_a_repeated_event_is_recognised_after_its_code_has_expired(meeting, member, code_of, monkeypatch):
    made = meeting(0)
    client, _ = member(made)
    body = event(qr=code_of(made, 0))
    first = client.post(URL, body)
    monkeypatch.setattr(qr, "VALID_FOR", timedelta(seconds=-9))

    assert client.post(URL, body).json["record"] == first.json["record"]
    assert refusal(scan(client, body["qr"])) == (422, "qr_expired")


@pytest.mark.parametrize(("seconds", "expected"), [(28, 200), (34, 422), (3600, 422), (-5, 422)])
def test_a_code_is_valid_for_30_seconds(meeting, member, code_of, seconds, expected):
    made = meeting(0)
    client, _ = member(made)

    response = scan(client, code_of(made, seconds))

    assert response.status == expected
    assert expected == 200 or response.problem["code"] == "qr_expired"


def test_codes_of_other_sessions_and_organizations_and_forged_ones_are_refused(meeting, member, shown, code_of, other):
    made, elsewhere = meeting(0), meeting(0)
    client, _ = member(made)
    code = shown(made)
    forged = code.replace(uuid.UUID(made.session).hex, uuid.UUID(elsewhere.session).hex)

    assert refusal(scan(client, code, session=elsewhere.session)) == (422, "qr_other_session")
    assert refusal(scan(client, code_of(made, 0, other.id))) == (422, "qr_other_organization")
    assert refusal(scan(client, forged)) == (422, "qr_invalid")
    assert refusal(scan(client, "anything")) == (422, "qr_invalid")
    assert scan(client, code, session=made.session).status == 200


def test_a_student_outside_the_group_gets_no_success(meeting, member, shown, sql, tenant):
    made = meeting(1)
    client, _ = member()

    refused = scan(client, shown(made))

    assert refusal(refused) == (403, "not_in_group")
    assert "record" not in refused.problem
    assert sql("SELECT count(*) FROM check_in_events WHERE organization_id = %s", tenant.id) == [(0,)]


def test_a_student_who_left_the_group_yesterday_is_outside(meeting, member, shown, enrol, today):
    made = meeting(0)
    client, student_id = member()
    enrol(made.group, [student_id], status="withdrawn", ends_on=today - timedelta(days=1))

    assert refusal(scan(client, shown(made))) == (403, "not_in_group")


def test_every_student_may_use_the_code_of_open_gym(api, member, today):
    session = api.made("/api/attendance/sessions/", {"local_date": str(today), "slot": "gym"})["id"]
    client, _ = member()

    assert scan(client, api.get(f"/api/attendance/sessions/{session}/qr/").json["code"]).status == 200


@pytest.mark.parametrize("state", ["submit", "lock", "cancelled"])
def test_a_closed_session_shows_and_accepts_no_code(api, meeting, member, shown, state):
    made = meeting(0)
    client, _ = member(made)
    code = shown(made)
    if state == "cancelled":
        api.patch(made.url, {"status": state})
    else:
        api.post(f"{made.url}{state}/")

    assert refusal(scan(client, code)) == (409, "session_closed")
    assert refusal(api.get(f"{made.url}qr/")) == (409, "session_closed")


def test_a_foreign_network_is_refused(api, meeting, member, shown):
    made = meeting(0)
    client, _ = member(made)
    api.patch("/api/organization/", {"check_in_networks": ["203.0.113.0/24"]})
    refused = scan(client, shown(made))
    own = api.patch("/api/organization/", {"check_in_networks": ["203.0.113.0/24", "127.0.0.0/8", "2001:db8::/32"]})

    assert refusal(refused) == (403, "foreign_network")
    assert own.status == 200
    assert scan(client, shown(made)).status == 200


@pytest.mark.parametrize("wrong", ["203.0.113.1/24", "somewhere", ""])
def test_a_network_must_be_one(api, wrong):
    assert api.patch("/api/organization/", {"check_in_networks": [wrong]}).status == 422


def test_students_use_codes_only_in_their_own_name_and_at_that_moment(meeting, member, shown, kiosk, tenant):
    made = meeting(1)
    client, _ = member(made)
    code = shown(made)

    assert refusal(scan(client, code, student=made.students[0])) == (422, "one_way")
    assert refusal(scan(client, code, minutes=-1)) == (422, "not_with_qr")
    assert refusal(scan(client, code, group_id=made.group)) == (422, "one_session")
    assert refusal(scan(kiosk(), code)) == (403, "way_not_allowed")
    assert refusal(scan(tenant.someone(Role.TRAINER), code)) == (403, "not_a_student")
    upload = kiosk().post(BULK, {"events": [event(qr=code)]}).json["results"][0]
    assert [error["code"] for error in upload["errors"]] == ["online_only"]


def test_an_event_of_another_student_is_not_shown(meeting, member, shown):
    made = meeting(0)
    first, second = member(made)[0], member(made)[0]
    body = event(qr=shown(made))
    first.post(URL, body)

    assert refusal(second.post(URL, body)) == (409, "id_taken")


def test_screens_and_trainers_show_the_code_and_students_do_not(meeting, kiosk, member, tenant):
    made = meeting(0, trainer=tenant.the(Role.TRAINER))

    for by in (kiosk(), tenant.the(Role.TRAINER)):
        found = by.get(f"{made.url}qr/?picture=svg").json
        assert found["svg"].startswith("<svg")
        issued, expires = (datetime.fromisoformat(found[name]) for name in ("issued_at", "expires_at"))
        assert expires - issued == timedelta(seconds=30)
    assert base64.b64decode(kiosk().get(f"{made.url}qr/?picture=png").json["png"]).startswith(b"\x89PNG")
    assert member(made)[0].get(f"{made.url}qr/").status == 403
    assert tenant.the(Role.ADMIN).get(f"/api/attendance/sessions/{new_id()}/qr/").status == 404
