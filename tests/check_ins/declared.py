"""What the tests of all modules need from check-ins."""

from campshub.core.db.models import new_id
from tests.declared import Declared, Examples, Large

CHECK_INS = "/api/attendance/check-ins/"
CARDS = "/api/students/<uuid:student_id>/cards/"
FEW_CARDS = "a student has a card or two"


def seed(seeds):
    """Give a student two cards."""
    numbers = ({"number": f"Card {n} {seeds.word}"} for n in (1, 2))
    seeds.create_two("card_id", f"/api/students/{seeds.ids['student_id']}/cards/", *numbers)


def conflicts(seeds):
    yield f"/api/students/{seeds.ids['student_id']}/cards/", {"number": "04A2"}, {}, "card_taken", None


def one_event(seeds, _client):
    """Return the body of a check-in that makes a mark."""
    return {
        "id": str(new_id()),
        "kind": "in",
        "session_id": seeds.ids["session_id"],
        "student_id": seeds.ids["student_id"],
    }


def rows(connection, made):
    """Create cards and visits in the large organization, unless they exist; return the id of the client's card."""
    values = {"organization_id": made.organization_id, "student_id": made.student_id}
    connection.execute(
        """
        WITH cards AS (
          INSERT INTO student_cards (organization_id, id, student_id, number)
          SELECT organization_id, uuidv7(), id, 'Card ' || id FROM students
           WHERE organization_id = %(organization_id)s
             AND NOT EXISTS (SELECT FROM student_cards WHERE organization_id = %(organization_id)s))
        INSERT INTO visits (organization_id, id, student_id, local_date, checked_in_at, checked_out_at, source)
        SELECT organization_id, uuidv7(), id, current_date - n, now() - n * INTERVAL '1 day',
               now() - n * INTERVAL '1 day' + INTERVAL '1 hour', 'kiosk'
          FROM students, generate_series(1, 90, 10) n
         WHERE organization_id = %(organization_id)s
           AND NOT EXISTS (SELECT FROM visits WHERE organization_id = %(organization_id)s)
        """,
        values,
    )
    # The session whose code is shown accepts check-ins.
    connection.execute(
        "UPDATE attendance_sessions SET status = 'open', submitted_at = NULL WHERE organization_id = %s AND id = %s",
        (made.organization_id, made.session_id),
    )
    connection.execute("ANALYZE student_cards, visits")
    found = connection.execute(
        "SELECT id FROM student_cards WHERE organization_id = %(organization_id)s AND student_id = %(student_id)s",
        values,
    ).fetchone()
    return {"card_id": str(found[0])}


DECLARED = Declared(
    seed=seed,
    budgets={
        "GET /api/attendance/occupancy/": 1,
        "GET /api/attendance/occupancy/hours/": 1,
        f"GET {CARDS}": 1,
        f"POST {CARDS}": 4,  # the student is looked up; the number is personal, so the log needs the student's key
        f"GET {CARDS}<uuid:card_id>/": 1,
        f"DELETE {CARDS}<uuid:card_id>/": 4,
        "POST /api/students/<uuid:student_id>/check-in-code/": 3,  # the student is locked first
        "GET /api/attendance/sessions/<uuid:session_id>/qr/": 1,
        f"POST {CHECK_INS}": 5,  # what is named, the state, the event, the mark, audit
        f"POST {CHECK_INS}bulk/": 5,  # the same for all of its events
    },
    real_bodies={
        f"POST {CHECK_INS}": one_event,
        f"POST {CHECK_INS}bulk/": lambda seeds, client: {"events": [one_event(seeds, client)]},
    },
    schemas={"CheckInIn": {"session_id": None, "student_id": None}, "StudentCardIn": {"number": lambda: new_id().hex}},
    texts=frozenset({"qr", "personal_code", "check_in_networks", "open_gym_closes_at"}),
    values={"check_in_networks": "203.0.113.0/24", "open_gym_closes_at": "22:00"},
    instead={"group_id": "session_id"},
    lists={CARDS: {"sort created": FEW_CARDS}},
    unstamped=frozenset({"check_in_events", "check_in_codes", "student_cards", "visits"}),
    creates={f"POST {CARDS}": 7},  # see its budget
    conflicts=conflicts,
    others={f"POST {CARDS}": {"number": "Another"}},
    examples=Examples(
        first=("checkIn", "uploadCheckIns", "createStudentCard"),
        created={"createStudentCard": ("card_id", lambda response: response["id"])},
    ),
    large=Large(
        rows=rows,
        values=lambda *_: {"picture": ["svg"]},
        most_days={"GET /api/attendance/occupancy/hours/": 31},
        tables=frozenset({"student_cards", "visits"}),
        sorted=(("/api/attendance/occupancy/hours/", "at most 31 days with 24 hours each, computed in any order"),),
    ),
)
