"""Mark many registers in one call, such as a day without a connection, each independently of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from campshub.attendance.queries import sessions as reads
from campshub.attendance.queries.sessions import Slotted
from campshub.attendance.service import followers, marking, sessions, slots
from campshub.config import Settings
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import savepoint
from campshub.core.errors import FieldError, Invalid, Problem, problem_of_constraint
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.jobs import month_requests
from campshub.core.security.principal import Principal

MOST_MARKS = 5_000
_NOTHING = dict.fromkeys(("session_id", "is_new", "results", "summary", "version", "problem"))


@dataclass
class _Line:
    """A register of the request with its session, if that exists, and its result."""

    index: int
    given: dict[str, Any]
    session_id: UUID | None = None
    result: dict[str, Any] | None = None

    @property
    def slotted(self) -> Slotted | None:
        """The group, date and slot that name the session."""
        local_date: date | None = self.given["local_date"]
        return Slotted(self.given["group_id"], local_date, self.given["slot"]) if local_date else None

    @property
    def order(self) -> tuple[bool, str]:
        """The place in the order of all calls: existing sessions by id, then new ones by name.

        Calls that lock the same sessions in one order cannot deadlock.
        """
        return self.session_id is None, str(self.session_id or self.slotted)


def mark_registers(
    session: Session, principal: Principal, *, settings: Settings, registers: Sequence[GivenRow], now: datetime
) -> dict[str, Any]:
    """Mark registers, each with a result as ``marking.mark_many`` returns it; one that fails changes nothing.

    A session that does not exist is created, if its register has a date and the caller may create it. A cancelled
    meeting is not created again: the device may not know that it was cancelled.

    :raises Invalid: there are too many marks.
    """
    _require_few(registers)
    lines = [_Line(index, dict(row.values or {})) for index, row in enumerate(registers)]
    for line, row in zip(lines, registers, strict=True):
        if row.values is None:
            line.result = _refused(Invalid.of(row.errors))
        elif line.given["session_id"] is None and line.slotted is None:
            line.result = _refused(Invalid.of([_UNNAMED]))
    pending = [line for line in lines if line.result is None]
    present = reads.find_sessions(
        session,
        principal,
        ids=[line.given["session_id"] for line in pending if line.given["session_id"]],
        slots=[line.slotted for line in pending if line.slotted],
    )
    for line in pending:
        line.session_id = present.of(line.given["session_id"], line.slotted)
    if any(line.session_id is None for line in pending):
        followers.lock_schedule(session, principal.organization_id)
    for line in sorted(pending, key=lambda line: line.order):
        line.result = _marked(session, principal, settings, line, present, now)
    results = [{**_NOTHING, "index": line.index, **(line.result or {})} for line in lines]
    outcomes = [result["outcome"] for result in results]
    return {"results": results, "summary": {name: outcomes.count(name) for name in ("marked", "error")}}


_UNNAMED = FieldError("/session_id", "required", "Name the session by its id, or by its group, date and slot.")


def _require_few(registers: Sequence[GivenRow]) -> None:
    """Refuse a request with too many marks.

    :raises Invalid: there are more than ``MOST_MARKS``.
    """
    marks = sum(len(row.values["records"]) for row in registers if row.values is not None)
    if marks > MOST_MARKS:
        raise Invalid.at("/registers", "too_many", f"At most {MOST_MARKS} marks in one request.")


def _marked(
    session: Session, principal: Principal, settings: Settings, line: _Line, present: reads.KnownSessions, now: datetime
) -> dict[str, Any]:
    """Mark one register, or undo what has been written of it; return its result."""
    try:
        with savepoint(session):
            return _mark(session, principal, line, present, now)
    except Problem as problem:
        return _refused(problem)
    except DBAPIError as error:
        refusal = month_requests.refusal(settings, session.unit, error) or problem_of_constraint(error.orig)
        if refusal is None:
            raise
        return _refused(refusal)
    finally:
        session.unit.reason = None  # the next register has its own


def _mark(
    session: Session, principal: Principal, line: _Line, present: reads.KnownSessions, now: datetime
) -> dict[str, Any]:
    given, is_new, session_id = line.given, False, line.session_id
    if session_id is None and line.slotted is not None:
        if (cancelled := present.cancelled.get(line.slotted)) is not None:
            raise sessions.SESSIONS.conflict(sessions.SessionCancelled, cancelled)
        own = {name: given[name] for name in ("session_id", "starts_at", "ends_at")}
        session_id, is_new = slots.create_or_find(session, principal, line.slotted, now=now, status="open", **own)
    version = given["version"]
    done = marking.mark_many(
        session,
        principal,
        session_id=session_id or given["session_id"],
        records=given["records"],
        rest=given["rest"],
        overwrite=given["overwrite"],
        reason=given["reason"],
        expected=None if version is None else frozenset({version}),
    )
    return {"outcome": "marked", "session_id": session_id or given["session_id"], "is_new": is_new, **done}


def _refused(problem: Problem) -> dict[str, Any]:
    return {
        "outcome": "error",
        "problem": {
            "code": problem.code,
            "status": int(problem.status),
            "detail": problem.detail,
            "errors": problem.errors,
            "present": problem.present,
        },
    }
