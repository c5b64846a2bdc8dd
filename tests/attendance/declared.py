"""What the tests of all modules need from attendance."""

from datetime import timedelta

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large
from tests.large.scale import ORGANIZATION

CODE, RECORD = "/api/attendance/codes/<uuid:code_id>/", "/api/attendance/records/<uuid:record_id>/"
SESSION = "/api/attendance/sessions/<uuid:session_id>/"
OF_GROUP, OF_STUDENT = "/api/groups/<uuid:group_id>/", "/api/students/<uuid:student_id>/"
ANALYTICS = "/api/attendance/analytics/"
FEW_CODES = "an organization has a handful of codes, five hundred at most: they are read whole"
OF_ONE_SESSION = "a session's roster is read whole, by name, five thousand students at most"
IN_DATES = "an index on updated_at would make each update write to all indexes; the dates limit what is read"
RESCHEDULING = ("cancelAttendanceSession", "moveAttendanceSession", "deleteAttendanceSession")
DATES = {
    "from": ("attendance_sessions", "local_date", "id"),
    "to": ("attendance_sessions", "local_date", "id"),
}


def seed(seeds):
    admin, word = seeds.tenant.the(Role.ADMIN), seeds.word
    seeds.create_two(
        "code_id",
        "/api/attendance/codes/",
        {"key": "trip", "label": f"Trip {word}", "counts_as": "present"},
        {"key": "ill", "label": f"Ill {word}", "counts_as": "excused"},
    )
    group = {"group_id": seeds.ids["group_id"], "local_date": str(today()), "notes": word, "status": "open"}
    session, _ = seeds.create_two(
        "session_id", "/api/attendance/sessions/", {**group, "slot": "09:00"}, {**group, "slot": "10:00"}
    )
    records = f"/api/attendance/sessions/{session}/records/"
    marked = admin.put(records, {"records": [{"student_id": seeds.ids["student_id"], "code": "late", "note": word}]})
    marked_rest = admin.put(records, {"rest": "present"})
    assert (marked.status, marked_rest.status) == (200, 200)
    seeds.ids["record_id"] = marked.json["results"][0]["id"]
    changed = admin.patch(f"/api/attendance/records/{seeds.ids['record_id']}/?on={today()}", {"note": f"bus {word}"})
    assert changed.status == 200
    seeds.others |= {row["id"] for row in marked_rest.json["results"] if row["id"]}
    # Aggregates of a second group (open gym) and of a second month.
    long_ago = str(today() - timedelta(days=35))
    for day in (str(today()), long_ago):
        beside = admin.made("/api/attendance/sessions/", {"local_date": day, "slot": "08:00", "notes": word})["id"]
        mark = {"student_id": seeds.ids["student_id"], "code": "present"}
        response = admin.put(f"/api/attendance/sessions/{beside}/records/", {"records": [mark]})
        seeds.others |= {beside, response.json["results"][0]["id"]}


def conflicts(seeds):
    code = {"key": "c1", "label": "C", "counts_as": "late"}
    yield "/api/attendance/codes/", code, {}, "key_taken", None  # a key cannot be changed
    meeting = {"group_id": seeds.ids["group_id"], "local_date": today().isoformat(), "slot": "07:00"}
    yield "/api/attendance/sessions/", meeting, {}, "session_exists", ("slot", "06:00")
    open_gym = {"local_date": today().isoformat(), "slot": "07:00"}
    yield "/api/attendance/sessions/", open_gym, {}, "session_exists", ("slot", "06:00")


def new_session(seeds, _client):
    """Create a session in which no student has a mark."""
    body = {"group_id": seeds.ids["group_id"], "local_date": today().isoformat(), "slot": "11:00", "status": "open"}
    seeds.ids["session_id"] = seeds.tenant.the(Role.ADMIN).made("/api/attendance/sessions/", body)["id"]


def unmarked(seeds, client):
    """Create a session without marks in a slot of its own."""
    body = {"group_id": seeds.ids["group_id"], "local_date": today().isoformat(), "slot": new_id().hex[-8:]}
    seeds.ids["session_id"] = client.made("/api/attendance/sessions/", body)["id"]


def cancellation(seeds, client):
    """Create a session without marks, and return why it is cancelled."""
    unmarked(seeds, client)
    return {"reason": "The hall is closed."}


def marked_aside(day):
    """Let an example act on a session without marks."""
    body = {"local_date": today().isoformat(), "slot": new_id().hex[-8:]}
    day.ids["session_id"] = day.seeds.tenant.the(Role.ADMIN).made("/api/attendance/sessions/", body)["id"]


def marked_again(day, _response):
    """Let the next examples act on the session with marks."""
    del day.ids["session_id"]  # the example of a session has its own id


def submit(seeds, client):
    """Submit a register."""
    assert client.post(f"/api/attendance/sessions/{seeds.ids['session_id']}/submit/").status == 200


def day_offline(seeds, _client):
    """Return the marks of a session that does not exist yet."""
    named = {"group_id": seeds.ids["group_id"], "local_date": today().isoformat(), "slot": new_id().hex[-8:]}
    return {"registers": [{**named, "rest": "present"}]}


def rows(connection, made):
    found = connection.execute(
        """
        SELECT (SELECT id FROM attendance_records r WHERE r.organization_id = %(organization_id)s
                   AND r.session_id = %(session_id)s LIMIT 1),
               (SELECT id FROM attendance_codes LIMIT 1),
               (SELECT local_date FROM attendance_sessions s WHERE s.organization_id = %(organization_id)s
                   AND s.id = %(session_id)s)
        """,
        {"organization_id": made.organization_id, "session_id": made.session_id},
    ).fetchone()
    record_id, code_id, on = map(str, found)
    return {"session_id": str(made.session_id), "record_id": record_id, "code_id": code_id, "on": on}


DECLARED = Declared(
    seed=seed,
    empty={"session_id": ("/api/attendance/sessions/", {"local_date": str(today()), "slot": "23:00"})},
    budgets={
        f"GET {ANALYTICS}groups/": 1,
        f"GET {ANALYTICS}students/<uuid:student_id>/": 1,
        "GET /api/attendance/codes/": 1,
        f"GET {CODE}": 1,
        "GET /api/attendance/records/": 1,
        f"GET {RECORD}": 1,
        f"GET {RECORD}history/": 3,  # whether the caller sees the mark, the entries, the persons' keys
        "GET /api/attendance/sessions/": 1,
        f"GET {SESSION}": 1,
        f"GET {SESSION}records/": 2,  # the session's date gives the month to read
        f"GET {OF_GROUP}sessions/": 1,
        "GET /api/me/day/": 2,  # the sessions, and the students of all of them
        f"GET {OF_STUDENT}attendance/": 2,  # the totals of the marks, and the latest of them
        f"PATCH {CODE}": 3,
        # Also the session, which must not be locked; the codes; the register's version; the person key.
        f"PATCH {RECORD}": 7,
        f"PATCH {SESSION}": 3,
        "POST /api/attendance/codes/": 2,
        "POST /api/attendance/sessions/": 3,  # the group, the session, approved leave of its date
        f"POST {SESSION}cancel/": 6,  # the lock of the schedule, its marks of leave, and whether it has others
        f"POST {SESSION}move/": 5,  # the schedule and the session are locked, and this one again for the change
        f"POST {SESSION}substitutes/": 5,  # the session; then as a substitute of the group
        f"POST {SESSION}lock/": 3,
        f"POST {SESSION}reopen/": 3,
        f"POST {SESSION}submit/": 3,
        # The sessions, the lock of the schedule, a savepoint, the new session (3), its register, the marks, audit.
        "POST /api/attendance/sync/": 10,
        # The slot, the group, approved leave, the insert; the session is read.
        "PUT /api/groups/<uuid:group_id>/sessions/<local_date>/<slot>/": 6,
        f"PUT {SESSION}records/": 3,  # the register, the marks, audit; and person keys where a mark has a note
        f"DELETE {RECORD}": 6,  # as its change
        f"DELETE {SESSION}": 7,  # as to cancel it, and whether it had any marks
    },
    creates={"POST /api/attendance/sessions/": 6, f"POST {SESSION}substitutes/": 7},  # see their budgets
    bodies={
        f"PATCH {CODE}": {"label": "Excursion"},
        f"PATCH {RECORD}": {"code": "present", "note": "came by bus"},
        f"PATCH {SESSION}": {"notes": "indoors", "slot": "Earlier"},
        f"POST {SESSION}cancel/": {"reason": "The hall is closed."},
        f"POST {SESSION}move/": {"slot": "Later", "reason": "The hall is closed."},
        f"PUT {SESSION}records/": {"rest": "present"},
    },
    real_bodies={
        "POST /api/attendance/sync/": day_offline,
        f"DELETE {SESSION}": unmarked,
        f"POST {SESSION}cancel/": cancellation,
    },
    before={
        f"PUT {SESSION}records/": new_session,
        f"POST {SESSION}reopen/": submit,
        **{
            f"{method} {SESSION}{way}": unmarked
            for method, way in (("POST", "cancel/"), ("POST", "move/"), ("DELETE", ""))
        },
    },
    spending=("/lock/", "/reopen/", "/submit/"),
    schemas={
        "MarksIn": {"records": None},
        "MarkIn": {"code": "present"},
        "RegisterIn": {
            "session_id": None,
            "records": None,
            "local_date": None,
            "slot": "09:00",
            "version": lambda: None,
            "rest": lambda: None,
        },
        "AttendanceRecordPatch": {"code": "present"},
        "AttendanceSessionIn": {"slot": lambda: new_id().hex[-8:]},
    },
    instead={"session_id": "local_date"},  # with a date, the id is one for a session that is created
    references={"marked_by": "user_id"},
    texts=frozenset({"code", "key", "note", "notes", "reason", "rest"}),
    lists={
        f"{OF_GROUP}sessions/": {
            **DATES,
            "status": "within one group, which has an index",
            "updated_from": "within one group, which has an index",
            "sort date": ("attendance_sessions", "group_id", "local_date"),
        },
        "/api/attendance/sessions/": {
            **DATES,
            "status": ("attendance_sessions", "status", "local_date", "id"),
            "updated_from": IN_DATES,
            "group_id": ("attendance_sessions", "group_id", "local_date"),
            "sort date": ("attendance_sessions", "local_date", "id"),
        },
        f"{SESSION}records/": {"sort name": OF_ONE_SESSION},
        "/api/attendance/codes/": {"archived": FEW_CODES, "sort position": FEW_CODES},
        "/api/attendance/records/": {
            "from": ("attendance_records", "local_date", "id"),
            "to": ("attendance_records", "local_date", "id"),
            "student_id": ("attendance_records", "student_id", "local_date", "id"),
            "group_id": ("attendance_records", "group_id", "local_date", "id"),
            "session_id": ("attendance_records", "session_id"),
            "code": "=ix_attendance_records_code",
            "updated_from": IN_DATES,
            "sort date": ("attendance_records", "local_date", "id"),
        },
        f"{RECORD}history/": {
            "on": "the date of the one mark whose entries are read",
            "sort date": ("audit_log", "entity_id", "recorded_on", "id"),
        },
        f"{ANALYTICS}groups/": {
            "from": ("attendance_group_days", "local_date", "group_id"),
            "to": ("attendance_group_days", "local_date", "group_id"),
            "group_id": ("attendance_group_days", "group_id", "local_date"),
            "sort date": ("attendance_group_days", "local_date", "group_id"),
        },
        f"{ANALYTICS}students/<uuid:student_id>/": {
            "from": ("attendance_student_months", "student_id", "month"),
            "to": ("attendance_student_months", "student_id", "month"),
            "sort month": ("attendance_student_months", "student_id", "month"),
        },
    },
    conflicts=conflicts,
    unstamped=frozenset({"absence_notices", "register_alerts"}),
    others={
        "POST /api/attendance/codes/": {"label": "Something else"},
        "POST /api/attendance/sessions/": {"notes": "Something else"},
    },
    examples=Examples(
        first=("createAttendanceSession", "markAttendance", "createAttendanceCode"),
        created={"markAttendance": ("record_id", lambda response: response["results"][0]["id"])},
        values={
            "createAttendanceSessionSubstitute": lambda day, _who: {
                "trainer_id": str(day.seeds.tenant.the(Role.TRAINER).user_id)
            },
            "moveAttendanceSession": lambda _day, _who: {"local_date": str(today())},
        },
        before=dict.fromkeys(RESCHEDULING, marked_aside),
        after=dict.fromkeys(RESCHEDULING, marked_again),
    ),
    large=Large(
        rows=rows,
        values=lambda _made, ids: {
            "archived": ["true"],
            "code": ["absent", "nobodys"],
            "session_id": [ids["session_id"]],
            "status": ["submitted", "open"],
        },
        tables=frozenset({"attendance_records", "attendance_sessions"}),
        exceptions=(
            (
                "/api/attendance/records/ .* as trainer",
                60_000,
                1,
                "walks the requested days until fifty records are of the trainer's ten groups in a thousand",
            ),
            (
                "/api/attendance/analytics/groups/ a year",
                0.25 * ORGANIZATION,
                0.25 * ORGANIZATION,
                "puts a year's days of all groups in order before it cuts a page; cached until something changes",
            ),
            (
                "/attendance/ a year as head",
                15_000,
                1_000,
                "a student's year, each record with the groups that are trained",
            ),
        ),
        sorted=(
            ("/api/attendance/codes/", "a handful of an organization's own and the platform's, in one order"),
            ("/api/attendance/analytics/", "stale rollups are computed, and sorted together with the stored ones"),
            ("/api/me/day/", "the sessions of one day, by their times, and the students of these by name"),
        ),
    ),
)
