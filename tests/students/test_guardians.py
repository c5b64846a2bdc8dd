"""Guardians are people of their own, linked to students."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from campshub.core.db.models import new_id

GUARDIANS, STUDENTS = "/api/guardians/", "/api/students/"
RAVI = {"name": "Ravi Rao", "phone": "+91 20 5550 0100", "relation": "father"}


@pytest.fixture
def guardian(api):
    """Return a maker of guardians."""
    return lambda **given: api.made(GUARDIANS, {"name": f"Guardian {new_id().hex}", **given})


def guardians_of(api, made):
    return api.get(f"{STUDENTS}{made['id']}/guardians/").json["guardians"]


def ids_of(found):
    return [one["guardian_id"] for one in found]


def test_the_guardian_of_two_siblings_is_one_person(api, student):
    first = student(guardians=[RAVI])
    second = student(guardians=[{**RAVI, "name": "RAVI  RAO", "phone": "0091-20-5550-0100", "relation": "uncle"}])

    (of_first,), (of_second,) = first["guardians"], second["guardians"]

    assert of_first["guardian_id"] == of_second["guardian_id"]
    assert (of_first["relation"], of_second["relation"]) == ("father", "uncle")
    children = api.get(f"{GUARDIANS}{of_first['guardian_id']}/students/").json["items"]
    assert {child["id"]: child["relation"] for child in children} == {first["id"]: "father", second["id"]: "uncle"}
    assert len(api.get(f"{GUARDIANS}?q=ravi").json["items"]) == 1


def test_the_same_name_with_another_phone_number_is_another_person(student):
    first = student(guardians=[RAVI])
    second = student(guardians=[{**RAVI, "phone": "+91 20 5550 0101"}])
    without_contact = student(guardians=[{"name": "Ravi Rao"}])

    found = {one["guardians"][0]["guardian_id"] for one in (first, second, without_contact)}

    assert len(found) == 3


def test_a_guardian_who_is_found_by_a_contact_gets_only_what_is_missing(api, student):
    first = student(guardians=[RAVI])
    student(guardians=[{**RAVI, "email": "ravi@example.org"}])
    student(guardians=[{"name": "Ravi Rao", "email": "RAVI@example.org", "phone": "5"}])

    (found,) = guardians_of(api, first)

    assert (found["phone"], found["email"]) == (RAVI["phone"], "ravi@example.org")


def test_siblings_of_one_bulk_call_share_their_guardian(api):
    rows = [{"code": new_id().hex, "given_name": "A", "guardians": [RAVI, {"name": "Mira Rao"}]} for _ in range(2)]

    response = api.post(f"{STUDENTS}bulk/", {"students": rows})

    first, second = (guardians_of(api, row) for row in response.json["results"])
    assert [one["name"] for one in first] == ["Ravi Rao", "Mira Rao"]
    assert first[0]["guardian_id"] == second[0]["guardian_id"]
    assert first[1]["guardian_id"] != second[1]["guardian_id"]  # no contact shows that they are one person


def test_an_unknown_guardian_in_a_bulk_row_affects_no_other_row(api, guardian):
    rows = [
        {"code": new_id().hex, "given_name": "A", "guardians": [{"guardian_id": one}]}
        for one in (str(new_id()), guardian()["id"])
    ]

    results = api.post(f"{STUDENTS}bulk/", {"students": rows}).json["results"]

    assert [row["outcome"] for row in results] == ["error", "created"]
    assert results[0]["errors"][0]["pointer"] == "/guardians/0/guardian_id"


def test_a_bulk_update_replaces_guardians_and_leaves_equal_lists_as_they_are(api, student, guardian):
    first, second = student(guardians=[RAVI, {"name": "Mira"}]), student(guardians=[RAVI])
    rows = [
        {"id": first["id"], "guardians": [RAVI]},
        {"id": second["id"], "guardians": [{**RAVI, "is_primary": True}]},
        {"id": student()["id"], "guardians": [{"guardian_id": str(new_id())}]},
    ]

    planned, done = (
        api.patch(f"{STUDENTS}bulk/", {"students": rows, "dry_run": dry_run}).json["results"]
        for dry_run in (True, False)
    )

    outcomes = ["updated", "unchanged", "error"]
    assert [row["outcome"] for row in planned] == [row["outcome"] for row in done] == outcomes
    assert done[2]["errors"][0]["pointer"] == "/guardians/0/guardian_id"
    assert [one["name"] for one in guardians_of(api, first)] == ["Ravi Rao"]
    versions = [api.get(f"{STUDENTS}{made['id']}/").json["version"] for made in (first, second)]
    assert versions == [first["version"] + 1, second["version"]]


def test_an_upsert_sets_guardians_of_new_and_of_existing_students(api, student):
    made = student(external_id="x-1", guardians=[{"name": "Mira"}])

    for external_id, status in (("x-1", 200), ("x-2", 201)):
        body = {"code": made["code"] if status == 200 else "x-2", "given_name": "A", "guardians": [RAVI]}
        response = api.put(f"{STUDENTS}by-external-id/{external_id}/", body)
        assert (response.status, [one["name"] for one in response.json["guardians"]]) == (status, ["Ravi Rao"])
    rows = [{"code": code, "given_name": "A", "guardians": [{"name": "Tara"}]} for code in (made["code"], "x-3")]
    results = api.post(f"{STUDENTS}bulk/", {"students": rows, "on_existing": "update"}).json["results"]
    assert [row["outcome"] for row in results] == ["updated", "created"]
    assert [[one["name"] for one in guardians_of(api, row)] for row in results] == [["Tara"], ["Tara"]]


def test_the_statements_of_a_bulk_call_do_not_depend_on_the_number_of_guardians(api):
    def statements(count):
        rows = [
            {
                "code": new_id().hex,
                "given_name": "A",
                "guardians": [{"name": f"G {number}", "phone": f"{new_id().int % 10**12}"} for number in range(3)],
            }
            for _ in range(count)
        ]
        return len(api.post(f"{STUDENTS}bulk/", {"students": rows}).queries)

    assert statements(2) == statements(50) <= 8


def test_concurrent_creates_of_siblings_make_one_guardian(api, student):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: student(guardians=[RAVI]), range(16)))

    assert len({one["guardians"][0]["guardian_id"] for one in made}) == 1


def test_the_response_can_be_sent_back(api, student):
    made = student(guardians=[RAVI, {"name": "Mira Rao"}])

    again = api.patch(f"{STUDENTS}{made['id']}/", {"guardians": made["guardians"]})

    assert (again.status, again.json["guardians"], again.json["version"]) == (200, made["guardians"], made["version"])


def test_a_list_without_ids_changes_the_students_guardians_instead_of_making_new_ones(api, student):
    made = student(guardians=[{"name": "A Rao", "phone": "1"}, {"name": "A Rao", "phone": "2"}, {"name": "B"}])
    given = [{"name": "B", "phone": "3"}, {"name": "A Rao", "phone": "2"}, {"name": "A Rao", "phone": "4"}]

    changed = api.patch(f"{STUDENTS}{made['id']}/", {"guardians": given}).json["guardians"]

    first, second, third = ids_of(made["guardians"])
    assert {one["guardian_id"]: one["phone"] for one in changed} == {third: "3", second: "2", first: "4"}


def test_the_list_is_replaced_in_its_order_and_keeps_what_it_does_not_name(api, student, guardian):
    made = student(guardians=[{"name": "A", "may_pick_up": True}, {"name": "B"}])
    first, second = ids_of(made["guardians"])
    new = guardian()["id"]
    url = f"{STUDENTS}{made['id']}/guardians/"

    response = api.put(url, {"guardians": [{"guardian_id": new, "is_primary": True}, {"guardian_id": first}]})

    assert ids_of(response.json["guardians"]) == [new, first]
    assert [one["is_primary"] for one in response.json["guardians"]] == [True, False]
    assert response.json["guardians"][1]["may_pick_up"] is True
    assert response.json["version"] == made["version"] + 1
    assert api.get(f"{GUARDIANS}{second}/").status == 200
    assert api.get(f"{GUARDIANS}{second}/students/").json["items"] == []
    assert api.put(url, {"guardians": []}).json["guardians"] == []


def test_a_change_of_the_list_requires_the_version_that_its_author_read(api, student):
    made = student(guardians=[RAVI])
    url = f"{STUDENTS}{made['id']}/guardians/"
    tag = api.get(url).headers["ETag"]

    first = api.put(url, {"guardians": []}, headers={"If-Match": tag})
    second = api.put(url, {"guardians": [RAVI]}, headers={"If-Match": tag})

    assert (first.status, second.status) == (200, 412)
    assert guardians_of(api, made) == []


@pytest.mark.parametrize(
    ("entries", "code", "pointer"),
    [
        ([{"name": "A", "is_primary": True}, {"name": "B", "is_primary": True}], "several_primary", "/guardians"),
        ([{"guardian_id": "same"}, {"guardian_id": "same"}], "guardian_named_twice", "/guardians"),
        ([{"guardian_id": "unknown"}], "unknown_reference", "/guardians/0/guardian_id"),
        ([{"phone": "1"}], "validation", "/guardians/0/name"),
    ],
)
def test_an_invalid_list_is_refused_and_changes_nothing(api, student, guardian, entries, code, pointer):
    known = {"same": guardian()["id"], "unknown": str(new_id())}
    made = student(guardians=[RAVI])
    given = [{name: known.get(value, value) for name, value in one.items()} for one in entries]

    refused = [
        api.put(f"{STUDENTS}{made['id']}/guardians/", {"guardians": given}),
        api.post(STUDENTS, {"code": new_id().hex, "given_name": "A", "guardians": given}),
    ]

    assert [(one.status, one.problem["code"], one.pointers) for one in refused] == [(422, code, {pointer})] * 2
    assert len(guardians_of(api, made)) == 1


def test_a_change_of_a_guardian_is_shown_with_every_student(api, student):
    made = student(guardians=[RAVI])
    url = f"{STUDENTS}{made['id']}/"
    before = api.get(url)
    (guardian_id,) = ids_of(made["guardians"])

    changed = api.patch(f"{GUARDIANS}{guardian_id}/", {"phone": "+49 1"})

    after = api.get(url)
    assert changed.json["phone"] == after.json["guardians"][0]["phone"] == "+49 1"
    assert api.get(url, headers={"If-None-Match": before.headers["ETag"]}).status == 200


def test_filters_find_a_guardian_by_any_spelling(api, guardian, student):
    made = guardian(name="Łucja Dvořák", phone="+48 (22) 555-01-00", email="Lucja@Example.org", external_id="g-1")
    guardian(phone="+48 22 555 01 01")
    child = student(guardians=[{"guardian_id": made["id"]}])
    student()

    for query in (
        "q=dvor",
        "q=lucja dvo",
        "phone=0048225550100",
        "email=LUCJA@example.org",
        f"student_id={child['id']}",
    ):
        assert [one["id"] for one in api.get(f"{GUARDIANS}?{query}").json["items"]] == [made["id"]], query
    assert [one["id"] for one in api.get(f"{STUDENTS}?guardian={made['id']}").json["items"]] == [child["id"]]
    assert api.get(f"{GUARDIANS}?q=ucja").json["items"] == []


def test_a_deleted_guardian_disappears_from_students_and_comes_back(api, student):
    made = student(guardians=[RAVI, {"name": "Mira"}])
    first, second = ids_of(made["guardians"])

    assert api.delete(f"{GUARDIANS}{first}/").status == 204

    assert ids_of(api.get(f"{STUDENTS}{made['id']}/").json["guardians"]) == [second]
    assert api.get(f"{GUARDIANS}{first}/").status == 404
    assert [one["id"] for one in api.get(f"{GUARDIANS}?deleted=true").json["items"]] == [first]
    assert api.post(f"{GUARDIANS}{first}/undelete/").status == 200
    assert ids_of(guardians_of(api, made)) == [first, second]


def test_a_guardian_cannot_come_back_where_another_one_is_the_same_person(api, student):
    (deleted,) = ids_of(student(guardians=[RAVI])["guardians"])
    api.delete(f"{GUARDIANS}{deleted}/")
    (present,) = ids_of(student(guardians=[RAVI])["guardians"])

    refused = api.post(f"{GUARDIANS}{deleted}/undelete/")

    assert present != deleted
    assert (refused.status, refused.problem["code"], refused.problem["present"]["id"]) == (
        409,
        "guardian_exists",
        present,
    )


def test_the_audit_log_has_the_guardian_and_the_link_each_as_a_person_of_its_own(api, student, sql, tenant):
    made = student(guardians=[RAVI])
    (guardian_id,) = ids_of(made["guardians"])

    entries = sql(
        "SELECT entity, person_id::text FROM audit_log WHERE organization_id = %s AND entity LIKE '%%guardians'",
        tenant.id,
    )

    assert sorted(entries) == [("guardians", guardian_id), ("student_guardians", made["id"])]
