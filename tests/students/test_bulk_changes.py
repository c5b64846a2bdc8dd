"""Changing and deleting many students in one call."""

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

BULK = "/api/students/bulk/"
DELETE = f"{BULK}delete/"


def outcomes(response):
    assert response.status == 200, response.raw.text
    return [row["outcome"] for row in response.json["results"]]


def url_of(row):
    return f"/api/students/{row['id']}/"


def test_each_row_of_a_bulk_change_has_its_own_result(api, student, tenant, sql):
    first, second, third, gone = (student(code=f"S{n}", given_name="A", phone="1") for n in range(4))
    api.delete(url_of(gone))
    rows = [
        {"id": first["id"], "phone": "2", "given_name": "Zoë"},
        {"id": second["id"], "phone": "1"},
        {"id": third["id"], "version": 7, "phone": "3"},
        {"id": third["id"], "phone": "4"},
        {"id": gone["id"], "phone": "5"},
        {"id": str(new_id()), "phone": "6"},
        {"phone": "7"},
    ]

    response = api.patch(BULK, {"students": rows})

    assert outcomes(response) == ["updated", "unchanged", "conflict", "error", "error", "error", "error"]
    assert response.json["summary"] == {"updated": 1, "unchanged": 1, "conflict": 1, "error": 4}
    results = response.json["results"]
    assert [row["version"] for row in results[:3]] == [2, 1, 1]
    assert results[2]["present"] == api.get("/api/students/?sort=code").json["items"][2]
    assert [row["errors"][0]["code"] for row in results[3:]] == ["repeated", "not_found", "not_found", "required"]
    changed = api.get(url_of(first))
    assert (changed.json["phone"], changed.json["given_name"], changed.json["version"]) == ("2", "Zoë", 2)
    assert [row["id"] for row in api.get("/api/students/?q=zoe").json["items"]] == [first["id"]]
    assert api.get(url_of(second)).json["version"] == 1


def test_a_bulk_change_takes_a_fixed_number_of_statements(api, student):
    rows = [student()["id"] for _ in range(12)]

    counts = [
        len(api.patch(BULK, {"students": [{"id": i, "code": f"{n}-{i}"} for i in some]}).queries)
        for n, some in enumerate((rows[:1], rows))
    ]

    assert counts[0] == counts[1] <= 6


def test_a_bulk_change_checks_what_a_single_change_checks(api, student, tenant):
    holder = student(code="taken", external_id="E-1")
    api.made("/api/students/custom-fields/", {"key": "size", "label": "x", "type": "choice", "choices": ["S"]})
    wrong = {
        "/code": {"code": "taken"},
        "/external_id": {"external_id": "E-1"},
        "/given_name": {"given_name": "", "family_name": ""},
        "/left_on": {"left_on": "2020-01-01"},
        "/date_of_birth": {"date_of_birth": "2190-01-01"},
        "/user_id": {"user_id": str(new_id())},
        "/custom_fields/size": {"custom_fields": {"size": "XL"}},
    }
    rows = [student(joined_on="2026-01-01") for _ in wrong]

    response = api.patch(
        BULK, {"students": [{"id": row["id"], **change} for row, change in zip(rows, wrong.values(), strict=True)]}
    )

    assert outcomes(response) == ["error"] * len(wrong)
    assert [row["errors"][0]["pointer"] for row in response.json["results"]] == list(wrong)
    single = [api.patch(url_of(row), change) for row, change in zip(rows, wrong.values(), strict=True)]
    assert [one.problem["errors"][0]["code"] for one in single] == [
        row["errors"][0]["code"] for row in response.json["results"]
    ]
    assert {one.json["version"] for one in map(api.get, map(url_of, [holder, *rows]))} == {1}


def test_two_rows_of_a_call_cannot_take_the_same_code(api, student):
    rows = [{"id": student()["id"], "code": "same"} for _ in range(2)]

    assert outcomes(api.patch(BULK, {"students": rows})) == ["updated", "error"]


def test_if_match_applies_to_every_row(api, student):
    first, second = student(), student()
    api.patch(url_of(second), {"phone": "1"})
    rows = {"students": [{"id": first["id"], "phone": "2"}, {"id": second["id"], "phone": "2"}]}

    refused = api.patch(BULK, rows, headers={"If-Match": '"1-x"'})

    assert (refused.status, api.get(url_of(first)).json["phone"]) == (412, None)
    assert outcomes(api.patch(BULK, rows, headers={"If-Match": '"1-x", "2-x"'})) == ["updated"] * 2


def test_a_medical_note_in_a_bulk_change_is_encrypted_and_compared(api, student):
    row = student(medical_note="asthma")

    def send(note):
        return outcomes(api.patch(BULK, {"students": [{"id": row["id"], "medical_note": note}]}))

    assert [send("asthma"), send("nuts"), send(None), send(None)] == [
        ["unchanged"],
        ["updated"],
        ["updated"],
        ["unchanged"],
    ]
    api.patch(BULK, {"students": [{"id": row["id"], "medical_note": "nuts"}]})
    assert api.get(f"{url_of(row)}medical-note/").json["medical_note"] == "nuts"


def test_a_dry_run_changes_nothing_and_has_the_same_results(api, student):
    row = student()
    changes, deletions = {"students": [{"id": row["id"], "phone": "2"}]}, {"students": [{"id": row["id"]}]}

    dry = [api.patch(BULK, {**changes, "dry_run": True}), api.post(DELETE, {**deletions, "dry_run": True})]

    assert [outcomes(one) for one in dry] == [["updated"], ["deleted"]]
    assert all(one.json["dry_run"] for one in dry)
    assert api.get(url_of(row)).json["version"] == 1
    assert outcomes(api.patch(BULK, changes)) == ["updated"]


def test_a_bulk_deletion_can_be_repeated_and_undone(api, student):
    first, second, kept = student(), student(), student()
    api.patch(url_of(second), {"phone": "1"})
    rows = [{"id": first["id"], "version": 1}, {"id": second["id"], "version": 1}, {"id": str(new_id())}]

    response, again = api.post(DELETE, {"students": rows}), api.post(DELETE, {"students": rows[:1]})

    assert outcomes(response) == ["deleted", "conflict", "error"]
    assert response.json["results"][1]["present"]["version"] == 2
    assert outcomes(again) == ["unchanged"]
    assert len(response.queries) <= 5
    assert {row["id"] for row in api.get("/api/students/").json["items"]} == {second["id"], kept["id"]}
    assert api.post(f"{url_of(first)}undelete/").status == 200


def test_each_changed_student_has_an_audit_entry(api, student):
    rows = [student(given_name="Asha") for _ in range(2)]
    api.patch(BULK, {"students": [{"id": row["id"], "given_name": "Usha"} for row in rows]})

    for row in rows:
        newest = api.get(f"/api/audit/?entity_id={row['id']}").json["items"][0]
        assert (newest["action"], newest["before"]["given_name"], newest["after"]["given_name"]) == (
            "changed",
            "Asha",
            "Usha",
        )


def test_bulk_writes_do_not_reach_students_that_the_caller_does_not_see(tenant, other, api, student, group, enrol):
    seen, hidden = student(), student()
    trainer = tenant.someone(Role.TRAINER)
    enrol(group(trainer_ids=[str(trainer.user_id)]), seen)
    role = {"name": "Desk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    api.patch(f"/api/users/{trainer.user_id}/", {"role_id": api.made("/api/roles/", role)["id"]})
    rows = {"students": [{"id": seen["id"], "phone": "2"}, {"id": hidden["id"], "phone": "2"}]}
    deletions = {"students": [{"id": row["id"]} for row in (seen, hidden)]}

    assert outcomes(trainer.patch(BULK, rows)) == ["updated", "error"]
    assert outcomes(other.the(Role.ADMIN).patch(BULK, rows)) == ["error", "error"]
    assert outcomes(other.the(Role.ADMIN).post(DELETE, deletions)) == ["error", "error"]
    assert outcomes(trainer.post(DELETE, deletions)) == ["deleted", "error"]
    assert (
        trainer.patch(BULK, {"students": [{"id": hidden["id"], "medical_note": "x"}]}).json["results"][0]["id"] is None
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_bulk_changes_of_the_same_students_do_not_deadlock(api, student, simultaneously, reverse):
    ids = [student()["id"] for _ in range(5)]
    rows = [{"id": one, "phone": "2"} for one in ids]

    responses = simultaneously(
        lambda: api.patch(BULK, {"students": rows}),
        lambda: api.patch(BULK, {"students": rows[::-1] if reverse else rows}),
    )

    assert [outcomes(one) for one in responses] == [["updated"] * 5, ["unchanged"] * 5]
