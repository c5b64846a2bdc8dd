"""Write the visits that follow from open gym events, and end forgotten ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from campshub.check_ins.models import Visit
from campshub.check_ins.queries import visits as reads
from campshub.check_ins.service.folding import LONGEST, AutomaticEnd, FoldedVisit, Moment, fold
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal

ENDED_AT_ONCE = 1_000
_WRITTEN = ("checked_in_at", "checked_out_at", "is_automatic", "local_date")


def write_visits(
    session: Session,
    principal: Principal,
    rules: Mapping[str, Any],
    news: Mapping[UUID, Sequence[datetime]],
    *,
    origins: Mapping[UUID, Mapping[str, Any]],
    now: datetime,
) -> None:
    """Write the visits of students with new events.

    The caller has locked the students: two check-ins of one student at once begin one visit. Only visits that begin
    within a day before the new events, or later, are decided again; the events that they follow from begin a day
    earlier.
    """
    if not news:
        return
    first = min(min(times) for times in news.values()) - LONGEST
    last = max(max(times) for times in news.values()) + 2 * LONGEST
    moments: dict[UUID, list[Moment]] = defaultdict(list)
    for row in reads.events_between(session, principal, list(news), first - LONGEST, last):
        moments[row.student_id].append((row.at, row.kind, row.id))
    present: dict[UUID, list[Visit]] = defaultdict(list)
    for visit in reads.visits_between(session, principal, list(news), first, last):
        present[visit.student_id].append(visit)
    end, fresh = AutomaticEnd.of(rules, principal.time_zone), []
    for student_id in sorted(news):
        wanted = [one for one in fold(moments[student_id], end, now) if one.checked_in_at >= first]
        missing = _reconcile(session, principal, wanted, present[student_id])
        fresh += [Visit(student_id=student_id, **values, **origins[student_id]) for values in missing]
    session.flush()  # visits end and go before others begin: a student has one open visit
    session.add_all(fresh)
    session.flush()


def _reconcile(
    session: Session, principal: Principal, wanted: Iterable[FoldedVisit], present: Sequence[Visit]
) -> list[dict[str, Any]]:
    """Change and remove the present visits of a student as wanted; return the columns of the missing ones."""
    by_id, missing = {visit.id: visit for visit in present}, []
    for one in wanted:
        values = {**vars(one), "local_date": principal.today(one.checked_in_at)}
        visit = by_id.pop(one.id, None)
        if visit is None:
            missing.append(values)
            continue
        for name in _WRITTEN:
            if getattr(visit, name) != values[name]:
                setattr(visit, name, values[name])
    for visit in by_id.values():
        session.delete(visit)
    return missing


def end_forgotten(session: Session, *, now: datetime) -> int:
    """End the visits whose automatic end has passed; return their number. Needs the system role."""
    ended = 0
    for visit, time_zone, *rules in reads.open_visits(session, most=ENDED_AT_ONCE):
        end = AutomaticEnd.of(dict(zip(("open_gym_hours", "open_gym_closes_at"), rules, strict=True)), time_zone)
        ends_at = end.after(visit.checked_in_at)
        if ends_at <= now:
            visit.checked_out_at, visit.is_automatic = ends_at, True
            ended += 1
    session.flush()
    return ended
