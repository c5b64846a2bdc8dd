import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

CODES = "/api/attendance/codes/"
SICK = {"key": "sick", "label": "Sick", "counts_as": "excused", "in_rate": False, "position": 35}


def test_every_organization_has_the_defaults(api, tenant, other):
    for client in (api, tenant.the(Role.CLIENT), other.the(Role.TRAINER)):
        response = client.get(CODES)
        assert [code["key"] for code in response.json["items"]] == [
            "present",
            "absent",
            "late",
            "excused",
            "left_early",
        ]
        assert {code["is_default"] for code in response.json["items"]} == {True}
        assert len(response.queries) == 1
    assert [code["in_rate"] for code in response.json["items"]] == [True, True, True, False, True]


def test_an_organization_adds_its_own_codes(api, other, a_class):
    made = api.post(CODES, SICK)

    assert made.status == 201
    assert made.json["is_default"] is False
    read = api.get(made.headers["Location"])
    assert (read.json, len(read.queries)) == (made.json, 1)
    assert [c["key"] for c in api.get(CODES).json["items"]][3] == "sick"
    assert "sick" not in [c["key"] for c in other.the(Role.ADMIN).get(CODES).json["items"]]
    assert other.the(Role.ADMIN).get(f"{CODES}{made.json['id']}/").status == 404
    assert other.the(Role.ADMIN).patch(f"{CODES}{made.json['id']}/", {"label": "X"}).status == 404
    marked = a_class(1).mark("sick").json["results"][0]
    assert (marked["counts_as"], marked["in_rate"]) == ("excused", False)


def test_an_own_code_with_a_defaults_key_replaces_it(api, a_class):
    roster = a_class(2)
    roster.mark("late")
    own = api.made(CODES, {"key": "late", "label": "Tardy", "counts_as": "absent"})

    keys = [code["key"] for code in api.get(CODES).json["items"]]
    marked = roster.mark("late", "late").json["results"]

    assert keys.count("late") == 1
    assert [row["counts_as"] for row in marked] == ["late", "absent"]
    assert [row["outcome"] for row in marked] == ["unchanged", "created"]
    assert api.patch(f"{CODES}{own['id']}/", {"is_archived": True}).json["is_archived"] is True
    assert "late" not in [code["key"] for code in api.get(CODES).json["items"]]
    assert [code["key"] for code in api.get(f"{CODES}?archived=true").json["items"]] == ["late"]
    assert roster.mark("late").json["results"][0]["errors"][0]["code"] == "unknown_code"


def test_what_a_mark_counts_as_stays_until_it_gets_another_code(api, a_class):
    roster = a_class(1)
    roster.mark("late")
    api.made(CODES, {"key": "late", "label": "Tardy", "counts_as": "absent", "in_rate": False})
    noted = {"records": [{"student_id": roster.students[0], "code": "late", "note": "by bus"}], "overwrite": True}

    stored = api.put(roster.records, noted).json["results"][0]
    roster.mark("present", overwrite=True)
    renewed = roster.mark("late", overwrite=True).json["results"][0]

    assert (stored["outcome"], stored["counts_as"], stored["in_rate"]) == ("updated", "late", True)
    assert (renewed["counts_as"], renewed["in_rate"]) == ("absent", False)


def test_a_default_code_cannot_be_changed(api):
    default = api.get(CODES).json["items"][0]

    response = api.patch(f"{CODES}{default['id']}/", {"label": "Here"})

    assert (response.status, response.problem["code"]) == (409, "default_code")
    assert api.get(f"{CODES}{default['id']}/").json == default
    assert api.patch(f"{CODES}00000000-0000-7000-8000-0000000000ff/", {"label": "Here"}).status == 404


def test_a_key_belongs_to_one_code_and_an_id_to_one_body(api):
    body = {**SICK, "id": str(new_id())}
    first, again = api.post(CODES, body), api.post(CODES, body)

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert api.post(CODES, {**body, "label": "Ill"}).problem["code"] == "id_taken"
    taken = api.post(CODES, SICK)
    assert (taken.status, taken.problem["code"], taken.pointers) == (409, "key_taken", {"/key"})
    default = api.get(CODES).json["items"][0]["id"]
    assert api.post(CODES, {**SICK, "key": "x", "id": default}).problem["code"] == "id_taken"


def test_a_change_requires_the_version_that_its_author_read(api):
    made = api.post(CODES, SICK)
    url = made.headers["Location"]

    first = api.patch(url, {"label": "Ill"}, headers={"If-Match": made.headers["ETag"]})
    second = api.patch(url, {"label": "Unwell"}, headers={"If-Match": made.headers["ETag"]})

    assert (first.status, second.status) == (200, 412)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"key": "Sick leave"}, "/key"),
        ({"key": ""}, "/key"),
        ({"key": "a\x00"}, "/key"),
        ({"label": " "}, "/label"),
        ({"counts_as": "asleep"}, "/counts_as"),
        ({"in_rate": 1}, "/in_rate"),
        ({"position": -1}, "/position"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_invalid_codes_are_refused(api, wrong, pointer):
    response = api.post(CODES, {**SICK, **wrong})

    assert (response.status, response.pointers) == (422, {pointer})


def test_codes_are_managed_only_with_permission(api, tenant):
    made = api.post(CODES, SICK)

    for role in (Role.CLIENT, Role.NUTRITIONIST):
        assert tenant.the(role).post(CODES, SICK).status == 403
        assert tenant.the(role).patch(made.headers["Location"], {"label": "X"}).status == 403
    assert tenant.the(Role.NUTRITIONIST).get(CODES).status == 403


def test_creating_a_code_takes_at_most_five_statements(api):
    response = api.post(CODES, {**SICK, "id": str(new_id())}, headers={"Idempotency-Key": "one"})

    assert response.status == 201
    assert len(response.statements) <= 5, response.statements
