"""What the tests of all modules need from check-ins."""

from campshub.core.db.models import new_id
from tests.declared import Declared, Examples

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
)
