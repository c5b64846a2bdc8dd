"""The charts of the API show the same data as the figures, to those who may see them."""

from datetime import timedelta
from xml.etree import ElementTree as ET

from campshub.core.security.permissions import Role
from tests.analytics.test_figures import MONDAY, URL, WEEK

SVG = "{http://www.w3.org/2000/svg}"


def drawn(response):
    assert (response.status, response.headers["Content-Type"]) == (200, "image/svg+xml"), response.raw.text
    return ET.fromstring(response.raw.get_data())  # noqa: S314 - our own output


def test_the_chart_of_rates_has_their_values_and_the_subjects_name(course):
    group = course(2)
    assert group.admin.patch(f"/api/groups/{group.id}/", {"name": "सोमवार <b>"}).status == 200
    group.mark(group.session(MONDAY), "present", "absent")
    query = f"by=week&group_id={group.id}&from={MONDAY - timedelta(days=7)}&to={MONDAY}"

    root = drawn(group.admin.get(f"{URL}rates/svg/?{query}"))

    assert root.find(f"{SVG}title").text.startswith("Attendance rate by week (of marks taken): सोमवार <b>, ")
    assert root.find(f"{SVG}desc").text.endswith(f"{MONDAY - timedelta(days=7)}: no value; {MONDAY}: 50%.")
    scheduled = drawn(group.admin.get(f"{URL}rates/svg/?{query}&basis=scheduled"))
    assert "(of scheduled marks)" in scheduled.find(f"{SVG}title").text


def test_the_heat_map_is_drawn_from_the_first_to_the_last_hour(course):
    group = course(2)
    for hour in (9, 11):
        group.mark(group.session(MONDAY, hour), "present", "absent")

    root = drawn(group.admin.get(f"{URL}heat-map/svg/?{WEEK}"))

    assert root.find(f"{SVG}title").text.startswith("Attendance rate by weekday and hour: Hill Camp, ")
    assert root.find(f"{SVG}desc").text.endswith("Monday: 09:00 50%; 11:00 50%.")
    assert [text.text for text in root.iter(f"{SVG}text") if text.text.endswith(":00")] == ["09:00", "10:00", "11:00"]
    empty = drawn(group.admin.get(f"{URL}heat-map/svg/?from=2099-01-01"))
    assert empty.find(f"{SVG}desc").text.endswith("No values.")


def test_pictures_are_png(course):
    group = course(1)
    group.mark(group.session(MONDAY, 9), "present")

    for chart in ("rates", "heat-map"):
        response = group.admin.get(f"{URL}{chart}/png/?{WEEK}&student_id={group.students[0]}")
        assert (response.status, response.headers["Content-Type"]) == (200, "image/png")
        assert response.raw.get_data().startswith(b"\x89PNG")


def test_charts_of_invisible_rows_are_not_drawn(course, client, tenant):
    mine, other = course(1), course(1)
    me = client(mine.students[0])

    for path in ("rates/svg/", "rates/png/", "heat-map/svg/", "heat-map/png/"):
        assert mine.trainer.get(f"{URL}{path}?group_id={other.id}").status == 404
        assert me.get(f"{URL}{path}?student_id={other.students[0]}").status == 404
        assert mine.admin.get(f"{URL}{path}?group_id={mine.id}&student_id={tenant.id}").status == 404
        assert tenant.the(Role.NUTRITIONIST).get(f"{URL}{path}").status == 403
