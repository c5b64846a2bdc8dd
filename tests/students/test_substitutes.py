from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

DAY = timedelta(days=1)


@pytest.fixture
def trainer(tenant):
    """A trainer who trains no group."""
    return tenant.the(Role.TRAINER)


@pytest.fixture
def assign(api):
    """Return a function that assigns a substitute to a group and returns the response."""

    def assigned(group, who, first_date, last_date, **fields):
        body = {"trainer_id": str(who.user_id), "first_date": str(first_date), "last_date": str(last_date), **fields}
        return api.post(f"/api/groups/{group['id']}/substitutes/", body)

    return assigned


def sees(who, group, person):
    """Return what a user sees of a group and of a student in it."""
    urls = (
        f"/api/groups/{group['id']}/",
        f"/api/groups/{group['id']}/roster/",
        f"/api/groups/{group['id']}/enrolments/",
        f"/api/students/{person['id']}/",
    )
    statuses = {who.get(url).status for url in urls}
    lists = {bool(who.get(url).json["items"]) for url in ("/api/groups/", "/api/students/")}
    assert (statuses, lists) in (({200}, {True}), ({404}, {False})), (statuses, lists)
    return statuses == {200}


@pytest.mark.parametrize(
    ("first", "last", "is_seen"),
    [(0, 0, True), (-3, 0, True), (0, 3, True), (-1, 1, True), (-3, -1, False), (1, 3, False)],
)
def test_a_substitute_sees_the_group_from_the_first_to_the_last_date(
    group, student, enrol, trainer, assign, today, first, last, is_seen
):
    made, other, person = group(), group(), student()
    enrol(made, person)
    assert not sees(trainer, made, person)

    assert assign(made, trainer, today + first * DAY, today + last * DAY).status == 201

    assert sees(trainer, made, person) == is_seen
    assert trainer.get(f"/api/groups/{other['id']}/").status == 404


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])  # their dates differ at any moment
def test_the_dates_are_those_of_the_organizations_time_zone(app, zone):
    tenant = new_tenant(app, time_zone=zone)
    api, trainer = tenant.the(Role.ADMIN), tenant.the(Role.TRAINER)
    here = datetime.now(ZoneInfo(zone)).date()
    for code, day, status in (("A", here, 200), ("B", here - DAY, 404), ("C", here + DAY, 404)):
        made = api.made("/api/groups/", {"code": code, "name": "Blue"})["id"]
        body = {"trainer_id": str(trainer.user_id), "first_date": str(day), "last_date": str(day)}
        api.made(f"/api/groups/{made}/substitutes/", body)

        assert (code, trainer.get(f"/api/groups/{made}/").status) == (code, status)


def test_a_change_of_the_days_is_seen_at_once_although_responses_are_cached(
    group, student, enrol, api, trainer, assign, today
):
    made, person = group(), student()
    enrol(made, person)
    substitute = assign(made, trainer, today, today).json
    url = f"/api/groups/{made['id']}/substitutes/{substitute['id']}/"
    assert sees(trainer, made, person)
    assert sees(trainer, made, person)

    assert api.patch(url, {"last_date": str(today + DAY), "first_date": str(today + DAY)}).status == 200
    assert not sees(trainer, made, person)
    assert api.patch(url, {"first_date": str(today)}).status == 200
    assert sees(trainer, made, person)
    assert api.delete(url).status == 204
    assert not sees(trainer, made, person)


def test_a_substitute_is_a_trainer_and_has_days(group, tenant, assign, today, api):
    made = group()
    nutritionist = assign(made, tenant.the(Role.NUTRITIONIST), today, today)
    reversed_days = assign(made, tenant.the(Role.TRAINER), today, today - DAY)

    assert (nutritionist.status, nutritionist.pointers) == (422, {"/trainer_id"})
    assert (reversed_days.status, reversed_days.pointers) == (422, {"/last_date"})
    present = assign(made, tenant.the(Role.TRAINER), today, today).json
    changed = api.patch(f"/api/groups/{made['id']}/substitutes/{present['id']}/", {"first_date": str(today + DAY)})
    assert (changed.status, changed.pointers) == (422, {"/last_date"})


def test_substitutes_are_listed_by_first_date(group, trainer, assign, api, today):
    made, other = group(), group()
    later = assign(made, trainer, today + 5 * DAY, today + 9 * DAY).json["id"]
    earlier = assign(made, trainer, today, today + DAY).json["id"]
    assign(other, trainer, today, today)
    url = f"/api/groups/{made['id']}/substitutes/"

    def ids(query=""):
        return [row["id"] for row in api.get(f"{url}{query}").json["items"]]

    assert ids() == [earlier, later]
    assert ids(f"?from={today + 2 * DAY}") == [later]
    assert ids(f"?to={today + 4 * DAY}") == [earlier]
    assert [row["id"] for row in trainer.get(url).json["items"]] == [earlier, later]
    assert api.get(f"/api/groups/{other['id']}/substitutes/{later}/").status == 404


def test_only_those_who_manage_groups_assign_substitutes(group, trainer, today):
    made = group(trainer_ids=[str(trainer.user_id)])
    body = {"trainer_id": str(trainer.user_id), "first_date": str(today), "last_date": str(today)}

    assert trainer.post(f"/api/groups/{made['id']}/substitutes/", body).status == 403
