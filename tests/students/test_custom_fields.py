"""Custom fields: definitions, values, who sees them, and filters."""

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

FIELDS = "/api/students/custom-fields/"
STUDENT = {"given_name": "Asha", "family_name": "Rao"}


@pytest.fixture
def define(api):
    """Return a function that defines a custom field and returns it."""
    return lambda key, type_="text", **given: api.made(FIELDS, {"key": key, "label": key, "type": type_, **given})


@pytest.fixture
def sizes(define):
    """A field with choices."""
    return define("shirt_size", "choice", choices=["S", "M", "L"])


@pytest.fixture
def trainer_of(tenant, api, group, enrol):
    """Return a function that returns the client of a trainer of a student's group."""

    def trainer(student):
        client = tenant.someone(Role.TRAINER)
        enrol(group(trainer_ids=[str(client.user_id)]), student)
        return client

    return trainer


def url_of(row):
    return f"/api/students/{row['id']}/"


def codes_of(response):
    return {(error["pointer"], error["code"]) for error in response.problem["errors"]}


@pytest.mark.parametrize(
    ("type_", "choices", "right", "wrong"),
    [
        ("text", [], [("door 4", "door 4"), (" a ", "a")], [7, True, ["x"], "a\u0000b", "x" * 1001]),
        ("number", [], [(7, 7), (-0.5, -0.5)], ["7", True, 2e15, {}]),
        ("date", [], [("2026-02-28", "2026-02-28")], ["2026-02-30", "2026-W01-1", 20260228, "20260228"]),
        ("boolean", [], [(True, True), (False, False)], ["true", 1, 0]),
        ("choice", ["S", "M"], [("M", "M")], ["XL", "m", ["M"], 1]),
        ("multiple_choice", ["S", "M"], [(["M", "S", "M"], ["S", "M"])], ["M", ["XL"], [1]]),
    ],
)
def test_each_type_accepts_its_values_only(api, student, define, type_, choices, right, wrong):
    define("x", type_, choices=choices)
    url = url_of(student())

    for value, stored in right:
        changed = api.patch(url, {"custom_fields": {"x": value}})
        assert (changed.status, changed.json["custom_fields"]) == (200, {"x": stored})
        assert api.get(url).json["custom_fields"] == {"x": stored}
    for value in wrong:
        refused = api.patch(url, {"custom_fields": {"x": value}})
        assert (refused.status, codes_of(refused)) == (422, {("/custom_fields/x", "invalid")}), value


def test_a_new_student_needs_the_required_fields_and_no_unknown_ones(api, define, sizes):
    define("locker", is_required=True)

    missing = api.post("/api/students/", {"code": "1", **STUDENT, "custom_fields": {"shirt_size": "XL", "bus": 4}})
    made = api.made("/api/students/", {"code": "1", **STUDENT, "custom_fields": {"locker": "9", "shirt_size": None}})

    assert codes_of(missing) == {
        ("/custom_fields/shirt_size", "invalid"),
        ("/custom_fields/bus", "unknown"),
        ("/custom_fields/locker", "required"),
    }
    assert made["custom_fields"] == {"locker": "9"}


def test_a_change_leaves_other_values_and_checks_only_what_it_names(api, student, define, sizes):
    url = url_of(student(custom_fields={"shirt_size": "M"}))
    define("locker", is_required=True)

    other = api.patch(url, {"phone": "1"})
    same = api.patch(url, {"custom_fields": {"shirt_size": "L"}})
    removed = api.patch(url, {"custom_fields": {"shirt_size": None, "locker": "9"}})
    refused = api.patch(url, {"custom_fields": {"locker": ""}})

    assert other.json["custom_fields"] == {"shirt_size": "M"}
    assert same.json["custom_fields"] == {"shirt_size": "L"}
    assert removed.json["custom_fields"] == {"locker": "9"}
    assert codes_of(refused) == {("/custom_fields/locker", "required")}


def test_a_retry_of_a_create_compares_the_values(api, sizes):
    body = {"id": str(new_id()), "code": "1", **STUDENT}

    answers = [
        api.post("/api/students/", {**body, **more}).status
        for more in ({}, {"custom_fields": {}}, {"custom_fields": {"shirt_size": None}})
    ]
    another = api.post("/api/students/", {**body, "custom_fields": {"shirt_size": "M"}})

    assert answers == [201, 200, 200]
    assert another.problem["code"] == "id_taken"


def test_rows_of_a_bulk_create_have_values_too(api, define, sizes):
    define("locker", is_required=True)
    rows = [
        {"code": "1", **STUDENT, "custom_fields": {"locker": "9", "shirt_size": "M"}},
        {"code": "2", **STUDENT},
        {"code": "3", **STUDENT, "custom_fields": {"locker": "8", "shirt_size": "XL"}},
    ]

    response = api.post("/api/students/bulk/", {"students": rows})
    again = api.post("/api/students/bulk/", {"students": rows[:1]})

    results = response.json["results"]
    assert [row["outcome"] for row in results] == ["created", "error", "error"]
    assert [[(e["pointer"], e["code"]) for e in row["errors"]] for row in results[1:]] == [
        [("/custom_fields/locker", "required")],
        [("/custom_fields/shirt_size", "invalid")],
    ]
    assert api.get(url_of(results[0])).json["custom_fields"] == {"locker": "9", "shirt_size": "M"}
    assert again.json["results"][0]["id"] == results[0]["id"]
    assert len(response.queries) == 4


def test_trainers_and_students_see_only_the_fields_shown_to_them(tenant, api, student, define, trainer_of):
    define("secret")
    define("locker", visible_to=["trainers"])
    define("diet", visible_to=["student", "trainers"])
    values = {"secret": "a", "locker": "b", "diet": "c"}
    client = tenant.the(Role.CLIENT)
    row = student(custom_fields=values, user_id=str(client.user_id))
    trainer = trainer_of(row)

    def shown(caller):
        return [
            caller.get(url_of(row)).json["custom_fields"],
            caller.get("/api/students/").json["items"][0]["custom_fields"],
        ]

    def followed(caller):
        return [item["custom_fields"] for item in caller.get("/api/students/changes/").json["items"]]

    def defined(caller):
        return {field["key"] for field in caller.get(FIELDS).json["items"]}

    assert shown(api) == [values] * 2
    assert shown(tenant.the(Role.NUTRITIONIST)) == [values] * 2
    assert shown(trainer) == [{"locker": "b", "diet": "c"}] * 2
    assert shown(client) == [{"diet": "c"}] * 2
    assert [followed(caller) for caller in (api, trainer, client)] == [
        [values],
        [{"locker": "b", "diet": "c"}],
        [{"diet": "c"}],
    ]
    assert (defined(api), defined(trainer), defined(client)) == (set(values), {"locker", "diet"}, {"diet"})
    assert trainer.get("/api/students/?custom=locker:b").json["items"]
    assert trainer.get("/api/students/?custom=secret:a").problem["errors"][0]["code"] == "unknown"
    assert trainer.post(FIELDS, {"key": "x", "label": "x", "type": "text"}).status == 403


def test_a_role_that_does_not_see_a_field_neither_writes_nor_removes_its_value(
    tenant, api, student, define, trainer_of
):
    define("secret", is_required=True)
    define("locker", visible_to=["trainers"])
    row = student(custom_fields={"secret": "a", "locker": "b"})
    trainer = trainer_of(row)
    role = api.made(
        "/api/roles/", {"name": "Desk", "permissions": ["students:read", "students:write"], "scope": "groups"}
    )
    assert api.patch(f"/api/users/{trainer.user_id}/", {"role_id": role["id"]}).status == 200

    refused = trainer.patch(url_of(row), {"custom_fields": {"secret": "z"}})
    changed = trainer.patch(url_of(row), {"custom_fields": {"locker": "c"}})
    created = trainer.post("/api/students/", {"code": "new", **STUDENT})

    assert codes_of(refused) == {("/custom_fields/secret", "unknown")}
    assert changed.json["custom_fields"] == {"locker": "c"}
    assert created.status == 201
    assert api.get(url_of(row)).json["custom_fields"] == {"secret": "a", "locker": "c"}


def test_an_archived_field_is_hidden_until_it_is_restored(api, student, define):
    field = define("locker")
    row = student(custom_fields={"locker": "9"})
    assert api.get(url_of(row)).json["custom_fields"] == {"locker": "9"}

    assert api.patch(f"{FIELDS}{field['id']}/", {"is_archived": True}).status == 200

    assert api.get(url_of(row)).json["custom_fields"] == {}
    assert api.patch(url_of(row), {"phone": "1"}).json["custom_fields"] == {}
    assert codes_of(api.patch(url_of(row), {"custom_fields": {"locker": "8"}})) == {
        ("/custom_fields/locker", "unknown")
    }
    assert [one["key"] for one in api.get(f"{FIELDS}?archived=true").json["items"]] == ["locker"]
    assert api.get(FIELDS).json["items"] == []
    api.patch(f"{FIELDS}{field['id']}/", {"is_archived": False})
    assert api.get(url_of(row)).json["custom_fields"] == {"locker": "9"}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("shirt_size:M", {"1", "3"}),
        ("shirt_size:S", {"2"}),
        ("colours:red", {"1", "2"}),
        ("locker:9", {"1"}),
        ("shirt_size:M,locker:9", {"1"}),
        ("age:7", {"1"}),
        ("age:7.0", {"1"}),
        ("swims:true", {"2"}),
        ("swims:false", {"1"}),
        (r"note:a\,b\\:c", {"3"}),
    ],
)
def test_lists_are_filtered_by_values(api, student, define, sizes, condition, found):
    define("colours", "multiple_choice", choices=["red", "blue"])
    for key, type_ in (("locker", "text"), ("age", "number"), ("swims", "boolean"), ("note", "text")):
        define(key, type_)
    student(
        code="1",
        custom_fields={"shirt_size": "M", "colours": ["red", "blue"], "locker": "9", "age": 7, "swims": False},
    )
    student(code="2", custom_fields={"shirt_size": "S", "colours": ["red"], "swims": True})
    student(code="3", custom_fields={"shirt_size": "M", "note": "a,b\\:c"})
    student(code="4")

    response = api.get(f"/api/students/?custom={condition}")

    assert {item["code"] for item in response.json["items"]} == found
    assert len(response.queries) <= 2


@pytest.mark.parametrize(
    "condition", ["shirt_size:XL", "bus:4", "shirt_size", ":M", "shirt_size:M,shirt_size:S", "age:x"]
)
def test_a_filter_that_cannot_match_is_refused(api, define, sizes, condition):
    define("age", "number")

    response = api.get(f"/api/students/?custom={condition}")

    assert (response.status, response.pointers) == (422, {"/custom"})


def test_the_definitions_of_a_filter_are_never_outdated(api, student, sizes):
    student(custom_fields={"shirt_size": "M"})
    url = "/api/students/?custom=shirt_size:"
    assert len(api.get(f"{url}M").json["items"]) == 1
    assert api.get(f"{url}XL").status == 422

    api.patch(f"{FIELDS}{sizes['id']}/", {"choices": ["M", "XL"]})

    assert api.get(f"{url}XL").json["items"] == []
    assert api.get(f"{url}S").status == 422


def test_a_field_or_choice_that_is_in_use_stays(api, student, define, sizes):
    many = define("colours", "multiple_choice", choices=["red", "blue"])
    row = student(custom_fields={"shirt_size": "M", "colours": ["red"]})
    api.delete(url_of(row))  # a deleted student can be restored
    url, many_url = f"{FIELDS}{sizes['id']}/", f"{FIELDS}{many['id']}/"

    refused = [
        api.patch(url, {"choices": ["S", "L"]}),
        api.patch(many_url, {"choices": ["blue"]}),
        api.patch(url, {"type": "text"}),
        api.delete(url),
    ]

    assert [(one.status, one.problem["code"]) for one in refused] == [
        (409, "choice_in_use"),
        (409, "choice_in_use"),
        (409, "custom_field_in_use"),
        (409, "custom_field_in_use"),
    ]
    assert refused[0].problem["present"] == {"id": sizes["id"], "version": 1}
    assert api.patch(url, {"choices": ["M", "XL"]}).json["choices"] == ["M", "XL"]
    assert api.patch(many_url, {"choices": ["red"]}).status == 200


def test_an_unused_field_changes_its_type_and_can_be_deleted(api, sizes):
    url = f"{FIELDS}{sizes['id']}/"

    changed = api.patch(url, {"type": "number"})

    assert (changed.status, changed.json["choices"]) == (200, [])
    assert api.patch(url, {"type": "choice"}).problem["code"] == "choices"
    assert api.delete(url).status == 204
    assert api.get(url).status == 404


def test_choices_belong_to_the_types_that_have_them(api):
    for body in ({"type": "choice"}, {"type": "text", "choices": ["S"]}):
        refused = api.post(FIELDS, {"key": "x", "label": "x", **body})
        assert (refused.status, refused.pointers) == (422, {"/choices"})
    refused = api.post(FIELDS, {"key": "x", "label": "x", "type": "choice", "choices": ["S", "S"]})
    assert (refused.status, refused.pointers) == (422, {"/choices"})
    for key in ("Shirt", "1st", "a-b", "x" * 41, ""):
        assert api.post(FIELDS, {"key": key, "label": "x", "type": "text"}).pointers == {"/key"}


def test_an_organization_has_at_most_a_hundred_fields(api, sql, tenant, define):
    define("first")
    sql(
        "INSERT INTO custom_fields (organization_id, id, key, label, type)"
        " SELECT %s, uuidv7(), 'k' || n, 'x', 'text' FROM generate_series(2, 100) n RETURNING id",
        tenant.id,
    )

    refused = api.post(FIELDS, {"key": "last", "label": "x", "type": "text"})

    assert (refused.status, refused.problem["code"]) == (409, "too_many_custom_fields")


def test_a_choice_is_not_removed_while_a_student_gets_it(api, sizes, simultaneously, student):
    url, row = f"{FIELDS}{sizes['id']}/", url_of(student())

    written, refused = simultaneously(
        lambda: api.patch(row, {"custom_fields": {"shirt_size": "M"}}),
        lambda: api.patch(url, {"choices": ["S", "L"]}),
    )
    removed, late = simultaneously(
        lambda: api.patch(url, {"choices": ["S", "M"]}),
        lambda: api.patch(row, {"custom_fields": {"shirt_size": "L"}}),
    )

    assert (written.status, refused.status, refused.problem["code"]) == (200, 409, "choice_in_use")
    assert (removed.status, late.status) == (200, 422)


def test_the_audit_log_encrypts_the_values(api, student, sql, tenant, define):
    define("diet")
    row = student(custom_fields={"diet": "kosher"})
    api.patch(url_of(row), {"custom_fields": {"diet": "halal"}})

    entries = sql("SELECT before::text, after::text FROM audit_log WHERE entity_id = %s", row["id"])
    shown = api.get(f"/api/audit/?entity_id={row['id']}").json["items"]

    assert not any("kosher" in str(entry) or "halal" in str(entry) for entry in entries)
    assert any((one["after"] or {}).get("custom_fields") == {"diet": "halal"} for one in shown)


def test_another_organization_sees_no_fields(other, sizes):
    stranger = other.the(Role.ADMIN)

    assert stranger.get(FIELDS).json["items"] == []
    assert stranger.get(f"{FIELDS}{sizes['id']}/").status == 404
    assert codes_of(
        stranger.post("/api/students/", {"code": "1", **STUDENT, "custom_fields": {"shirt_size": "M"}})
    ) == {("/custom_fields/shirt_size", "unknown")}
