import uuid

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role


def test_a_created_student_is_read_back_with_one_statement(api):
    made = api.post(
        "/api/students/",
        {
            "code": "S-1",
            "given_name": "Zoë",
            "family_name": "Müller",
            "tags": ["boarder"],
            "guardians": [{"name": "Ina Müller", "phone": "+49 1"}],
            "address": {"lines": ["Weg 1"], "country": "DE"},
        },
    )
    assert made.status == 201
    url = f"/api/students/{made.json['id']}/"
    assert made.headers["Location"] == url

    read = api.get(url)

    assert read.status == 200
    assert read.json == made.json
    assert [(one["name"], one["phone"]) for one in read.json["guardians"]] == [("Ina Müller", "+49 1")]
    assert len(read.queries) == 1


def test_creating_a_student_takes_at_most_five_statements(api):
    response = api.post(
        "/api/students/",
        {"code": "S-1", "given_name": "A", "family_name": "B", "medical_note": "asthma"},
        headers={"Idempotency-Key": "one"},
    )

    assert response.status == 201
    assert len(response.statements) <= 5, response.statements


def test_a_retry_with_the_same_id_and_body_returns_the_existing_student(api):
    body = {"id": str(new_id()), "code": "S-1", "given_name": "A", "family_name": "B"}
    first = api.post("/api/students/", body)
    api.patch(f"/api/students/{body['id']}/", {"phone": "1"})

    again = api.post("/api/students/", body)
    another = api.post("/api/students/", {**body, "given_name": "C"})

    assert (first.status, again.status) == (201, 200)
    assert again.json["phone"] == "1"
    assert (another.status, another.problem["code"]) == (409, "id_taken")


def test_a_code_belongs_to_one_student(api, student):
    student(code="S-1")

    response = api.post("/api/students/", {"code": "S-1", "given_name": "A", "family_name": "B"})

    assert (response.status, response.problem["code"], response.pointers) == (409, "code_taken", {"/code"})


def test_a_change_requires_the_version_that_its_author_read(api, student):
    made = student()
    url = f"/api/students/{made['id']}/"
    tag = api.get(url).headers["ETag"]

    first = api.patch(url, {"given_name": "Usha"}, headers={"If-Match": f"W/{tag}"})
    second = api.patch(url, {"given_name": "Isha"}, headers={"If-Match": tag})

    assert (first.status, second.status) == (200, 412)
    assert api.get(url).json["given_name"] == "Usha"
    assert api.get(url, headers={"If-None-Match": first.headers["ETag"]}).status == 304
    assert api.get("/api/students/?q=usha").json["items"][0]["id"] == made["id"]


def test_a_deleted_student_disappears_from_lists_and_can_be_restored(api, student):
    made = student()
    url = f"/api/students/{made['id']}/"

    assert api.delete(url).status == 204

    assert api.get(url).status == 404
    assert api.get("/api/students/").json["items"] == []
    assert [s["id"] for s in api.get("/api/students/?deleted=true").json["items"]] == [made["id"]]
    assert api.post(f"{url}undelete/").status == 200
    assert api.get(url).json["deleted_at"] is None


def test_pages_neither_overlap_nor_omit_rows(api, student):
    made = {student(given_name=f"N{number % 3}")["id"] for number in range(7)}
    for sort in ("name", "-name", "code", "-created"):
        collected: list[str] = []
        url = f"/api/students/?limit=3&sort={sort}"
        while url:
            page = api.get(url)
            assert len(page.queries) == 1
            collected += [item["id"] for item in page.json["items"]]
            url = page.headers["Link"].partition(">")[0][1:] if page.json["has_more"] else None
        assert len(collected) == 7
        assert set(collected) == made


def test_a_cursor_belongs_to_its_list(api, student, other):
    for _ in range(3):
        student()
    cursor = api.get("/api/students/?limit=1").json["next_cursor"]

    assert api.get(f"/api/students/?limit=1&cursor={cursor}").status == 200
    assert api.get(f"/api/students/?limit=1&sort=-name&cursor={cursor}").problem["code"] == "bad_cursor"
    assert api.get(f"/api/students/?limit=1&status=active&cursor={cursor}").problem["code"] == "bad_cursor"
    assert api.get(f"/api/students/?limit=1&cursor={cursor[:-2]}xx").problem["code"] == "bad_cursor"
    assert other.the(Role.ADMIN).get(f"/api/students/?limit=1&cursor={cursor}").problem["code"] == "bad_cursor"


def test_sparse_fields_select_only_their_columns(api, student):
    student()

    response = api.get("/api/students/?fields=id,code")

    assert set(response.json["items"][0]) == {"id", "code"}
    assert "guardians" not in response.queries[0]
    assert api.get("/api/students/?fields=id,secret").pointers == {"/fields"}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("status=alumni", {"B"}),
        ("tag=boarder", {"A"}),
        ("joined_from=2026-02-01", {"B"}),
        ("joined_to=2026-01-31", {"A"}),
        ("status=active&tag=boarder&joined_from=2026-01-01&joined_to=2026-01-01", {"A"}),
    ],
)
def test_filters_narrow_the_list(api, student, filters, expected):
    student(code="A", tags=["boarder"], joined_on="2026-01-01")
    student(code="B", status="alumni", joined_on="2026-02-01")

    response = api.get(f"/api/students/?{filters}")

    assert {item["code"] for item in response.json["items"]} == expected


@pytest.mark.parametrize(
    "typed", ["Priya Sharma", "Prita Sharma", "Piya Sharma", "Pirya Sharma", "priya sharam", "PRÍYA", "S-77"]
)
def test_one_wrong_missing_or_swapped_letter_finds_the_student(api, student, typed):
    made = student(code="S-77", given_name="Priya", family_name="Sharma")
    for number, name in enumerate(("Prakash Sharda", "Riya Verma", "Payal Sharma", "Anita Desai")):
        given_name, family = name.split()
        student(code=f"X-{number}", given_name=given_name, family_name=family)

    response = api.get("/api/students/", query_string={"q": typed})

    assert response.json["items"][0]["id"] == made["id"]


def test_each_row_of_a_bulk_create_has_its_own_result(api, student):
    student(code="taken")
    same = {"id": str(new_id()), "code": "kept", "given_name": "A", "family_name": "B"}
    api.made("/api/students/", same)
    rows = [
        {"code": "new-1", "given_name": "A", "family_name": "B", "medical_note": "x"},
        {"code": "taken", "given_name": "A", "family_name": "B"},
        {"code": "new-1", "given_name": "A", "family_name": "B"},
        {"code": "new-2", "given_name": 5},
        same,
        "no row",
        {"code": "new-3", "given_name": "A", "family_name": "B", "user_id": str(new_id())},
        {"code": "new-4", "given_name": "A", "family_name": "B", "joined_on": "2026-02-01", "left_on": "2026-01-01"},
    ]

    response = api.post("/api/students/bulk/", {"students": rows})

    assert response.status == 200
    outcomes = ["created", "error", "error", "error", "unchanged", "error", "error", "error"]
    assert [row["outcome"] for row in response.json["results"]] == outcomes
    assert response.json["summary"] == {"created": 1, "updated": 0, "unchanged": 1, "error": 6}
    pointers = [{e["pointer"] for e in row["errors"]} for row in response.json["results"]]
    assert pointers[3] == {"/given_name"}
    assert pointers[6:] == [{"/user_id"}, {"/left_on"}]
    assert len(response.queries) <= 4
    assert len(api.get("/api/students/").json["items"]) == 3


def test_a_row_that_is_in_a_bulk_create_twice_is_created_once(api, student):
    student(code="taken")
    new, taken = ({"id": str(new_id()), "code": code, "given_name": "A"} for code in ("new", "taken"))
    other = {**new, "given_name": "B"}
    written_otherwise = {**new, "id": new["id"].upper(), "status": "active"}

    first = api.post("/api/students/bulk/", {"students": [new, new, other, written_otherwise, taken, taken]}).json
    again = api.post("/api/students/bulk/", {"students": [new, new]}).json

    outcomes = ["created", "unchanged", "error", "unchanged", "error", "error"]
    assert [row["outcome"] for row in first["results"]] == outcomes
    assert {row["id"] for row in first["results"][:4]} == {new["id"]}
    assert [error["code"] for row in first["results"][4:] for error in row["errors"]] == ["code_taken"] * 2
    assert again["summary"] == {"created": 0, "updated": 0, "unchanged": 2, "error": 0}


def test_statistics_count_by_status_month_and_group(api, student):
    student(joined_on="2026-01-05")
    student(joined_on="2026-01-25", status="alumni")

    found = api.get("/api/students/statistics/").json

    assert found["total"] == 2
    assert found["by_month"] == [{"month": "2026-01", "count": 2}]
    assert {row["status"]: row["count"] for row in found["by_status"]} == {"active": 1, "alumni": 1}


def test_a_medical_note_is_shown_only_with_permission_and_each_read_is_recorded(api, tenant, student, sql):
    made = student(medical_note="asthma")
    url = f"/api/students/{made['id']}/medical-note/"

    assert "asthma" not in api.get(f"/api/students/{made['id']}/").raw.get_data(as_text=True)
    assert tenant.the(Role.NUTRITIONIST).get(url).status == 403
    assert api.get(url).json["medical_note"] == "asthma"

    readings = sql(
        "SELECT user_id FROM audit_log WHERE organization_id = %s AND action = 'read' AND entity_id = %s",
        tenant.id,
        uuid.UUID(made["id"]),
    )
    assert [row[0] for row in readings] == [api.user_id]


def test_an_unknown_user_id_is_refused_with_its_pointer(api):
    response = api.post(
        "/api/students/", {"code": "S-1", "given_name": "A", "family_name": "B", "user_id": str(new_id())}
    )

    assert (response.status, response.pointers) == (422, {"/user_id"})
