"""What the tests of all modules need from change feeds."""

from tests.declared import Declared, Large

ENTITIES = "codes,enrolments,groups,records,sessions,students"
PRESENT_AND_ROWS = 3  # the state of the database, the keys of the rows, the rows

DECLARED = Declared(
    budgets={
        **{
            f"GET /api/{path}/changes/": PRESENT_AND_ROWS
            for path in (
                *("students", "groups", "enrolments"),
                *("attendance/sessions", "attendance/records", "attendance/codes"),
            )
        },
        "GET /api/workout-logs/changes/": 4,  # the dates of the logs, which select the months
        "GET /api/sync/": 13,  # the state once, then two statements for each entity
    },
    queries={"GET /api/sync/": lambda _seeds: {"entities": ENTITIES}},
    values={"entities": "groups,students"},  # every role may read these
    unstamped=frozenset({"change_sets"}),
    large=Large(
        rows=lambda *_: {"entities": ENTITIES},
        values=lambda *_: {"since": [], "limit": ["5"]},  # the plans of a second call are tested with the first one's
        tables=frozenset({"change_sets"}),
        sorted=(
            ("/api/sync/", "with a handful of codes, an organization's own and the platform's, in one order"),
            ("/changes/ .* page 2", "the changes since a token come from several sources, in one order"),
        ),
    ),
)
