"""What students check in with at kiosks: cards, and personal codes that work once; guessing is limited."""

import threading
from datetime import datetime

import pytest

from campshub.check_ins.service import recognition
from campshub.core.security.permissions import Role
from tests.check_ins.conftest import BULK, URL, event, moment


def refusal(response):
    return response.status, response.problem["code"]


@pytest.fixture
def code_for(api):
    return lambda student, by=None: (by or api).made(f"/api/students/{student}/check-in-code/", {})["code"]


def test_a_personal_code_works_once(meeting, kiosk, code_for, sql, tenant):
    made, device = meeting(1), kiosk(ways=())
    code = code_for(made.students[0])
    kiosk(ways=["personal_code"])
    body = event(made.session, personal_code=f" {code[:5].lower()}-{code[5:]} ")

    first = device.post(URL, body)

    assert (first.status, first.json["student_id"]) == (200, made.students[0])
    assert refusal(device.post(URL, event(made.session, personal_code=code))) == (422, "code_not_valid")
    assert device.post(URL, body).json == {**first.json, "outcome": "repeated"}
    assert code.encode() not in sql("SELECT code_hash FROM check_in_codes WHERE organization_id = %s", tenant.id)[0][0]


def test_a_personal_code_that_two_kiosks_send_at_once_checks_in_once(meeting, kiosk, code_for, sql, tenant):
    made, devices = meeting(1), [kiosk() for _ in range(4)]
    code, gate, found = code_for(made.students[0]), threading.Barrier(4), []

    def scan(device):
        gate.wait()
        found.append(device.post(URL, event(made.session, personal_code=code)).status)

    threads = [threading.Thread(target=scan, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [200, 422, 422, 422]
    assert sql("SELECT count(*) FROM check_in_events WHERE organization_id = %s", tenant.id) == [(1,)]


def test_a_refused_check_in_does_not_use_the_code_up(meeting, kiosk, student, code_for, enrol):
    made, device, stranger = meeting(0), kiosk(), student()["id"]
    code = code_for(stranger)

    assert refusal(device.post(URL, event(made.session, personal_code=code))) == (422, "not_on_roster")
    enrol(made.group, [stranger])
    assert device.post(URL, event(made.session, personal_code=code)).status == 200


def test_a_new_code_replaces_the_earlier_one_and_both_expire(meeting, kiosk, api, code_for, stack, database):
    made, device = meeting(1), kiosk()
    first = code_for(made.students[0])
    made_at = api.post(f"/api/students/{made.students[0]}/check-in-code/", {}).json
    assert datetime.fromisoformat(made_at["expires_at"]) < moment(6)

    assert refusal(device.post(URL, event(made.session, personal_code=first))) == (422, "code_not_valid")
    with stack.primary.connect(database) as connection:
        connection.execute("UPDATE check_in_codes SET expires_at = now() WHERE student_id = %s", (made.students[0],))
    assert refusal(device.post(URL, event(made.session, personal_code=made_at["code"]))) == (422, "code_not_valid")


def test_students_get_their_own_code_and_devices_none(meeting, kiosk, tenant, student):
    client = tenant.the(Role.CLIENT)
    own, foreign = student(user_id=str(client.user_id))["id"], student()["id"]

    assert client.post(f"/api/students/{own}/check-in-code/", {}).status == 200
    assert client.post(f"/api/students/{foreign}/check-in-code/", {}).status == 404
    assert kiosk().post(f"/api/students/{own}/check-in-code/", {}).status == 403


def test_a_card_checks_in_until_it_is_removed(meeting, kiosk, api):
    made, device = meeting(2), kiosk(ways=["card"])
    url = f"/api/students/{made.students[0]}/cards/"
    card = api.made(url, {"number": "04A2 24B2"})
    scan = {"card": "04A2 24B2"}

    assert device.post(URL, event(made.session, **scan)).json["student_id"] == made.students[0]
    assert [row["number"] for row in api.get(url).json["items"]] == ["04A2 24B2"]
    again = api.post(f"/api/students/{made.students[1]}/cards/", {"number": "04A2 24B2"})
    assert refusal(again) == (409, "card_taken")
    assert device.post(BULK, {"events": [event(made.session, kind="out", **scan)]}).json["summary"]["created"] == 1
    assert api.delete(f"/api/students/{made.students[1]}/cards/{card['id']}/").status == 404
    assert api.delete(f"{url}{card['id']}/").status == 204
    assert refusal(device.post(URL, event(made.session, **scan))) == (422, "unknown_student")


def test_a_kiosk_recognises_students_only_in_ways_that_the_organization_allows(meeting, kiosk, api):
    made, device = meeting(1), kiosk(ways=["card", "personal_code"])
    code = api.get(f"/api/students/{made.students[0]}/").json["code"]

    typed, chosen = event(made.session, code=code), event(made.session, made.students[0])

    assert refusal(device.post(URL, typed)) == refusal(device.post(URL, chosen)) == (403, "way_not_allowed")
    assert api.post(URL, event(made.session, code=code)).status == 200  # staff
    kiosk(ways=["code", "search"])
    assert (device.post(URL, typed).status, device.post(URL, chosen).status) == (200, 200)
    assert refusal(device.post(URL, event(made.session, card="x"))) == (403, "way_not_allowed")


def test_guessing_is_limited_for_each_device(meeting, kiosk, code_for, monkeypatch):
    monkeypatch.setattr(recognition, "GUESSES_OF_CALLER", "5 per 10 minutes")
    made, device, second = meeting(1), kiosk(), kiosk()
    code = code_for(made.students[0])

    guesses = [device.post(URL, event(made.session, personal_code=f"wrong{n}")).status for n in range(6)]
    right = device.post(URL, event(made.session, personal_code=code))

    assert guesses == [422] * 5 + [429]
    assert refusal(right) == (429, "rate_limited")
    assert int(right.headers["Retry-After"]) > 0
    assert device.post(URL, event(made.session, made.students[0])).status == 200  # no guess
    assert second.post(URL, event(made.session, personal_code=code)).status == 200


def test_guessing_is_limited_for_each_organization_also_in_uploads(meeting, kiosk, monkeypatch):
    monkeypatch.setattr(recognition, "GUESSES_OF_ORGANIZATION", "20 per 10 minutes")
    made = meeting(1)
    wrong = [event(made.session, card=f"wrong {n}", minutes=-1) for n in range(15)]

    found = [kiosk().post(BULK, {"events": wrong}).status for _ in range(3)]

    assert found == [200, 200, 429]


def test_right_codes_are_not_counted(meeting, kiosk, code_for, monkeypatch):
    monkeypatch.setattr(recognition, "GUESSES_OF_CALLER", "2 per 10 minutes")
    made, device = meeting(4), kiosk()

    found = [device.post(URL, event(made.session, personal_code=code_for(student))).status for student in made.students]

    assert found == [200] * 4
