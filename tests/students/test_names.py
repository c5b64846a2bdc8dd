"""Names of all scripts: found, sorted and validated."""

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role

PEOPLE = {
    "Bengali": ("রহিমা", "খাতুন"),
    "Arabic": ("محمد", "الخطيب"),
    "Thai": ("สมชาย", "ใจดีมาก"),
    "Cyrillic": ("Йосиф", "Щербаков"),
    "Hangul": ("민준", "남궁"),
    "Chinese": ("小明", "欧阳"),
}
OVERRIDE, ZWSP, ZWNJ, ZWJ = "\u202e", "\u200b", "\u200c", "\u200d"


def ids(response):
    assert response.status == 200, response.raw.text
    return [item["id"] for item in response.json["items"]]


def search(api, q, **query):
    return ids(api.get("/api/students/", query_string={"q": q, **query}))


@pytest.fixture
def person(student):
    """Return a maker of students by given and family name that returns their id."""
    return lambda given_name, family, **more: student(given_name=given_name, family_name=family, **more)["id"]


def many(api, count, **fields):
    rows = [{"code": new_id().hex, "given_name": "Kofi", "family_name": "Mensah", **fields} for _ in range(count)]
    results = api.post("/api/students/bulk/", {"students": rows}).json["results"]
    return [result["id"] for result in results]


def every_page(api, **query):
    found, cursor = [], None
    while True:
        response = api.get("/api/students/", query_string={**query, **({"cursor": cursor} if cursor else {})})
        found += ids(response)
        cursor = response.json["next_cursor"]
        if not response.json["has_more"]:
            return found


# Finding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", PEOPLE)
def test_a_name_in_any_script_finds_that_person_first(api, person, script):
    made = {name: person(*names) for name, names in PEOPLE.items()}
    person("Asha", "Rao")

    given_name, family = PEOPLE[script]

    for q in (family, given_name, f"{given_name} {family}", f"{family} {given_name}"):
        assert search(api, q)[0] == made[script], q
        assert len(search(api, q)) == 1, q


@pytest.mark.parametrize(
    ("q", "given_name", "family"),
    [
        ("yildiz", "Elif", "Y\u0131ld\u0131z"),
        ("YILDIZ", "Elif", "Y\u0131ld\u0131z"),
        ("y\u0131ld\u0131z", "Elif", "Yildiz"),
        ("istanbul", "İstanbul", "Öz"),
        ("los", "Jan", "Łoś"),
        ("do", "Linh", "Đỗ"),
        ("aesir", "Odin", "Æsir"),
        ("soren", "Søren", "Ek"),
        ("strasse", "Uwe", "Straße"),
        ("thordis", "Þórdís", "Ek"),
        ("o'brien", "Pat", "O\u2019Brien"),
        ("brien", "Pat", "O'Brien"),
        ("علیرضا", f"علی{ZWNJ}رضا", "کریمی"),
        (f"علی{ZWNJ}رضا", "علیرضا", "کریمی"),
    ],
)
def test_search_ignores_accents_special_letters_and_joiners(api, person, q, given_name, family):
    made = person(given_name, family)
    person("Vuk", "Zhang")

    assert search(api, q) == [made]


def test_all_nine_people_with_one_name_are_found_without_its_special_letters(api, person):
    made = {person("Elif", "Y\u0131ld\u0131z") for _ in range(9)}

    assert set(search(api, "yildiz")) == made


def test_a_combining_mark_of_another_script_is_part_of_the_letter(api, person):
    person("Иосиф", "Щ")

    assert search(api, "йо") == []


@pytest.mark.parametrize(
    ("q", "given_name", "family", "more"),
    [
        ("小明", "小明", "王", {}),
        ("王小", "小明", "王", {}),
        ("김민", "민준", "김", {}),
        ("bo", "Bo", "Li", {}),
        ("al", "Al", "Xu", {}),
        ("hà", "Hà", "Trần", {}),
        ("ha", "Hà", "Trần", {}),
        ("tr", "Hà", "Trần", {}),
        ("jo", "Mary Jo", "Xu", {}),
        ("am", "Xu", "Al-Amin", {}),
        ("so", "Xu", "D'Souza", {}),
        ("ti", "Xu", "Ng", {"preferred_name": "Tim"}),
        ("q", "Quentin", "Ng", {}),
        ("qx", "Xu", "Ng", {"code": "QX-1"}),
        ("খা", "রহিমা", "খাতুন", {}),
    ],
)
def test_one_or_two_letters_find_the_start_of_any_part_of_a_name(api, person, q, given_name, family, more):
    made = person(given_name, family, **{"code": "7", **more})
    person("Vuk", "Zelmi", code="8")

    assert search(api, q) == [made]


def test_short_texts_of_punctuation_and_wildcards_find_no_one(api, person):
    person("Vuk", "Zelmi")

    for q in ("%", "_", "\\", "%%", ".", "-"):
        assert search(api, q) == [], q


def test_a_changed_name_is_found_by_its_current_value(api, person):
    made = person("Elif", "Y\u0131ld\u0131z")

    api.patch(f"/api/students/{made}/", {"family_name": "Łoś", "preferred_name": "Æsa"})

    assert search(api, "yildiz") == []
    assert search(api, "elif los") == search(api, "aes") == search(api, "lo") == [made]
    api.delete(f"/api/students/{made}/")
    api.post(f"/api/students/{made}/undelete/")
    assert search(api, "elif los") == [made]


# Filters and pages ---------------------------------------------------------------------------------------------------


def test_filters_apply_before_the_search_is_paginated(api, tenant, student):
    made = many(api, 230)
    group = api.made("/api/groups/", {"code": "G", "name": "Blue"})["id"]
    api.made(f"/api/groups/{group}/enrolments/", {"student_id": made[-1], "begins_on": "2026-01-01"})
    api.patch(f"/api/students/{made[-2]}/", {"status": "alumni", "tags": ["choir"]})

    for q in ("kofi mensah", "kofi", "ko"):
        assert search(api, q, group_id=group) == [made[-1]]
        assert search(api, q, status="alumni") == [made[-2]]
        assert search(api, q, tag="choir") == [made[-2]]
        for sort in ("name", "-name", "created", "relevance", "-relevance"):
            found = every_page(api, q=q, limit=100, sort=sort)
            assert len(found) == 230
            assert set(found) == set(made)


def test_with_a_thousand_matches_pages_are_sorted_by_name_and_reach_everyone(api, sql, student):
    many(api, 990)
    like = student(given_name="Kofi", family_name="Mensax")["id"]
    assert like in every_page(api, q="kofi mensah", limit=200)

    many(api, 10, given_name="Aba")
    many(api, 10, given_name="Kofi Abe")

    found = every_page(api, q="kofi mensah", limit=200)
    assert len(found) == len(set(found)) == 1000
    assert like not in found
    assert search(api, "kofi mensax")[0] == like
    group = api.made("/api/groups/", {"code": "G", "name": "Blue"})["id"]
    api.made(f"/api/groups/{group}/enrolments/", {"student_id": found[-1], "begins_on": "2026-01-01"})
    assert search(api, "kofi mensah", group_id=group) == [found[-1]]


def test_a_code_is_found_by_any_part_but_not_by_a_similar_text(api, student):
    made = {code: student(code=code)["id"] for code in ("S-00041", "S-00042", "S-00142")}

    assert search(api, "S-00042") == search(api, "00042") == search(api, "0042") == [made["S-00042"]]
    assert search(api, "s-00") == [made[code] for code in sorted(made)]
    assert search(api, "s-00043") == search(api, "s-00_42") == []


def test_students_whom_a_trainer_may_not_see_do_not_displace_matches(api, tenant):
    made = many(api, 230)
    trainer = tenant.the(Role.TRAINER)
    fields = {"code": "G", "name": "Blue", "trainer_ids": [str(trainer.user_id)]}
    group = api.made("/api/groups/", fields)["id"]
    api.made(f"/api/groups/{group}/enrolments/", {"student_id": made[-1], "begins_on": "2026-01-01"})

    assert search(trainer, "kofi mensah") == search(trainer, "ko") == [made[-1]]


def test_deleted_people_do_not_displace_matches(api, sql):
    made = many(api, 210)
    last = many(api, 1)
    sql("UPDATE students SET deleted_at = now() WHERE id = ANY(%s::uuid[]) RETURNING id", made)

    assert search(api, "kofi mensah", limit=200) == last
    assert set(every_page(api, q="kofi mensah", limit=200, deleted="true")) == set(made)


def test_another_organizations_people_are_not_found(api, other, person):
    theirs = other.the(Role.ADMIN).made("/api/students/", {"code": "1", "given_name": "রহিমা", "family_name": "খাতুন"})

    assert search(api, "খাতুন") == search(api, "খা") == []
    assert search(other.the(Role.ADMIN), "খাতুন") == [theirs["id"]]


# Groups, exercises, users --------------------------------------------------------------------------------------------


def test_groups_are_found_and_sorted_by_the_same_key(api):
    for code, name in (
        ("1", "École du soir"),
        ("2", "zz Zebra"),
        ("3", "zz apple"),
        ("4", "রবিবার"),
        ("5", "Łódź 100%"),
    ):
        api.made("/api/groups/", {"code": code, "name": name})

    def names(**query):
        return [group["name"] for group in api.get("/api/groups/", query_string=query).json["items"]]

    assert names() == ["École du soir", "Łódź 100%", "zz apple", "zz Zebra", "রবিবার"]
    assert names(sort="-name") == names()[::-1]
    assert names(q="ecole") == names(q="soir ECOLE") == names(q="école") == ["École du soir"]
    assert names(q="lodz") == names(q="100%") == names(q="5 łódź") == ["Łódź 100%"]
    assert names(q="রবি") == ["রবিবার"]
    assert names(q="zz", limit=1) == ["zz apple"]
    assert names(q="%") == ["Łódź 100%"]
    assert names(q="_") == names(q="\\") == []


def test_a_renamed_group_is_found_by_its_new_name(api):
    group = api.made("/api/groups/", {"code": "1", "name": "École du soir"})

    api.patch(f"/api/groups/{group['id']}/", {"name": "Ångström"})

    assert ids(api.get("/api/groups/?q=angstrom")) == [group["id"]]
    assert ids(api.get("/api/groups/?q=ecole")) == []


def test_students_are_sorted_by_the_key(api, person):
    made = [person(*name) for name in (("B", "zz apple"), ("A", "zz Zebra"), ("Elif", "Zzz"), ("রহিমা", "খাতুন"))]

    assert ids(api.get("/api/students/")) == made
    assert ids(api.get("/api/students/?sort=-name")) == made[::-1]


@pytest.mark.parametrize("query", [{}, {"q": "𠀀𠀀𠀀𠀀"}])
def test_a_cursor_fits_the_longest_names_in_the_widest_letters(api, person, query):
    longest = {person("𠀀" * 200, "𠀀" * 199 + last) for last in "𠀁𠀂𠀃"}

    first = api.get("/api/students/", query_string={"limit": 1, **query})

    assert 800 < len(first.json["next_cursor"]) <= 1_000
    assert sorted(every_page(api, limit=1, **query)) == sorted(longest)


def test_exercises_are_found_and_sorted_by_the_key(api):
    for name in ("zz Zebra press", "zz apple press", "zz Łydka press"):
        api.made("/api/exercises/", {"name": name, "equipment": "other"})

    def names(q):
        return [e["name"] for e in api.get("/api/exercises/", query_string={"q": q, "mine": "false"}).json["items"]]

    assert names("zz press") == ["zz apple press", "zz Łydka press", "zz Zebra press"]
    assert names("lydka") == ["zz Łydka press"]
    assert api.post("/api/exercises/", {"name": "ZZ lydka press", "equipment": "other"}).problem["code"] == "name_taken"


def test_users_are_sorted_by_the_key(api):
    names = ["Łukasz", "apple", "Zebra", "Ágota"]
    for number, name in enumerate(names):
        body = {
            "email": f"{new_id().hex}@example.org",
            "name": name,
            "role": "client",
            "password": f"{number} horse battery",
        }
        api.made("/api/users/", body)

    found = [user["name"] for user in api.get("/api/users/?role=client").json["items"]]

    assert found == ["Ágota", "apple", "Łukasz", "Zebra"]
    client = api.get("/api/users/?role=client").json["items"][0]["id"]
    assert client
    api.patch("/api/me/", {"name": "Żaba"})
    assert api.get("/api/users/").json["items"][-1]["name"] == "Zebra"
    assert api.get("/api/users/").json["items"][-2]["name"] == "Żaba"


# What a name may contain ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"given_name": "Suharto", "family_name": ""}, {"given_name": "Suharto"}, {"family_name": "Suharto"}]
)
def test_one_name_suffices(api, student, fields):
    made = api.made("/api/students/", {"code": "1", **fields})
    student(given_name="Zoe", family_name="Suharti")
    student(given_name="Zoe", family_name="Suhartz")

    assert made["given_name"] + made["family_name"] == "Suharto"
    assert search(api, "suharto")[0] == search(api, "su", sort="name")[1] == made["id"]
    assert ids(api.get("/api/students/"))[1] == made["id"]
    group = api.made("/api/groups/", {"code": "G", "name": "Blue"})["id"]
    api.made(f"/api/groups/{group}/enrolments/", {"student_id": made["id"], "begins_on": "2026-01-01"})
    assert ids(api.get(f"/api/groups/{group}/roster/")) == [made["id"]]


def test_a_retry_may_omit_an_empty_name(api):
    body = {"id": str(new_id()), "code": "1", "given_name": "Suharto", "family_name": ""}

    assert api.post("/api/students/", body).status == 201
    assert api.post("/api/students/", {name: value for name, value in body.items() if value}).status == 200


@pytest.mark.parametrize("fields", [{}, {"given_name": ""}, {"given_name": " ", "family_name": "  "}])
def test_a_student_without_any_name_is_refused(api, student, fields):
    response = api.post("/api/students/", {"code": "1", **fields})
    assert (response.status, response.pointers) == (422, {"/given_name"})
    bulk = api.post(
        "/api/students/bulk/", {"students": [{"code": "1", **fields}, {"code": "2", "given_name": "Suharto"}]}
    )
    assert [row["outcome"] for row in bulk.json["results"]] == ["error", "created"]

    made = student(given_name="Suharto", family_name="")
    changed = api.patch(f"/api/students/{made['id']}/", {"given_name": ""})
    assert (changed.status, changed.pointers) == (422, {"/given_name"})
    moved = api.patch(f"/api/students/{made['id']}/", {"given_name": "", "family_name": "Suharto"})
    assert (moved.status, moved.json["given_name"]) == (200, "")


def test_the_database_refuses_a_person_without_a_name(sql, student):
    made = student(given_name="Suharto", family_name="")

    with pytest.raises(Exception, match="ck_students_named"):
        sql("UPDATE students SET given_name = '' WHERE id = %s RETURNING 1", made["id"])


@pytest.mark.parametrize("name", [ZWSP, ZWNJ + ZWJ, f"Asha{OVERRIDE}oaR"])
def test_invisible_or_direction_changing_characters_are_no_name(api, student, name):
    person = {"code": "1", "given_name": "A", "family_name": "B"}
    made = student()["id"]

    for field in ("given_name", "family_name", "preferred_name", "code"):
        response = api.post("/api/students/", {**person, field: name})
        assert (response.status, response.pointers) == (422, {f"/{field}"})
    for body in ({"given_name": name}, {"guardians": [{"name": name}]}, {"given_name": name, "family_name": "Rao"}):
        assert api.patch(f"/api/students/{made}/", body).status == 422
    assert api.post("/api/groups/", {"code": "1", "name": name}).pointers == {"/name"}


def test_names_may_contain_joiners_and_direction_marks_and_are_trimmed(api):
    fields = f" \u200b\ufeff علی{ZWNJ}رضا\u200f\u2060 "
    made = api.made("/api/students/", {"code": "1", "given_name": fields, "family_name": f"ක{ZWJ}ෂ"})

    assert made["given_name"] == f"علی{ZWNJ}رضا\u200f"
    assert made["family_name"] == f"ක{ZWJ}ෂ"
