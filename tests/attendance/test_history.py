"""The history of a mark: who changed it, when, with which device, before and after, and why."""

from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

RECORDS = "/api/attendance/records/"


@pytest.fixture
def trainer(tenant):
    return tenant.the(Role.TRAINER)


@pytest.fixture
def mark(a_class, today, trainer):
    """Return a maker of a class of one with a mark, and the URL of the mark's history."""

    def make(**fields):
        roster = a_class(1, trainer=trainer, **fields)
        made = roster.mark("absent").json["results"][0]
        return roster, made, f"{RECORDS}{made['id']}/", f"?on={today}"

    return make


def test_every_change_of_a_mark_is_in_its_history_with_its_reason(api, trainer, mark):
    roster, _, url, on = mark()
    api.post(f"{roster.url}submit/")
    trainer.patch(url + on, {"code": "late", "note": "Bus 4.", "reason": "The bus was late."})

    response = trainer.get(f"{url}history/{on}")

    changed, created = response.json["items"]
    assert len(response.queries) <= 3
    assert (created["action"], created["user_id"], created["reason"]) == ("created", str(api.user_id), None)
    assert (created["before"], created["after"]["code"]) == (None, "absent")
    assert (changed["action"], changed["user_id"]) == ("changed", str(trainer.user_id))
    assert changed["reason"] == "The bus was late."
    assert (changed["before"]["code"], changed["after"]["code"]) == ("absent", "late")
    assert (changed["before"]["note"], changed["after"]["note"]) == (None, "Bus 4.")


def test_the_history_of_a_removed_mark_is_still_shown(api, trainer, mark, tenant, today):
    roster, _, url, on = mark()
    api.post(f"{roster.url}submit/")
    api.delete(f"{url}{on}&reason=Wrong+class.")

    removed = trainer.get(f"{url}history/{on}").json["items"][0]

    assert (removed["action"], removed["reason"]) == ("deleted", "Wrong class.")
    assert (removed["before"]["code"], removed["after"]) == ("absent", None)
    assert tenant.someone(Role.TRAINER).get(f"{url}history/{on}").status == 404
    assert trainer.get(f"{url}history/?on={today - timedelta(days=1)}").status == 404


def test_a_trainer_sees_the_history_of_marks_that_they_see(tenant, mark, student, api, today):
    _, _, url, on = mark()
    stranger = tenant.someone(Role.TRAINER)
    gym = api.made("/api/attendance/sessions/", {"local_date": str(today), "slot": "07:00"})["id"]
    body = {"records": [{"student_id": student()["id"], "code": "present"}]}
    made = api.put(f"/api/attendance/sessions/{gym}/records/", body).json["results"][0]["id"]
    api.delete(f"{RECORDS}{made}/{on}")

    assert stranger.get(f"{url}history/{on}").status == 404
    assert stranger.get(f"{RECORDS}{made}/history/{on}").status == 404
    assert api.get(f"{RECORDS}{made}/history/{on}").json["items"][0]["action"] == "deleted"


@pytest.fixture
def gate(api, tenant):
    """Return the id of a device and the headers of its requests."""
    body = {"name": "Gate", "kind": "device", "expires_in_days": 9}
    made = tenant.signed_in(api).made("/api/api-keys/", body)
    return made["id"], {"Authorization": f"Bearer {made['key']}"}


def test_clients_and_devices_see_no_history(tenant, mark, api, gate):
    _, _, url, on = mark()

    assert tenant.the(Role.CLIENT).get(f"{url}history/{on}").status == 403
    assert api.get(f"{url}history/{on}", headers=gate[1]).status == 403


def test_the_history_names_the_device_that_marked(api, a_class, today, gate):
    roster = a_class(1)
    marks = {"records": [{"student_id": roster.students[0], "code": "present"}]}
    marked = api.put(roster.records, marks, headers=gate[1]).json["results"][0]

    (created,) = api.get(f"{RECORDS}{marked['id']}/history/?on={today}").json["items"]

    assert (created["api_key_id"], created["user_id"]) == (gate[0], str(api.user_id))


def test_the_notes_of_an_erased_student_are_gone_from_the_history(api, mark, stack, database):
    roster, _, url, on = mark()
    api.patch(url + on, {"note": "Broken arm."})
    with stack.primary.connect(database) as connection:
        connection.execute("UPDATE person_keys SET sealed_key = NULL WHERE id = %s", (roster.students[0],))
        connection.commit()

    changed = api.get(f"{url}history/{on}").json["items"][0]

    assert changed["after"]["note"] == {"erased": True}


def test_a_mark_made_offline_has_the_devices_time(api, a_class, today):
    roster = a_class(2)
    at = (datetime.now(UTC) - timedelta(hours=9)).isoformat(timespec="seconds").replace("+00:00", "Z")
    soon = (datetime.now(UTC) + timedelta(minutes=3)).isoformat()
    far = (datetime.now(UTC) + timedelta(minutes=7)).isoformat()
    rows = [{"student_id": s, "code": "late", "recorded_at": at} for s in roster.students]

    marked = api.put(roster.records, {"records": rows}).json["results"]
    repeated = api.put(roster.records, {"records": [rows[0], {**rows[1], "recorded_at": soon}]}).json["summary"]
    ahead = api.put(roster.records, {"records": [{**rows[0], "recorded_at": far}]}).json["results"][0]

    assert [row["recorded_at"] for row in marked] == [at, at]
    assert repeated["unchanged"] == 2
    assert (ahead["outcome"], ahead["errors"][0]["pointer"]) == ("error", "/recorded_at")
    record = api.get(f"{RECORDS}{marked[0]['id']}/?on={today}").json
    assert record["recorded_at"] == at < record["created_at"]
    assert api.patch(f"{RECORDS}{record['id']}/?on={today}", {"code": "present"}).json["recorded_at"] is None


def test_a_mark_that_never_was_has_no_history(api, today):
    assert api.get(f"{RECORDS}{new_id()}/history/?on={today}").status == 404
