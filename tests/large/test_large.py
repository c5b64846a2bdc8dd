"""The search, at a hundred thousand students in one organization among a million (`make test-large`)."""

import json
import random
import re
import statistics
import time

import pytest

pytestmark = pytest.mark.large

TYPED = 100


def typos(rng: random.Random, text: str) -> list[str]:
    """Return a text with one letter wrong, one missing, and two swapped."""
    letters = [i for i, c in enumerate(text) if c.isalpha()]
    wrong, missing = rng.choice(letters), rng.choice(letters)
    swappable = [i for i in letters[:-1] if text[i + 1].isalpha() and text[i] != text[i + 1]]
    swap = rng.choice(swappable)
    return [
        text[:wrong] + rng.choice("bdfgklmnprstvxyz") + text[wrong + 1 :],
        text[:missing] + text[missing + 1 :],
        text[:swap] + text[swap + 1] + text[swap] + text[swap + 2 :],
    ]


def test_a_typo_finds_the_student_among_the_first_ten(large):
    api, rng = large.people["admin"], random.Random(2)
    everyone = large.connection.execute(
        "SELECT id, given_name || ' ' || family_name FROM students"
        " WHERE organization_id = %s AND deleted_at IS NULL ORDER BY id",
        (large.made.organization_id,),
    ).fetchall()
    missed, times = [], []
    for student_id, name in rng.sample(everyone, TYPED):
        for typed in typos(rng, name):
            begun = time.perf_counter()
            response = api.get("/api/students/", query_string={"q": typed, "limit": 10, "fields": "id"})
            times.append((time.perf_counter() - begun) * 1000)
            if str(student_id) not in {item["id"] for item in response.json["items"]}:
                missed.append((name, typed))
    print(f"\nsearch among {len(everyone):,}: median {statistics.median(times):.1f} ms, {len(times)} typed")
    assert missed == []


PARAMETERS = {"search_students": ("words", "starts"), "students_with_words": ("patterns",)}


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("search_students", ("some nmae", "% some%\n% nmae%")),
        ("students_with_words", ("% some%\n% name%",)),
        ("students_with_words", ("% ka%",)),
        ("students_with_words", ("%0042%",)),
    ],
)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_the_search_uses_the_trigram_index(large, function, fields, mode):
    connection = large.connection
    with connection.transaction(force_rollback=True):
        body = connection.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", (function,)).fetchone()[0]
        connection.execute("SELECT set_config('app.organization_id', %s, true)", (str(large.made.organization_id),))
        connection.execute("SET LOCAL pg_trgm.word_similarity_threshold = 0.35")
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for number, parameter in enumerate(PARAMETERS[function], 1):
            body = re.sub(rf"(?<!_){parameter}", f"${number}", body)
        connection.execute(f"PREPARE search ({', '.join('text' for _ in fields)}) AS {body}")
        values = ", ".join(f"'{value}'" for value in fields)
        plan = json.dumps(connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE search ({values})").fetchone()[0])
        connection.execute("DEALLOCATE search")

    assert "ix_students_search" in plan
    assert "Seq Scan" not in plan
