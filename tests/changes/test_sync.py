"""One copy of several entities."""

import pytest

from campshub.core.security.permissions import Role

ALL = "groups,enrolments,students,sessions,records,codes"
NAMES = ALL.split(",")


def follow(client, entities, token=None, limit=200, **query):
    """Read all pages; return the ids of items and of deleted ones by entity, and the token."""
    items, deleted, has_more, pages = {}, {}, True, 0
    more = "".join(f"&{name}={value}" for name, value in query.items())
    while has_more:
        since = f"&since={token}" if token else ""
        response = client.get(f"/api/sync/?entities={entities}&limit={limit}{since}{more}")
        assert response.status == 200, response.raw.get_data(as_text=True)
        for name in NAMES:
            part = response.json[name]
            assert (part is not None) == (name in entities.split(","))
            items.setdefault(name, []).extend(item["id"] for item in (part or {"items": []})["items"])
            deleted.setdefault(name, []).extend((part or {"deleted": []})["deleted"])
        token, has_more, pages = response.json["next"], response.json["has_more"], pages + 1
    return items, deleted, token, pages


@pytest.fixture
def school(group, student, enrol, meeting, mark):
    """A group with three students, a session and its marks."""
    blue = group(trainers=())["id"]
    people = [student()["id"] for _ in range(3)]
    enrolled = [enrol(blue, person)["id"] for person in people]
    met = meeting(blue)["id"]
    made = {"groups": [blue], "students": people, "enrolments": enrolled, "sessions": [met]}
    return made | {"records": mark(met, *people)}


@pytest.mark.parametrize("limit", [2, 200])
def test_the_first_call_returns_every_entity_in_pages(api, school, limit):
    items, deleted, token, _ = follow(api, ALL, limit=limit)

    codes = items.pop("codes")
    assert {name: sorted(ids) for name, ids in items.items()} == {name: sorted(ids) for name, ids in school.items()}
    assert len(codes) == 5
    assert set(map(tuple, deleted.values())) == {()}
    assert not any(follow(api, ALL, token)[0].values())


@pytest.mark.parametrize("limit", [1, 2, 200])
def test_later_calls_return_what_has_changed(api, school, student, today, limit):
    *_, token, _ = follow(api, ALL)
    new = student()["id"]
    api.patch(f"/api/groups/{school['groups'][0]}/", {"name": "Green"})
    api.delete(f"/api/students/{school['students'][0]}/")
    api.delete(f"/api/attendance/records/{school['records'][1]}/?on={today}")
    items, deleted, token, _ = follow(api, ALL, token, limit=limit)

    assert {name: ids for name, ids in items.items() if ids} == {"groups": school["groups"], "students": [new]}
    assert {name: ids for name, ids in deleted.items() if ids} == {
        "students": school["students"][:1],
        "records": school["records"][1:2],
    }
    assert not any(follow(api, ALL, token)[0].values())


def test_a_copy_has_a_first_date(api, school):
    items, *_ = follow(api, ALL, **{"from": "2199-01-01"})

    assert (items["sessions"], items["records"]) == ([], [])
    assert sorted(items["students"]) == sorted(school["students"])


def test_entities_that_the_caller_may_not_read_are_refused(tenant):
    nutritionist, trainer = tenant.the(Role.NUTRITIONIST), tenant.the(Role.TRAINER)

    assert nutritionist.get("/api/sync/?entities=groups,students").status == 200
    assert nutritionist.get("/api/sync/?entities=students,records").problem["code"] == "forbidden"
    assert trainer.get(f"/api/sync/?entities={ALL}").status == 200


def test_entities_are_named_and_belong_to_the_token(api):
    token = follow(api, "groups,students")[2]

    assert api.get("/api/sync/").pointers == {"/entities"}
    assert api.get("/api/sync/?entities=groups,rooms").pointers == {"/entities"}
    assert api.get(f"/api/sync/?entities=groups&since={token}").problem["code"] == "bad_cursor"
    assert api.get(f"/api/sync/?entities=students,groups&since={token}").status == 200
