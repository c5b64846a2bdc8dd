"""What the tests of all modules need from students, groups and enrolments."""

from datetime import timedelta

from campshub.core.security.permissions import Role
from campshub.students.models import AUDIENCES
from campshub.students.schemas.photos import EXAMPLE
from tests.dates import today
from tests.declared import Declared, Examples, Large
from tests.large.scale import ORGANIZATION

GROUP, STUDENT = "/api/groups/<uuid:group_id>/", "/api/students/<uuid:student_id>/"
SUBSTITUTE = f"{GROUP}substitutes/<uuid:substitute_id>/"
ENROLMENT = f"{GROUP}enrolments/<uuid:enrolment_id>/"
FIELDS, FIELD = "/api/students/custom-fields/", "/api/students/custom-fields/<uuid:custom_field_id>/"
EXTERNAL = "/api/students/by-external-id/<external_id>/"
ENROLMENTS = "/api/enrolments/"
OF_ONE_STUDENT = "within one student, who has an index"
GUARDIANS, GUARDIAN = "/api/guardians/", "/api/guardians/<uuid:guardian_id>/"
OF_ONE_GROUP = "within one group, which has an index"


def seed(seeds):
    word, client = seeds.word, str(seeds.tenant.the(Role.CLIENT).user_id)
    person = {"given_name": f"Given {word}", "family_name": f"Family {word}", "medical_note": f"Note {word}"}
    first, second = seeds.create_two(
        "student_id",
        "/api/students/",
        {"code": f"1-{word}", "user_id": client, "email": f"{word}@example.org", "tags": [word], **person},
        {"code": f"2-{word}", "joined_on": "2026-01-05", **person},
    )
    guardian, _ = seeds.create_two(
        "guardian_id",
        GUARDIANS,
        {"name": f"Guardian {word}", "email": f"guardian-{word}@example.org", "external_id": f"g-{word}"},
        {"name": f"Guardian two {word}", "phone": "+91 20 5550 0100"},
    )
    links = [{"guardian_id": guardian, "relation": f"aunt {word}"}]
    for student_id in (first, second):
        url = f"/api/students/{student_id}/guardians/"
        assert seeds.tenant.the(Role.ADMIN).put(url, {"guardians": links}).status == 200
    trainers = {"trainer_ids": [seeds.ids["trainer_id"]]}
    group, second_group = seeds.create_two(
        "group_id",
        "/api/groups/",
        {"code": f"G1-{word}", "name": f"Group {word}", **trainers},
        {"code": f"G2-{word}", "name": f"Group two {word}"},
    )
    for_all = {"choices": ["S", "M"], "visible_to": ["trainers", "student"]}
    seeds.create_two(
        "custom_field_id",
        FIELDS,
        {"key": "shirt_size", "label": f"Shirt {word}", "type": "choice", **for_all},
        {"key": "locker", "label": f"Locker {word}", "type": "text"},
    )
    days = {"first_date": "2199-01-01", "last_date": "2199-01-02"}
    periods = ({"trainer_id": seeds.ids["trainer_id"], **days} for _ in (1, 2))
    seeds.create_two("substitute_id", f"/api/groups/{group}/substitutes/", *periods)
    term = {"begins_on": str(today() - timedelta(days=30))}
    url = f"/api/groups/{group}/enrolments/"
    seeds.create_two("enrolment_id", url, {"student_id": first, **term}, {"student_id": second, **term})
    # The first student is in two groups.
    admin = seeds.tenant.the(Role.ADMIN)
    further = admin.made(f"/api/groups/{second_group}/enrolments/", {"student_id": first, **term})
    seeds.others.add(further["id"])
    wait(seeds, f"/api/groups/{group}/", url)


def wait(seeds, group, url):
    """Put two students on the waiting list of the full group, for days that are over, so that they stay there."""
    admin = seeds.tenant.the(Role.ADMIN)
    assert admin.patch(group, {"capacity": 2}).status == 200
    days = {"begins_on": str(today() - timedelta(days=20)), "ends_on": str(today() - timedelta(days=10))}
    for number in (3, 4):
        body = {"code": f"{number}-{seeds.word}", "given_name": "Waits", "family_name": seeds.word}
        person = admin.made("/api/students/", body)["id"]
        waits = admin.made(url, {"student_id": person, "wait_if_full": True, **days})
        assert waits["is_waiting"]
        seeds.others |= {person, waits["id"]}
    assert admin.patch(group, {"capacity": None}).status == 200


def one_enrolment(seeds):
    """Return an enrolment on days on which the student is in no group."""
    names = {name: seeds.ids[name] for name in ("student_id", "group_id")}
    return {**names, "begins_on": "2018-01-01", "ends_on": "2018-01-31"}


def set_photo(seeds, _who=None):
    """Set a photo; return the response."""
    url = f"/api/students/{seeds.ids['student_id']}/photo/"
    return seeds.tenant.the(Role.ADMIN).put(url, {"image": EXAMPLE}).json


def photo_link(seeds):
    """Set a photo; return the parameters of a link to its file."""
    return {"token": set_photo(seeds)["small_url"].partition("token=")[2]}


def note_student(day, response):
    """Let the link to a photo of the examples be that of their student."""
    day.seeds.ids["student_id"] = response["id"]


def conflicts(seeds):
    ids = seeds.ids
    person = {"given_name": "A", "family_name": "B"}
    yield "/api/students/", {"code": "C-1", **person}, {}, "code_taken", ("code", "C-0")
    external = {"code": "C-2", "external_id": "E", **person}
    yield "/api/students/", external, {"code": "C-3"}, "external_id_taken", ("external_id", "C-0")
    login = {"code": "C-4", "user_id": seeds.id_for("user_id"), **person}
    yield "/api/students/", login, {"code": "C-5"}, "login_taken", ("user_id", None)
    field = {"key": "bus", "label": "Bus", "type": "text"}
    yield FIELDS, field, {"label": "Coach"}, "key_taken", None
    guardian = {"name": "Ravi Rao", "phone": "+91 1"}
    yield GUARDIANS, guardian, {"email": "r@example.org"}, "guardian_exists", ("phone", "2")
    guardian = {"name": "Mira Rao", "external_id": "G"}
    yield GUARDIANS, guardian, {"name": "Another"}, "external_id_taken", ("external_id", "G-0")
    guardian = {"name": "Tara Rao", "user_id": seeds.id_for("user_id")}
    yield GUARDIANS, guardian, {"name": "Another"}, "login_taken", ("user_id", None)
    yield "/api/groups/", {"code": "C-1", "name": "Blue"}, {}, "code_taken", ("code", "C-0")
    external = {"code": "C-2", "name": "Blue", "external_id": "E"}
    yield "/api/groups/", external, {"code": "C-3"}, "external_id_taken", ("external_id", "C-0")
    enrolment = {"student_id": ids["student_id"], "begins_on": "2019-01-01", "ends_on": "2019-02-01"}
    other_days = {"begins_on": "2019-02-01", "ends_on": "2019-04-01"}
    url = f"/api/groups/{ids['group_id']}/enrolments/"
    yield url, enrolment, other_days, "already_enrolled", ("begins_on", "2019-03-01")


def guardian_rows(connection, made):
    """Create a guardian for each second student of the large organization, unless they exist; return the id of one."""
    values = {"organization_id": made.organization_id, "student_id": made.student_id, "client_id": made.client_id}
    connection.execute(
        """
        WITH new AS (
          INSERT INTO guardians (organization_id, id, user_id, name, sort_name, search_text, phone, phone_key, email,
                                 email_key, deleted_at)
          SELECT %(organization_id)s, uuidv7(), NULL, g.name, lower(g.name), ' ' || lower(g.name), g.number, g.number,
                 g.number || '@example.org', g.number || '@example.org', CASE WHEN n %% 200 = 77 THEN now() END
            FROM (SELECT n, 'Guardian ' || n AS name, n::text AS number FROM
                    (SELECT row_number() OVER (ORDER BY id) AS n FROM students
                      WHERE organization_id = %(organization_id)s) AS numbered WHERE n %% 2 = 0) AS g
           WHERE NOT EXISTS (SELECT FROM guardians WHERE organization_id = %(organization_id)s)
          RETURNING id, phone::int AS n)
        INSERT INTO student_guardians (organization_id, id, student_id, guardian_id, position, is_primary, may_pick_up,
                                       receives_notifications)
        SELECT %(organization_id)s, uuidv7(), s.id, new.id, 0, true, true, true
          FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM students
                 WHERE organization_id = %(organization_id)s) AS s JOIN new ON new.n IN (s.n, s.n + 1)
        """,
        values,
    )
    connection.execute("ANALYZE guardians, student_guardians")
    found = connection.execute(
        "SELECT guardian_id FROM student_guardians WHERE organization_id = %(organization_id)s LIMIT 1", values
    ).fetchone()
    return {"guardian_id": str(found[0])}


def substitute_rows(connection, made):
    """Create substitutes of each group of the large organization, unless they exist; return the id of one."""
    values = {"organization_id": made.organization_id, "group_id": made.group_id, "user_id": made.head_trainer_id}
    connection.execute(
        """
        INSERT INTO group_substitutes (organization_id, id, group_id, trainer_id, first_date, last_date)
        SELECT organization_id, uuidv7(), id, %(user_id)s, current_date - n, current_date - n
          FROM groups, generate_series(30, 60, 10) n
         WHERE organization_id = %(organization_id)s
           AND NOT EXISTS (SELECT FROM group_substitutes WHERE organization_id = %(organization_id)s)
        """,
        values,
    )
    connection.execute("ANALYZE group_substitutes")
    found = connection.execute(
        "SELECT id FROM group_substitutes WHERE organization_id = %(organization_id)s AND group_id = %(group_id)s"
        " LIMIT 1",
        values,
    ).fetchone()
    return {"substitute_id": str(found[0])}


def rows(connection, made):
    connection.execute(
        """
        INSERT INTO custom_fields (organization_id, id, key, label, type, choices, visible_to)
        SELECT %(organization_id)s, uuidv7(), key, key, type, choices::text[], %(audiences)s::text[]
          FROM (VALUES ('shirt_size', 'choice', '{S,M}'), ('locker', 'text', '{}')) AS f(key, type, choices)
            ON CONFLICT DO NOTHING
        """,
        {"organization_id": made.organization_id, "audiences": list(AUDIENCES)},
    )
    field = connection.execute(
        "SELECT id FROM custom_fields WHERE organization_id = %s LIMIT 1", (made.organization_id,)
    ).fetchone()
    row = connection.execute(
        "SELECT id FROM enrolments WHERE organization_id = %s AND group_id = %s LIMIT 1",
        (made.organization_id, made.group_id),
    ).fetchone()
    return {
        "student_id": str(made.student_id),
        "group_id": str(made.group_id),
        "enrolment_id": str(row[0]),
        "custom_field_id": str(field[0]),
        **guardian_rows(connection, made),
        **substitute_rows(connection, made),
    }


def values(made, ids):
    return {
        "archived": ["true", "false"],
        "custom": ["shirt_size:M", "locker:rare"],
        "group_id": [ids["group_id"], str(made.large_group_id)],
        "code": ["S000001", "rare"],
        "external_id": ["rare"],
        "include": ["has_medical_note", "last_seen_on"],
        "email": ["rare@example.org", "2@example.org"],
        "guardian": [ids["guardian_id"]],
        "joined_from": [str(made.last)],
        "joined_to": ["2000-01-01"],
        "kind": ["camp"],
        "on": [str(made.last)],
        "phone": ["rare", "2"],
        "q": ["ka", "bodo", "zupatiko", "group"],
        "status": ["active", "lead", "archived", "withdrawn"],
        "student_id": [ids["student_id"]],
        "tag": ["scholar", "rare"],
        "trainer_id": [ids["user_id"]],
        "updated_from": ["2000-01-01T00:00:00Z", "2199-01-01T00:00:00Z"],
    }


# A list is no way to keep a copy: change feeds are.
CHANGED = "an index on updated_at would make each update write to all indexes; the list is read in its order"

DECLARED = Declared(
    seed=seed,
    empty={
        "student_id": ("/api/students/", {"code": "empty", "given_name": "Empty", "family_name": "Yet"}),
        "group_id": ("/api/groups/", {"code": "empty", "name": "Empty group"}),
        "guardian_id": (GUARDIANS, {"name": "Empty guardian"}),
    },
    budgets={
        f"GET {FIELDS}": 1,
        f"GET {FIELD}": 1,
        f"POST {FIELDS}": 3,  # the organization's fields are counted
        f"PATCH {FIELD}": 3,
        f"DELETE {FIELD}": 4,  # a student with a value is looked for
        f"GET {STUDENT}photo/": 1,
        f"GET {STUDENT}photo/file/": 2,  # who has the link, and the photo
        f"PUT {STUDENT}photo/": 5,  # the student is read first: without them, nothing is decoded or stored
        f"DELETE {STUDENT}photo/": 3,
        f"GET {GUARDIANS}": 1,
        f"GET {GUARDIAN}": 1,
        f"GET {GUARDIAN}students/": 1,
        f"GET {STUDENT}guardians/": 1,
        f"POST {GUARDIANS}": 2,
        f"PATCH {GUARDIAN}": 4,  # and the person key
        f"DELETE {GUARDIAN}": 3,
        f"POST {GUARDIAN}undelete/": 3,
        # The student and the links are locked, and read again; the guardians are locked and written, and the links.
        f"PUT {STUDENT}guardians/": 10,
        "GET /api/groups/": 1,
        f"GET {GROUP}": 1,
        f"GET {GROUP}enrolments/": 1,
        f"GET {ENROLMENT}": 1,
        f"GET {GROUP}roster/": 1,
        f"GET {ENROLMENTS}": 1,
        f"GET {STUDENT}enrolments/": 1,
        f"GET {STUDENT}groups/": 1,
        f"POST {ENROLMENTS}bulk/": 5,  # students, groups, present enrolments, the insert, audit; for any number of rows
        "GET /api/students/": 1,
        f"GET {STUDENT}": 1,
        f"GET {STUDENT}medical-note/": 2,  # the read is recorded
        "GET /api/students/statistics/": 2,  # students by status and month, enrolments by group
        f"PATCH {GROUP}": 4,  # the group is read again, with its trainers
        f"PATCH {STUDENT}": 5,  # and the person key; the guardians are read
        f"PATCH {ENROLMENT}": 5,  # the group is locked too; who waits for the place
        "POST /api/groups/": 3,  # the group is read, with its trainers
        f"POST {GROUP}enrolments/": 4,  # the group is locked, for its last free place; the student is looked up
        f"POST {GROUP}undelete/": 4,
        "POST /api/students/": 3,  # the custom fields are read
        f"POST {STUDENT}undelete/": 4,  # the guardians are read
        # For any number of rows: custom fields and logins, the students, the change, the person keys, the audit log.
        "PATCH /api/students/bulk/": 5,
        "POST /api/students/bulk/delete/": 4,
        "POST /api/students/bulk/leavers/": 3,
        f"PUT {EXTERNAL}": 6,  # the custom fields, the students, who has the keys, the create; the student is read
        "POST /api/students/bulk/": 4,  # for any number of rows
        f"GET {GROUP}waiting-list/": 1,
        f"GET {GROUP}substitutes/": 1,
        f"GET {SUBSTITUTE}": 1,
        f"POST {GROUP}substitutes/": 4,  # the group is locked; the user is looked up
        f"PATCH {SUBSTITUTE}": 3,
        f"DELETE {SUBSTITUTE}": 3,
        f"DELETE {GROUP}": 3,
        f"DELETE {STUDENT}": 3,
    },
    creates={f"POST {GROUP}enrolments/": 6, f"POST {GROUP}substitutes/": 6},  # see their budgets
    bodies={
        f"PATCH {FIELD}": {"label": "Size"},
        f"PATCH {GROUP}": {"name": "Early birds"},
        f"PATCH {ENROLMENT}": {"ends_on": today().isoformat()},
        f"PATCH {STUDENT}": {"preferred_name": "Ash"},
        f"PATCH {GUARDIAN}": {"phone": "+91 2"},
        f"PUT {STUDENT}guardians/": {"guardians": [{"name": "Ash Rao", "phone": "+91 3"}]},
        f"PATCH {SUBSTITUTE}": {"last_date": "2199-12-30"},
    },
    real_bodies={
        "PATCH /api/students/bulk/": lambda seeds, _: {"students": [{"id": seeds.ids["student_id"], "phone": "7"}]},
        "POST /api/students/bulk/delete/": lambda seeds, _: {"students": [{"id": seeds.ids["student_id"]}]},
        f"POST {ENROLMENTS}bulk/": lambda seeds, _: {"enrolments": [one_enrolment(seeds)]},
        "POST /api/students/bulk/leavers/": lambda *_: {"key": "code", "values": [], "max_removed": 1_000},
    },
    spending=("/bulk/delete/", "/bulk/leavers/"),
    schemas={
        "ExternalStudentIn": {"given_name": None},
        "BulkEnrolmentIn": {
            "student_id": None,
            "group_id": None,
            "begins_on": "2020-01-01",
            "ends_on": "2020-01-31",
        },
        "StudentChangesIn": {"students": None},
        "CustomFieldIn": {"type": "text"},
        "StudentIn": {"given_name": None},
        "StudentGuardianIn": {"name": None},
        "GroupSubstituteIn": {"last_date": "2199-12-31"},
        # The seeded students are enrolled today.
        "EnrolmentIn": {"begins_on": "2020-01-01", "ends_on": "2020-01-31"},
    },
    queries={f"GET {STUDENT}photo/file/": photo_link},
    before={f"DELETE {STUDENT}photo/": set_photo},
    public={f"GET {STUDENT}photo/file/": frozenset({"files"})},
    values={"custom": "shirt_size:M", "image": EXAMPLE, "include": "has_medical_note,last_seen_on"},
    references={
        "trainer_ids": "trainer_id",
        "guardian": "guardian_id",
        "StudentChangeIn.id": "student_id",
        "StudentDeletionIn.id": "student_id",
    },
    texts=frozenset({"country", "image", "key", "medical_note"}),
    lists={
        "/api/students/": {
            "q": "=ix_students_search",
            "status": ("students", "status", "sort_name", "id"),
            "group_id": ("enrolments", "group_id"),
            "trainer_id": ("group_trainers", "user_id", "group_id"),
            "code": ("students", "code"),
            "external_id": ("students", "external_id"),
            "phone": ("students", "phone"),
            "email": ("students", "email"),
            "include": "selects no rows; each row's last day is read from the newest month by an index",
            "guardian": ("student_guardians", "guardian_id", "student_id"),
            "tag": "operators on arrays are not leak-proof, so no policy lets them use an index: the pages of one"
            " organization are read in the list's order until fifty have the tag",
            "custom": "operators on JSON are not leak-proof either: as for tags, pages are read in the list's order",
            "joined_from": ("students", "joined_on"),
            "joined_to": ("students", "joined_on"),
            "updated_from": CHANGED,
            "deleted": "=ix_students_deleted",
            "sort name": ("students", "sort_name", "id"),
            "sort code": ("students", "code"),
            "sort created": ("students", "id"),
            "sort relevance": "ranks only the rows that the search finds by its index and the filters leave",
        },
        GUARDIANS: {
            "q": "=ix_guardians_search",
            "phone": ("guardians", "phone_key", "sort_name", "id"),
            "email": ("guardians", "email_key", "sort_name", "id"),
            "student_id": "a student has ten guardians at most",
            "deleted": "=ix_guardians_deleted",
            "sort name": ("guardians", "sort_name", "id"),
            "sort created": ("guardians", "id"),
        },
        f"{GUARDIAN}students/": {"sort name": "a guardian has a few students"},
        "/api/groups/": {
            "q": "parts of words have no leak-proof operator; an organization has some hundred groups, read in their"
            " order",
            "code": ("groups", "code"),
            "external_id": ("groups", "external_id"),
            "kind": ("groups", "kind", "sort_name", "id"),
            "status": ("groups", "status", "sort_name", "id"),
            "trainer_id": ("group_trainers", "user_id", "group_id"),
            "updated_from": "an organization has some hundred groups, read in their order",
            "deleted": "an organization has some hundred groups, deleted ones among them, read in their order",
            "sort name": ("groups", "sort_name", "id"),
            "sort code": ("groups", "code"),
            "sort created": ("groups", "id"),
        },
        FIELDS: {
            "archived": "an organization has at most a hundred custom fields",
            "sort position": ("custom_fields", "position", "id"),
        },
        f"{GROUP}enrolments/": {
            "status": OF_ONE_GROUP,
            "updated_from": OF_ONE_GROUP,
            "sort begins_on": ("enrolments", "group_id", "begins_on", "student_id"),
        },
        ENROLMENTS: {
            "student_id": ("enrolments", "student_id", "begins_on"),
            "group_id": ("enrolments", "group_id", "begins_on", "student_id"),
            "status": ("enrolments", "status", "begins_on", "id"),
            "on": "most enrolments of an organization are current; pages are read in the list's order",
            "updated_from": CHANGED,
            "sort begins_on": ("enrolments", "begins_on", "id"),
        },
        f"{STUDENT}enrolments/": {
            "status": OF_ONE_STUDENT,
            "updated_from": OF_ONE_STUDENT,
            "sort begins_on": OF_ONE_STUDENT,
        },
        f"{STUDENT}groups/": {"on": OF_ONE_STUDENT, "sort name": OF_ONE_STUDENT},
        f"{GROUP}waiting-list/": {"sort position": "=ix_enrolments_waiting"},
        f"{GROUP}substitutes/": {
            "from": OF_ONE_GROUP,
            "to": OF_ONE_GROUP,
            "sort first_date": ("group_substitutes", "group_id", "first_date", "id"),
        },
        f"{GROUP}roster/": {"on": OF_ONE_GROUP, "sort name": OF_ONE_GROUP},
    },
    conflicts=conflicts,
    others={
        f"POST {FIELDS}": {"label": "Another"},
        "POST /api/students/": {"given_name": "Another"},
        f"POST {GROUP}substitutes/": {"last_date": "2199-12-30"},
        f"POST {GROUP}enrolments/": {"ends_on": "2020-01-30"},
    },
    examples=Examples(
        # The student is deleted with the others.
        first=(
            *("createCustomField", "createStudent", "createGuardian", "createGroup", "createEnrolment"),
            *("createGroupSubstitute", "setStudentPhoto", "deleteStudentPhoto"),
        ),
        after={"createStudent": note_student},
        values={
            "createGroupSubstitute": lambda day, _who: {"trainer_id": str(day.seeds.tenant.the(Role.TRAINER).user_id)}
        },
    ),
    large=Large(
        rows=rows,
        values=values,
        tables=frozenset({"enrolments", "group_substitutes", "guardians", "student_guardians", "students"}),
        exceptions=(
            (
                "students/statistics/",
                3.2 * ORGANIZATION,
                ORGANIZATION,
                "counts all students and all enrolments; cached for as long as nothing changes",
            ),
            (
                "/api/students/ tag",
                2.2 * ORGANIZATION,
                ORGANIZATION / 8,
                "no policy lets an array's operator use an index, so students are read until fifty have the tag",
            ),
            (
                "/api/students/ custom",
                2.2 * ORGANIZATION,
                ORGANIZATION / 8,
                "as for tags: students are read until fifty have the value",
            ),
            (
                "/api/students/ updated_from",
                2.2 * ORGANIZATION,
                ORGANIZATION / 8,
                "students are read in their order until fifty have changed since",
            ),
            (
                "/api/students/ .* as head",
                2.2 * ORGANIZATION,
                ORGANIZATION,
                "a trainer of all thousand groups; the planner may take all of their students for few",
            ),
        ),
        sorted=(
            ("/api/students/ (q [0-3]|sort -?relevance)", "search results: ranked, or sorted by name"),
            ("/api/students/<uuid:student_id>/( bare|guardians/|workouts/)", "one student's guardians, in their order"),
            ("/waiting-list/", "the places of all who wait for one group are numbered before a page is cut"),
            ("/api/students/statistics/", "aggregates, no page: the groups with most students first"),
        ),
    ),
)
