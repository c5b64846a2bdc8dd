"""What the tests of all modules need from workouts."""

from datetime import timedelta

from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large
from tests.large.scale import ORGANIZATION

EXERCISE, LOG = "/api/exercises/<uuid:exercise_id>/", "/api/workout-logs/<uuid:log_id>/"
SET, OF_STUDENT = f"{LOG}sets/<uuid:set_id>/", "/api/students/<uuid:student_id>/workouts/"
FEW_MUSCLES = "there are some dozen muscles, and all of them are the platform's"
FEW_EXERCISES = "some hundred exercises: the policy's index leaves the platform's and the organization's own"
OF_ONE_LOG = "a log's sets are found by the log, and read whole: some dozen"
LOGS = {
    "from": ("workout_logs", "local_date", "id"),
    "to": ("workout_logs", "local_date", "id"),
    "deleted": "=ix_workout_logs_deleted",
    "sort date": ("workout_logs", "local_date", "id"),
}


def seed(seeds):
    word = seeds.word
    exercise, _ = seeds.create_two(
        "exercise_id",
        "/api/exercises/",
        {"name": f"Press {word}", "equipment": "barbell"},
        {"name": f"Row {word}", "equipment": "barbell"},
    )
    sets = [{"reps": 5, "load": "60", "load_unit": "kg"}, {"reps": 3}]
    log = {
        "student_id": seeds.ids["student_id"],
        "started_at": f"{today() - timedelta(days=1)}T06:00:00Z",
        "title": f"Log {word}",
        "exercises": [{"exercise_id": exercise, "note": word, "sets": sets}],
    }
    last_week = {**log, "started_at": f"{today() - timedelta(days=8)}T06:00:00Z"}
    made, _ = seeds.create_two("log_id", "/api/workout-logs/", log, last_week)
    whole = seeds.tenant.the(Role.ADMIN).get(f"/api/workout-logs/{made}/").json
    seeds.ids["log_exercise_id"] = whole["exercises"][0]["id"]
    seeds.ids["set_id"], *rest = [made_set["id"] for made_set in whole["exercises"][0]["sets"]]
    seeds.others.update(rest)


def conflicts(seeds):
    yield "/api/exercises/", {"name": "C", "equipment": "barbell"}, {}, "name_taken", ("name", "C-0")
    started_at = f"{today() - timedelta(days=1)}T06:00:00Z"
    log = {"student_id": seeds.ids["student_id"], "started_at": started_at, "external_id": "E"}
    yield "/api/workout-logs/", log, {"title": "Other"}, "external_id_taken", None  # it cannot be changed


def rows(connection, made):
    row = connection.execute(
        "SELECT id FROM workout_sets WHERE organization_id = %s AND log_id = %s LIMIT 1",
        (made.organization_id, made.log_id),
    ).fetchone()
    return {"exercise_id": str(made.exercise_id), "log_id": str(made.log_id), "set_id": str(row[0])}


DECLARED = Declared(
    seed=seed,
    budgets={
        "GET /api/exercises/": 1,
        f"GET {EXERCISE}": 1,
        "GET /api/muscles/": 1,
        "GET /api/progress/weeks/": 1,
        f"GET {OF_STUDENT}": 1,
        "GET /api/workout-logs/": 1,
        f"GET {LOG}": 3,  # the log, its exercises, its sets
        f"GET {SET}": 1,
        f"GET {LOG}sets/": 1,
        f"PATCH {EXERCISE}": 4,  # the exercise is read again, with its muscles
        f"PATCH {LOG}": 7,  # the log is read again, with its exercises and sets; the person key
        f"PATCH {SET}": 3,
        "POST /api/exercises/": 2,
        f"POST {EXERCISE}undelete/": 4,
        "POST /api/workout-logs/": 3,  # the lookups; all rows together; audit
        f"POST {LOG}sets/": 3,  # as above
        f"POST {SET}undelete/": 3,
        f"POST {LOG}undelete/": 6,  # the log is read again, with its exercises and sets
        f"DELETE {EXERCISE}": 3,
        f"DELETE {LOG}": 3,
        f"DELETE {SET}": 3,
    },
    bodies={
        f"PATCH {EXERCISE}": {"name": "Floor press"},
        f"PATCH {LOG}": {"title": "Push"},
        f"PATCH {SET}": {"reps": 7},
    },
    values={"equipment": "barbell", "load": "10", "body_weight": "10"},
    schemas={
        "WorkoutLogIn": {"student_id": None},
        "SetIn": {"reps": 5},
        "AppendedSetIn": {"reps": 5, "exercise_id": None},
        "SetPatch": {"reps": 5},
    },
    instead={"log_exercise_id": "exercise_id"},
    texts=frozenset({"load", "body_weight"}),
    lists={
        "/api/progress/weeks/": {
            "from": ("workout_weeks", "week", "student_id", "exercise_id"),
            "to": ("workout_weeks", "week", "student_id", "exercise_id"),
            "student_id": ("workout_weeks", "student_id", "week"),
            "exercise_id": ("workout_weeks", "exercise_id", "week"),
            "sort week": ("workout_weeks", "week", "student_id", "exercise_id"),
        },
        "/api/muscles/": {"sort name": FEW_MUSCLES, "sort key": FEW_MUSCLES},
        "/api/exercises/": {
            "q": FEW_EXERCISES,
            "muscle": FEW_EXERCISES,
            "equipment": FEW_EXERCISES,
            "deleted": FEW_EXERCISES,
            "mine": ("exercises", "owner_user_id"),
            "sort name": ("exercises", "sort_name", "id"),
            "sort created": ("exercises", "id"),
        },
        "/api/workout-logs/": {
            **LOGS,
            "student_id": ("workout_logs", "student_id", "local_date", "id"),
            "exercise_id": ("workout_sets", "exercise_id", "local_date", "log_id"),
            "updated_from": "an index on updated_at would make each update write to all indexes; the dates limit rows",
        },
        OF_STUDENT: {**LOGS, "sort date": ("workout_logs", "student_id", "local_date", "id")},
        f"{LOG}sets/": {"deleted": OF_ONE_LOG, "sort position": OF_ONE_LOG},
    },
    conflicts=conflicts,
    others={"POST /api/workout-logs/": {"title": "Something else"}, f"POST {LOG}sets/": {"rir": 1}},
    examples=Examples(first=("createExercise", "createWorkoutLog", "createWorkoutSet")),
    large=Large(
        rows=rows,
        values=lambda made, ids: {
            "deleted": ["true"],
            "equipment": ["barbell"],
            "exercise_id": [ids["exercise_id"], str(made.organization_id)],
            "mine": ["true"],
            "muscle": ["chest"],
        },
        tables=frozenset({"workout_log_exercises", "workout_log_ids", "workout_logs", "workout_sets"}),
        exceptions=(
            ("/api/workout-logs/ .* as head", 5 * ORGANIZATION, 4_600, "of a trainer of all thousand groups"),
            (
                "/api/workout-logs/ exercise_id . as trainer",
                12_000,
                4_600,
                "the logs of a thousand students in 400 days, each checked for the exercise",
            ),
            (
                "/api/progress/weeks/",
                5 * ORGANIZATION,
                1.5 * ORGANIZATION,
                "adds up the weeks of all visible students before it cuts a page; cached until something changes",
            ),
        ),
        # An organization has most of a month's rows.
        scans=("/api/workout-logs/ .* as head",),
        sorted=(
            ("/api/muscles/", "some dozen, the platform's"),
            ("/api/progress/weeks/", "stale rollups are computed; the weeks of all visible students are added up"),
            ("/api/workout-logs/<uuid:log_id>/ bare", "one log's exercises and sets"),
            ("/api/workout-logs/<uuid:log_id>/sets/ ", "one log's sets, exercise by exercise"),
            ("/api/exercises/", "each exercise's few muscles, by their shares; the search terms"),
        ),
    ),
)
