"""Calendars affect the sessions of every group that follows them."""

from campshub.core.security.permissions import Role

CALENDARS = "/api/calendars/"


def test_a_caller_with_a_narrower_scope_changes_no_calendar(api, tenant):
    body = {"name": "Planner", "permissions": ["groups:read", "groups:write"], "scope": "groups"}
    planner = tenant.someone(Role.TRAINER)
    api.patch(f"/api/users/{planner.user_id}/", {"role_id": api.made("/api/roles/", body)["id"]})
    calendar = f"{CALENDARS}{api.made(CALENDARS, {'name': 'School year'})['id']}/"
    holiday = {"name": "Holi", "first_date": "2199-03-01"}
    made = f"{calendar}holidays/{api.made(f'{calendar}holidays/', holiday)['id']}/"

    calls = (
        planner.post(CALENDARS, {"name": "Own"}),
        planner.patch(calendar, {"name": "Other"}),
        planner.delete(calendar),
        planner.post(f"{calendar}terms/", {"name": "T", "first_date": "2199-01-01", "last_date": "2199-05-01"}),
        planner.post(f"{calendar}holidays/", {**holiday, "name": "Every day"}),
        planner.patch(made, {"name": "Other"}),
        planner.delete(made),
    )

    assert [response.status for response in calls] == [403] * len(calls)
    assert planner.get(made).json["name"] == "Holi"
