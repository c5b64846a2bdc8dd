"""What the tests of all modules need from check-ins."""

from campshub.core.db.models import new_id
from tests.declared import Declared, Examples

CHECK_INS = "/api/attendance/check-ins/"


def one_event(seeds, _client):
    """Return the body of a check-in that makes a mark."""
    return {
        "id": str(new_id()),
        "kind": "in",
        "session_id": seeds.ids["session_id"],
        "student_id": seeds.ids["student_id"],
    }


DECLARED = Declared(
    budgets={
        "GET /api/attendance/sessions/<uuid:session_id>/qr/": 1,
        f"POST {CHECK_INS}": 5,  # what is named, the state, the event, the mark, audit
        f"POST {CHECK_INS}bulk/": 5,  # the same for all of its events
    },
    real_bodies={
        f"POST {CHECK_INS}": one_event,
        f"POST {CHECK_INS}bulk/": lambda seeds, client: {"events": [one_event(seeds, client)]},
    },
    schemas={"CheckInIn": {"session_id": None, "student_id": None}},
    texts=frozenset({"qr"}),
    unstamped=frozenset({"check_in_events"}),
    examples=Examples(first=("checkIn", "uploadCheckIns")),
)
