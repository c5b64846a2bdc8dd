"""Marking a register of 1,000: statements, and the time of the first call and of the same call again."""

import statistics
import time
import uuid
from datetime import timedelta
from typing import Any

from bench.place import Place
from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.observe import metrics

ROWS = 1_000


def measure(place: Place, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Mark open-gym sessions of 1,000 students, a new one each round; return medians in milliseconds."""
    given = {name.lower(): value for name, value in place.environment.items() if value != "" and name != "FLASK_APP"}
    app = create_app(load_settings(**given, log_level="WARNING"))
    client = app.test_client()
    token = client.post("/api/auth/token/", json={name: place.demo[name] for name in ("email", "password")}).get_json()[
        "access_token"
    ]
    headers = {"Authorization": f"Bearer {token}"}
    students = _students(client, headers)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - timedelta(days=1).total_seconds()))
    times: dict[str, list[float]] = {"first": [], "again": []}
    counts: dict[str, int] = {}
    for _ in range(rounds):
        made = client.post(
            "/api/attendance/sessions/", json={"local_date": day, "slot": uuid.uuid4().hex[:12]}, headers=headers
        ).get_json()
        body = {"records": [{"student_id": student, "code": "present"} for student in students]}
        for name, taken in times.items():
            seen: list[str] = []
            begun = time.perf_counter()
            with metrics.listening(seen.append):
                answer = client.put(f"/api/attendance/sessions/{made['id']}/records/", json=body, headers=headers)
            taken.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:  # noqa: PLR2004 - OK
                raise RuntimeError(answer.get_data(as_text=True))
            counts[name] = len([s for s in seen if not s.startswith(("BEGIN", "COMMIT"))])
            counts[f"{name}: {answer.get_json()['summary']}"] = 1
    return {
        f"PUT records of {ROWS}, {name}": {
            "median ms": round(statistics.median(times[name]), 1),
            "statements besides tenant and LSN": counts[name],
            "summaries": [key.partition(": ")[2] for key in counts if key.startswith(f"{name}: ")],
        }
        for name in times
    }


def _students(client: Any, headers: dict[str, str]) -> list[str]:
    found: list[str] = []
    address = "/api/students/?limit=200&fields=id&sort=created"
    while len(found) < ROWS:
        page = client.get(address, headers=headers).get_json()
        found += [item["id"] for item in page["items"]]
        address = f"/api/students/?limit=200&fields=id&sort=created&cursor={page['next_cursor']}"
    return found[:ROWS]
