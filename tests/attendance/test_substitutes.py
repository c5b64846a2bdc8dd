from datetime import timedelta

import pytest

from campshub.core.security.permissions import Role

DAY = timedelta(days=1)
SESSIONS = "/api/attendance/sessions/"


@pytest.fixture
def trainer(tenant):
    """A trainer who trains no group."""
    return tenant.the(Role.TRAINER)


def test_the_substitute_of_a_session_marks_it_on_its_day_only(a_class, api, trainer, today):
    mine, later, another = a_class(2), a_class(2, on=today + DAY), a_class(2)
    mine.mark("present")
    assert mine.mark("late", "late", api=trainer).status == 404

    for one in (mine, later):
        response = api.post(f"{one.url}substitutes/", {"trainer_id": str(trainer.user_id)})
        assert response.status == 201
        dates = (response.json["first_date"], response.json["last_date"])
        assert dates == (api.get(one.url).json["local_date"],) * 2

    assert [row["outcome"] for row in mine.mark("present", "late", api=trainer).json["results"]] == [
        "unchanged",
        "created",
    ]
    assert trainer.get(mine.records).status == 200
    assert {row["session_id"] for row in trainer.get("/api/attendance/records/").json["items"]} == {mine.session}
    assert [row["id"] for row in trainer.get(SESSIONS).json["items"]] == [mine.session]
    assert trainer.get(f"/api/groups/{mine.group}/sessions/").status == 200
    for one in (later, another):
        assert trainer.get(one.url).status == 404
        assert one.mark("late", api=trainer).status == 404


def test_the_substitute_of_a_night_sees_it_until_its_end(a_class, api, trainer, today):
    yesterday = today - DAY
    times = {"starts_at": f"{yesterday}T16:00:00Z", "ends_at": f"{yesterday}T19:30:00Z"}  # 21:30 to 01:00 in India
    night = a_class(1, on=yesterday, **times)

    made = api.made(f"{night.url}substitutes/", {"trainer_id": str(trainer.user_id)})

    assert (made["first_date"], made["last_date"]) == (str(yesterday), str(today))
    assert night.mark("present", api=trainer).status == 200


def test_open_gym_has_no_substitute(api, trainer, today):
    gym = api.made(SESSIONS, {"local_date": str(today)})
    refused = api.post(f"{SESSIONS}{gym['id']}/substitutes/", {"trainer_id": str(trainer.user_id)})

    assert (refused.status, refused.problem["errors"][0]["code"]) == (422, "required")


def test_an_ended_substitution_ends_the_access_to_marks(a_class, api, trainer, today):
    mine = a_class(1)
    made = api.made(f"{mine.url}substitutes/", {"trainer_id": str(trainer.user_id)})
    assert mine.mark("present", api=trainer).status == 200
    assert trainer.get(mine.records).status == 200

    assert api.delete(f"/api/groups/{mine.group}/substitutes/{made['id']}/").status == 204

    assert trainer.get(mine.records).status == 404
    assert trainer.get("/api/attendance/records/").json["items"] == []
    assert mine.mark("absent", api=trainer, overwrite=True).status == 404
