"""An index for every reference between tables, and for every filter and order of a list.

References are read from the migrated database, filters and orders from the application: a new one fails until it has an
index or a reason below why it needs none.
"""

import pytest

from tests.surface import operations

INDEXES = """
SELECT t.relname, i.indexrelid::regclass::text, i.indisunique, pg_get_expr(i.indpred, i.indrelid), i.indisvalid,
       ARRAY(SELECT attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY o)
  FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
 WHERE t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
"""
REFERENCES = """
SELECT t.relname, c.conname,
       ARRAY(SELECT attname FROM unnest(c.conkey) k(n) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.n)
  FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
 WHERE c.contype = 'f' AND t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
"""
# The indexes of a month table, compared with those of its parent: a missing one would slow down only that month.
LACKING = """
SELECT p.relname, i.indexrelid::regclass::text FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid
  JOIN pg_index i ON i.indrelid = inhparent
 WHERE p.relkind = 'r' AND NOT EXISTS (
       SELECT FROM pg_inherits a JOIN pg_index own ON own.indexrelid = a.inhrelid
        WHERE a.inhparent = i.indexrelid AND own.indrelid = p.oid AND own.indisvalid)
"""

FEW_CODES = "an organization has a handful of codes, five hundred at most: they are read whole"
FEW_MUSCLES = "there are some dozen muscles, and all of them are the platform's"
FEW_EXERCISES = "some hundred exercises: the policy's index leaves the platform's and the organization's own"
FEW_JOBS = "they are stored for a month: an organization has some thousand at a time, and they are read by their ids"
FEW_REPORTS = "they are stored for days: an organization has some hundred at a time"
OF_ONE_GROUP = "within one group, which has an index"
OF_DATES = "read by date, the newest first; another index would cost each write more than it saves the few reads"
OF_ONE_LOG = "a log's sets are found by the log, and read whole: some dozen"
OF_ONE_SESSION = "a session's roster is read whole, by name, five thousand students at most"

# Per filter or order: a table and the columns with which an index must begin after the organization; or the name of a
# special index; or the reason why it needs none.
STUDENTS = {
    "q": "=ix_students_search",
    "status": ("students", "status", "sort_name", "id"),
    "group_id": ("enrolments", "group_id"),
    "tag": "operators on arrays are not leak-proof, so no policy lets them use an index: the pages of one organization"
    " are read in the list's order until fifty have the tag",
    "joined_from": ("students", "joined_on"),
    "joined_to": ("students", "joined_on"),
    "deleted": "=ix_students_deleted",
    "sort name": ("students", "sort_name", "id"),
    "sort code": ("students", "code"),
    "sort created": ("students", "id"),
    "sort relevance": "ranks only the rows that the search finds by its index and the filters leave",
}
SESSIONS = {
    "from": ("attendance_sessions", "local_date", "id"),
    "to": ("attendance_sessions", "local_date", "id"),
    "status": ("attendance_sessions", "status", "local_date", "id"),
    "sort date": ("attendance_sessions", "local_date", "id"),
}
LOGS = {
    "from": ("workout_logs", "local_date", "id"),
    "to": ("workout_logs", "local_date", "id"),
    "deleted": "=ix_workout_logs_deleted",
    "sort date": ("workout_logs", "local_date", "id"),
}
LOOKS_AT = {
    "/api/students/": STUDENTS,
    "/api/groups/": {
        "q": "parts of words have no leak-proof operator; an organization has some hundred groups, read in their order",
        "kind": ("groups", "kind", "sort_name", "id"),
        "status": ("groups", "status", "sort_name", "id"),
        "trainer_id": ("group_trainers", "user_id", "group_id"),
        "deleted": "an organization has some hundred groups, deleted ones among them, read in their order",
        "sort name": ("groups", "sort_name", "id"),
        "sort code": ("groups", "code"),
        "sort created": ("groups", "id"),
    },
    "/api/groups/<uuid:group_id>/enrolments/": {
        "status": OF_ONE_GROUP,
        "sort begins_on": ("enrolments", "group_id", "begins_on", "student_id"),
    },
    "/api/groups/<uuid:group_id>/roster/": {"on": OF_ONE_GROUP, "sort name": OF_ONE_GROUP},
    "/api/groups/<uuid:group_id>/sessions/": {
        **SESSIONS,
        "status": OF_ONE_GROUP,
        "sort date": ("attendance_sessions", "group_id", "local_date"),
    },
    "/api/attendance/sessions/": {**SESSIONS, "group_id": ("attendance_sessions", "group_id", "local_date")},
    "/api/attendance/sessions/<uuid:session_id>/records/": {"sort name": OF_ONE_SESSION},
    "/api/attendance/codes/": {"archived": FEW_CODES, "sort position": FEW_CODES},
    "/api/attendance/records/": {
        "from": ("attendance_records", "local_date", "id"),
        "to": ("attendance_records", "local_date", "id"),
        "student_id": ("attendance_records", "student_id", "local_date", "id"),
        "group_id": ("attendance_records", "group_id", "local_date", "id"),
        "session_id": ("attendance_records", "session_id"),
        "code": "=ix_attendance_records_code",
        "sort date": ("attendance_records", "local_date", "id"),
    },
    "/api/attendance/analytics/groups/": {
        "from": ("attendance_group_days", "local_date", "group_id"),
        "to": ("attendance_group_days", "local_date", "group_id"),
        "group_id": ("attendance_group_days", "group_id", "local_date"),
        "sort date": ("attendance_group_days", "local_date", "group_id"),
    },
    "/api/attendance/analytics/students/<uuid:student_id>/": {
        "from": ("attendance_student_months", "student_id", "month"),
        "to": ("attendance_student_months", "student_id", "month"),
        "sort month": ("attendance_student_months", "student_id", "month"),
    },
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
    "/api/jobs/": {"state": FEW_JOBS, "job": FEW_JOBS, "sort created": ("jobs", "id")},
    "/api/reports/": {"kind": FEW_REPORTS, "sort created": ("reports", "id")},
    "/api/report-schedules/": {"sort created": ("report_schedules", "id")},
    "/api/workout-logs/": {
        **LOGS,
        "student_id": ("workout_logs", "student_id", "local_date", "id"),
        "exercise_id": ("workout_sets", "exercise_id", "local_date", "log_id"),
    },
    "/api/students/<uuid:student_id>/workouts/": {
        **LOGS,
        "sort date": ("workout_logs", "student_id", "local_date", "id"),
    },
    "/api/workout-logs/<uuid:log_id>/sets/": {"deleted": OF_ONE_LOG, "sort position": OF_ONE_LOG},
    "/api/audit/": {
        "from": ("audit_log", "recorded_on", "id"),
        "to": ("audit_log", "recorded_on", "id"),
        "entity": OF_DATES,
        "entity_id": ("audit_log", "entity_id"),
        "person_id": ("audit_log", "person_id"),
        "user_id": OF_DATES,
        "action": OF_DATES,
        "sort date": ("audit_log", "recorded_on", "id"),
    },
    "/api/security-events/": {
        "kind": OF_DATES,
        "user_id": ("security_events", "user_id"),
        "sort created": ("security_events", "id"),
    },
    "/api/auth/sessions/": {"sort created": "the sessions of one user, found by the user: some dozen"},
    "/api/api-keys/": {"sort created": ("api_keys", "id")},
    "/api/invitations/": {"sort created": ("invitations", "id")},
    "/api/users/": {
        "role": ("memberships", "role"),
        "role_id": ("memberships", "role_id"),
        "sort name": "users belong to many organizations, so their names stand in no tenant's index: the members of one"
        " are read whole and sorted",
        "sort created": "as by name",
    },
}


@pytest.fixture
def indexes(sql):
    """The indexes of every table: name, whether unique, the condition, the columns."""
    found = {}
    for table, name, is_unique, condition, is_valid, columns in sql(INDEXES):
        assert is_valid, name
        found.setdefault(table, []).append((name, is_unique, condition, columns))
    return found


def test_every_reference_has_an_index(sql, indexes):
    references = sql(REFERENCES)
    lacking = [
        (table, name)
        for table, name, columns in references
        if not any(
            condition is None and (set(own[: len(columns)]) == set(columns) or (is_unique and set(own) <= set(columns)))
            for _, is_unique, condition, own in indexes[table]
        )
    ]

    assert lacking == []
    assert len(references) > 15


def test_every_month_has_the_indexes_of_its_table(sql):
    assert sql(LACKING) == []


def test_every_filter_and_order_of_a_list_has_an_index_or_a_reason(app, indexes):
    wrong, looked_at = [], 0
    for operation in operations(app):
        if not operation.endpoint.options.is_page:
            continue
        known = LOOKS_AT.get(operation.rule, {})
        schema = operation.endpoint.query_schema
        offered = {field.data_key or name for name, field in schema.load_fields.items()} if schema else set()
        offered |= {f"sort {name.removeprefix('-')}" for name in operation.endpoint.options.sorts}
        wrong += [(operation.rule, what, "unknown") for what in sorted(offered ^ known.keys())]
        for what in offered & known.keys():
            looked_at += 1
            if not _is_there(known[what], indexes):
                wrong.append((operation.rule, what, known[what]))

    assert wrong == []
    assert looked_at > 40


def _is_there(wanted, indexes):
    if isinstance(wanted, tuple):
        table, *columns = wanted
        beginning = ["organization_id", *columns]
        return any(c is None and own[: len(beginning)] == beginning for _, _, c, own in indexes[table])
    if wanted.startswith("="):
        return any(name == wanted[1:] for own in indexes.values() for name, *_ in own)
    return len(wanted) > 5
