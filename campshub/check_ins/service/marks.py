"""Write the marks that follow from new events, each onto the version on which it was decided."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from campshub.attendance.models import AttendanceRecord, RegisterVersion
from campshub.attendance.service.marking import MarkRemovedMeanwhile
from campshub.check_ins.queries import state
from campshub.check_ins.queries.people import Named
from campshub.check_ins.queries.state import WHOLE_MARK, Pair, RosterState
from campshub.check_ins.service import decisions
from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.errors import Unavailable
from campshub.core.security.principal import Principal

TRIES = 5
REASON = "A check-in from before the register was submitted."
_KEY = ("local_date", "session_id", "student_id")
_CHANGE = tuple(name for name in WHOLE_MARK if name not in ("id", "version"))
_AS_SEEN = "attendance_records.version = excluded.version - 1"

# The new events of each student in a session.
News = Mapping[Pair, list[tuple[str, datetime]]]


def write_marks(
    session: Session,
    principal: Principal,
    named: Named,
    found: RosterState,
    news: News,
    *,
    origins: Mapping[Pair, Mapping[str, Any]],
) -> None:
    """Write the marks of the students with new events, and put them into the state.

    ``origins`` are the columns of new marks that say where they came from. A person may change a mark at the same time:
    then it is read and decided again.

    :raises MarkRemovedMeanwhile: a mark was removed in between, and the write would have restored it.
    :raises Unavailable: a mark has changed too often in between.
    """
    pending = dict(news)
    for _ in range(TRIES):
        decided = {pair: _decide(named, found, pair, moments, origins[pair]) for pair, moments in pending.items()}
        rows = {pair: row for pair, row in decided.items() if row is not None}
        if any(named.meetings[pair[0]].status == "submitted" for pair in rows):
            session.unit.reason = REASON
        written: set[Pair] = set()
        for session_id in sorted({pair[0] for pair in rows}):  # the order in which all uploads lock
            written |= _write(session, found, session_id, {p: row for p, row in rows.items() if p[0] == session_id})
        missed = rows.keys() - written
        if not missed:
            return
        days = {pair: named.meetings[pair[0]].local_date for pair in missed}
        found.marks |= dict.fromkeys(missed) | state.read_state(session, principal, days).marks
        pending = {pair: news[pair] for pair in missed}
    raise Unavailable


def _decide(
    named: Named, found: RosterState, pair: Pair, moments: Sequence[tuple[str, datetime]], origin: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the row of a mark; None if the events change nothing."""
    meeting, mark = named.meetings[pair[0]], found.marks.get(pair)
    times = decisions.merged_times(mark, found.times.get(pair, ()), moments)
    code = decisions.code_for(named.codes, decisions.counts_as(meeting, named.rules, times))
    row = decisions.decide(mark, times, code=code, origin=origin)
    if row is None:
        return None
    place = {"session_id": meeting.id, "student_id": pair[1], "group_id": meeting.group_id}
    return {**row, **place, "local_date": meeting.local_date}


def _write(session: Session, found: RosterState, session_id: UUID, rows: Mapping[Pair, dict[str, Any]]) -> set[Pair]:
    """Write the marks of a session; return the pairs that were written."""
    written: set[Pair] = set()
    for done in writes.merge(
        session,
        AttendanceRecord,
        list(rows.values()),
        key=_KEY,
        change=_CHANGE,
        when=_AS_SEEN,
        counted_by=(RegisterVersion, session_id),
    ):
        pair = (session_id, done.student_id)
        row = rows[pair]
        if done.made and row["version"] > 1:
            raise MarkRemovedMeanwhile
        found.marks[pair] = {**row, "id": done.id, "version": done.version}
        written.add(pair)
    return written


def news_of(events: Sequence[Any]) -> News:
    """Return the new events by session and student."""
    found: dict[Pair, list[tuple[str, datetime]]] = {}
    for event in events:
        if event.pair is None:
            continue
        found.setdefault(event.pair, []).append((event.given["kind"], event.at))
    return found
