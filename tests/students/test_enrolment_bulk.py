"""Many enrolments in one call: the rules of one enrolment, with a result for each row."""

import random
from datetime import date, timedelta

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

BULK = "/api/enrolments/bulk/"
BEGIN = date(2024, 1, 1)


def outcomes(response):
    assert response.status == 200, response.raw.text
    return [row["outcome"] for row in response.json["results"]]


def codes(response):
    return [row["errors"][0]["code"] if row["errors"] else None for row in response.json["results"]]


@pytest.fixture
def send(api):
    """Return a function that sends rows and returns the response."""
    return lambda *rows, **options: api.post(BULK, {"enrolments": list(rows), **options})


def test_rows_name_students_and_groups_by_id_code_or_external_id(api, student, group, send):
    person, place = student(code="S-1", external_id="E-1"), group(code="G-1", external_id="GE-1")
    days = [{"begins_on": f"2024-0{n}-01", "ends_on": f"2024-0{n}-20"} for n in range(1, 6)]
    rows = [
        {"student_id": person["id"], "group_id": place["id"], **days[0]},
        {"student_code": "S-1", "group_code": "G-1", **days[1]},
        {"student_external_id": "E-1", "group_external_id": "GE-1", **days[2]},
        {"student_code": "nobody", "group_code": "G-1", **days[3]},
        {"student_code": "S-1", "group_external_id": "nothing", **days[3]},
        {"student_code": "S-1", "student_id": person["id"], "group_code": "G-1", **days[4]},
        {"student_code": "S-1", **days[4]},
    ]

    response = send(*rows)

    assert outcomes(response) == ["created"] * 3 + ["error"] * 4
    assert [row["errors"][0]["pointer"] for row in response.json["results"][3:]] == [
        "/student_code",
        "/group_external_id",
        "/student_id",
        "/group_id",
    ]
    made = api.get(f"/api/students/{person['id']}/enrolments/").json["items"]
    assert [row["id"] for row in made] == [row["id"] for row in response.json["results"][:3]]
    assert {(row["student_id"], row["group_id"]) for row in response.json["results"][:3]} == {
        (person["id"], place["id"])
    }


def test_the_same_call_again_changes_nothing(student, group, send, sql, tenant):
    place = group(capacity=2)
    rows = [{"student_id": student()["id"], "group_id": place["id"], "begins_on": str(BEGIN)} for _ in range(2)]
    rows[1]["id"] = str(new_id())

    first, again = send(*rows, rows[0]), send(*rows)
    other = send({**rows[1], "begins_on": "2024-02-01"})

    assert outcomes(first) == ["created", "created", "unchanged"]
    assert outcomes(again) == ["unchanged"] * 2
    assert [row["id"] for row in first.json["results"][:2]] == [row["id"] for row in again.json["results"]]
    assert codes(other) == ["id_taken"]
    assert sql("SELECT count(*) FROM enrolments WHERE organization_id = %s", tenant.id) == [(2,)]


def test_a_dry_run_enrols_no_one(student, group, send):
    row = {"student_id": student()["id"], "group_id": group()["id"], "begins_on": str(BEGIN)}

    dry = send(row, dry_run=True)

    assert (outcomes(dry), dry.json["results"][0]["id"], dry.json["dry_run"]) == (["created"], None, True)
    assert outcomes(send(row)) == ["created"]


def test_many_enrolments_take_as_many_statements_as_one(student, group, send):
    places, people = [group(capacity=30)["id"] for _ in range(3)], [student()["id"] for _ in range(10)]
    rows = [{"student_id": one, "group_id": place, "begins_on": str(BEGIN)} for one in people for place in places]

    one, many = send(rows[0]), send(*rows[1:])

    assert outcomes(many) == ["created"] * 29
    assert len(one.queries) == len(many.queries) <= 5


def test_the_last_places_are_assigned_once(api, student, group, send, simultaneously):
    place, people = group(capacity=3)["id"], [student()["id"] for _ in range(4)]
    rows = [{"student_id": one, "group_id": place, "begins_on": str(BEGIN)} for one in people]

    first, second, third = simultaneously(
        lambda: send(*rows[:2]),
        lambda: send(*rows[2:][::-1]),
        lambda: api.post(f"/api/groups/{place}/enrolments/", {"student_id": people[0], "begins_on": "2030-01-01"}),
    )

    assert outcomes(first) == ["created"] * 2
    assert sorted(codes(second), key=str) == [None, "group_full"]
    assert third.problem["code"] == "already_enrolled"
    assert api.get(f"/api/groups/{place}/").json["enrolled"] == 3


def test_rows_do_not_reach_other_organizations_or_hidden_students(tenant, other, student, group, api, enrol, send):
    person, place = student(), group()
    row = {"student_id": person["id"], "group_id": place["id"], "begins_on": str(BEGIN)}
    stranger, trainer = other.the(Role.ADMIN), tenant.the(Role.TRAINER)

    assert codes(stranger.post(BULK, {"enrolments": [row]})) == ["unknown_reference"]
    assert trainer.post(BULK, {"enrolments": [row]}).status == 403
    api.delete(f"/api/students/{person['id']}/")
    assert codes(send(row)) == ["unknown_reference"]


def some_row(dice, people, places):
    begins_on = BEGIN + timedelta(days=dice.randrange(40))
    row = {"student_id": dice.choice(people), "group_id": dice.choice(places), "begins_on": str(begins_on)}
    if dice.random() < 0.7:
        row["ends_on"] = str(begins_on + timedelta(days=dice.randrange(-1, 20)))
    if dice.random() < 0.2:
        row["status"] = "pending"
    return row


def end_some(api, dice, enrolments):
    """Complete or withdraw some of the enrolments, so that they leave days free or overlap later ones."""
    for row in enrolments:
        if dice.random() < 0.4:
            url = f"/api/groups/{row['group_id']}/enrolments/{row['id']}/"
            last = str(date.fromisoformat(row["begins_on"]) + timedelta(days=dice.randrange(8)))
            api.patch(url, {"status": dice.choice(["completed", "withdrawn"]), "ends_on": last})


@pytest.mark.parametrize("number", range(3))
def test_a_bulk_call_decides_as_single_calls_do(app, number):
    """The same random enrolments in two organizations, one by one and in bulk: the same rows, the same errors."""
    found = []
    for is_bulk in (False, True):
        dice, client = random.Random(number), new_tenant(app).the(Role.ADMIN)
        people = [
            client.made(
                "/api/students/",
                {
                    "code": f"S{n}",
                    "given_name": "A",
                    **({"left_on": str(BEGIN + timedelta(days=25))} if n == 0 else {}),
                },
            )["id"]
            for n in range(5)
        ]
        term = {"begins_on": str(BEGIN), "ends_on": str(BEGIN + timedelta(days=45))}
        settings = ({"capacity": 2}, {"capacity": 1, **term}, {}, {"status": "archived"})
        places = [
            client.made("/api/groups/", {"code": f"G{n}", "name": "x", **one})["id"] for n, one in enumerate(settings)
        ]
        before = [some_row(dice, people, places) for _ in range(12)]
        made = [client.post(f"/api/groups/{row['group_id']}/enrolments/", without_group(row)) for row in before]
        end_some(client, dice, [one.json for one in made if one.status == 201])
        rows = [some_row(dice, people, places) for _ in range(40)]
        rows = [row for index, row in enumerate(rows) if row not in rows[:index] + before]
        if is_bulk:
            found.append(codes(client.post(BULK, {"enrolments": rows})))
        else:
            singles = (client.post(f"/api/groups/{row['group_id']}/enrolments/", without_group(row)) for row in rows)
            found.append([None if one.status == 201 else code_of(one.problem) for one in singles])

    assert found[0] == found[1]
    assert {None, "already_enrolled", "group_full", "group_closed", "ends_before_begin"} <= set(found[0])


def without_group(row):
    return {name: value for name, value in row.items() if name != "group_id"}


def code_of(problem):
    return problem["errors"][0]["code"] if problem.get("errors") else problem["code"]
