"""Record check-in events: one, or up to 500 that a device has collected while it was offline.

All events of a request are recorded with the same few statements: lock what they name, read the state, insert the
events, write the marks. The result does not depend on the order in which events arrive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID

from campshub.check_ins.models import CheckInEvent
from campshub.check_ins.queries import people, state
from campshub.check_ins.queries import visits as visit_reads
from campshub.check_ins.queries.people import Named, Wanted
from campshub.check_ins.queries.state import Pair, RosterState
from campshub.check_ins.service import marks, personal_codes, qr, recognition, refusals, sessions, visits
from campshub.check_ins.service.qr import QrCode
from campshub.core.db import writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, IdTaken, Problem
from campshub.core.http.schemas.fields import CLOCK_SKEW
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

_WRONG = (refusals.UnknownPerson, refusals.CodeNotValid)
# The marks by session and student, and the last visits by student.
Current = tuple[Mapping[Pair, Mapping[str, Any] | None], Mapping[UUID, Any]]
OUTCOMES = ("created", "repeated", "error")


class CheckInFields(TypedDict, total=False):
    """The fields of an event."""

    id: Required[UUID]
    kind: Required[str]
    at: datetime | None
    session_id: UUID | None
    group_id: UUID | None
    student_id: UUID | None
    code: str | None
    card: str | None
    personal_code: str | None
    qr: str | None


@dataclass
class Event:
    """An event of a request, with its result."""

    index: int
    id: UUID | None
    at: datetime
    given: Mapping[str, Any] = field(default_factory=dict)
    way: str = ""
    errors: list[FieldError] = field(default_factory=list)
    problem: Problem | None = None
    pair: Pair | None = None
    student_id: UUID | None = None
    day: date | None = None  # the session's
    name: str | None = None
    qr: QrCode | None = None
    user_id: UUID | None = None  # the caller, if the event is in their own name
    outcome: str = "error"

    @property
    def fingerprint(self) -> bytes:
        """The fingerprint of what was sent."""
        return fingerprint({**self.given, "user_id": self.user_id})

    @property
    def is_open(self) -> bool:
        """Whether nothing has decided the event yet."""
        return self.problem is None and not self.errors and self.outcome != "repeated"

    def refuse(self, problem: Problem) -> None:
        """Set the reason why the event is refused."""
        self.problem, self.outcome, self.pair, self.student_id = problem, "error", None, None

    def shown_errors(self) -> list[FieldError]:
        """Return the errors for a result of several events."""
        if self.problem is None:
            return self.errors
        return self.problem.errors or [FieldError("", self.problem.code, self.problem.detail)]


def check_in(
    session: Session, principal: Principal, services: Services, *, now: datetime, **given: Unpack[CheckInFields]
) -> dict[str, Any]:
    """Record one event, or recognise it as recorded before; return its result.

    :raises Problem: the event is refused; ``refusals`` has the reasons.
    """
    event = Event(0, given["id"], given.get("at") or now, given)
    _attempt(event, lambda event: _require_allowed(principal, services, event))
    current = _record(session, principal, services, [event], now=now)
    if event.problem is not None:
        raise event.problem
    return _shown(event, current)


def check_in_many(
    session: Session, principal: Principal, services: Services, *, events: Sequence[GivenRow], now: datetime
) -> dict[str, Any]:
    """Record many events, in any order and repeatedly; each has its own result."""
    found = [_read(index, row, now) for index, row in enumerate(events)]
    _refuse_repeated_ids(found)
    for event in found:
        _attempt(event, lambda event: _require_offline_way(principal, event))
    current = _record(session, principal, services, found, now=now)
    outcomes = [event.outcome for event in found]
    return {
        "results": [
            {**_shown(event, current), "index": event.index, "errors": event.shown_errors()} for event in found
        ],
        "summary": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
    }


def _read(index: int, row: GivenRow, now: datetime) -> Event:
    if row.values is None:
        return Event(index, None, now, errors=list(row.errors))
    return Event(index, row.values["id"], row.values.get("at") or now, row.values)


def _refuse_repeated_ids(events: Sequence[Event]) -> None:
    """Refuse an event whose id an earlier, different event of the request has; an identical one is a repetition."""
    first: dict[UUID, Event] = {}
    for event in events:
        if event.id is None:
            continue
        earlier = first.setdefault(event.id, event)
        if earlier is not event and earlier.given != event.given:
            event.refuse(IdTaken())


def _record(
    session: Session, principal: Principal, services: Services, events: Sequence[Event], *, now: datetime
) -> Current:
    """Record the events; return the marks and visits of their students, as they are now.

    :raises RateLimited: the caller, or the organization, has sent too many wrong codes.
    """
    guesses = [event for event in events if event.is_open and event.way in recognition.GUESSED]
    limits = recognition.guess_limits(principal) if guesses else ()
    services.failure_limits.require_left(limits)
    named = people.lock_named(session, principal, _wanted(principal, services, events), now=now)
    for event in events:
        _attempt(event, lambda event: _find(principal, named, event, now=now, address=session.unit.address))
    wrong = [event for event in guesses if isinstance(event.problem, _WRONG)]
    services.failure_limits.count(limits, len(wrong))
    days = {event.pair: event.day for event in events if event.pair is not None and event.day is not None}
    found = state.read_state(session, principal, days)
    for event in events:
        _attempt(event, lambda event: _require_on_roster(named, found, event))
        _attempt(event, lambda event: _recognise_second_use(found, event, now))
        _attempt(event, lambda event: _use_code(session, principal, named, event, now))
    _insert(session, principal, [event for event in events if event.is_open])
    created = [event for event in events if event.outcome == "created"]
    origins = {event.pair: recognition.origin_of(principal, event.way) for event in created if event.pair}
    marks.write_marks(session, principal, named, found, marks.news_of(created), origins=origins)
    _write_visits(session, principal, named, created, now)
    guests = {event.student_id for event in events if event.student_id is not None and event.pair is None}
    return found.marks, visit_reads.latest_visits(session, principal, sorted(guests)) if guests else {}


def _write_visits(
    session: Session, principal: Principal, named: Named, created: Sequence[Event], now: datetime
) -> None:
    news: dict[UUID, list[datetime]] = {}
    origins: dict[UUID, Mapping[str, Any]] = {}
    for event in created:
        if event.pair is None and event.student_id is not None:
            news.setdefault(event.student_id, []).append(event.at)
            origin = recognition.origin_of(principal, event.way)
            origins[event.student_id] = {"source": origin["source"], "device_id": origin["device_id"]}
    visits.write_visits(session, principal, named.rules, news, origins=origins, now=now)


def _attempt(event: Event, step: Any) -> None:
    """Run a step for an event that is still undecided; a problem is its result."""
    if not event.is_open:
        return
    try:
        step(event)
    except Problem as problem:
        event.refuse(problem)


def _require_allowed(principal: Principal, services: Services, event: Event) -> None:
    event.way = recognition.way_of(event.given)
    recognition.require_allowed(principal, event.way)
    if event.way != "qr":
        _require_session_or_group(event)
        return
    event.qr, event.user_id = qr.read_code(services, principal, event.given["qr"]), principal.user_id
    if event.given.get("at") is not None:
        raise refusals.QrHasTime
    if event.given.get("group_id") is not None:
        raise refusals.SessionOrGroup
    if event.given.get("session_id") not in (None, event.qr.session_id):
        raise refusals.QrOtherSession


def _require_offline_way(principal: Principal, event: Event) -> None:
    event.way = recognition.way_of(event.given)
    if event.way in ("qr", "personal_code"):
        raise refusals.OnlineOnly
    recognition.require_allowed(principal, event.way)
    _require_session_or_group(event)


def _require_session_or_group(event: Event) -> None:
    if event.given.get("session_id") is not None and event.given.get("group_id") is not None:
        raise refusals.SessionOrGroup


def _wanted(principal: Principal, services: Services, events: Sequence[Event]) -> Wanted:
    """Return what must be looked up for the events."""
    live = [event for event in events if event.is_open]
    named: dict[str, list[Any]] = {
        name: sorted({event.given[name] for event in live if event.given.get(name) is not None}, key=str)
        for name in ("session_id", "group_id", "student_id", "code", "card")
    }
    days = [principal.today(event.at) for event in live]
    return Wanted(
        event_ids=[event.id for event in live if event.id is not None],
        session_ids=named["session_id"],
        group_ids=named["group_id"],
        days=(min(days) - timedelta(days=1), max(days)) if named["group_id"] else None,
        student_ids=named["student_id"],
        codes=named["code"],
        cards=named["card"],
        personal_codes=[
            personal_codes.hash_of_code(services, principal, event.given["personal_code"])
            for event in live
            if event.way == "personal_code"
        ],
        qr_session_ids=[event.qr.session_id for event in live if event.qr is not None],
    )


def _find(principal: Principal, named: Named, event: Event, *, now: datetime, address: str | None) -> None:
    """Find the student and the session of an event; recognise an event that was recorded before.

    :raises Problem: the event is refused.
    """
    known = named.events.get(event.id) if event.id else None
    if known is not None:
        if known.fingerprint != event.fingerprint:
            raise IdTaken
        event.pair = (known.session_id, known.student_id) if known.session_id else None
        event.student_id, event.day, event.at = known.student_id, known.local_date, known.at
        person = named.people.get(known.student_id)
        event.name, event.outcome = person.name if person else None, "repeated"
        return
    wanted = event.given
    if event.qr is not None:
        qr.require_current(event.qr, now)
        qr.require_network(named.rules["check_in_networks"], address)
        wanted = {"session_id": event.qr.session_id}
    recognition.require_way(principal, named.rules, event.way)
    _require_in_time(named.rules, event, now)
    person = None
    if not is_visit(wanted):
        meeting = sessions.find_meeting(principal, named.meetings, wanted, event.at)
        sessions.require_open(meeting, event.at)
        person = recognition.find_person(named, event.way, event.given)
        event.pair, event.day = (meeting.id, person.id), meeting.local_date
    person = person or recognition.find_person(named, event.way, event.given)
    event.student_id, event.name, event.day = person.id, person.name, event.day or principal.today(event.at)


def is_visit(given: Mapping[str, Any]) -> bool:
    """Return whether an event names neither a session nor a group: it is a visit of open gym."""
    return given.get("session_id") is None and given.get("group_id") is None


def _require_in_time(rules: Mapping[str, Any], event: Event, now: datetime) -> None:
    """Refuse an event whose time the server does not accept.

    :raises TooFarAhead, TooOld: the reason.
    """
    if event.at > now + CLOCK_SKEW:
        raise refusals.TooFarAhead
    if event.at < now - timedelta(days=rules["check_in_days_back"]):
        raise refusals.TooOld


def _require_on_roster(named: Named, found: RosterState, event: Event) -> None:
    """Refuse a student who is not on the roster; staff and kiosks may check in students with a mark, too.

    :raises NotOnRoster: the reason.
    :raises NotInGroup: the same, for a student who uses a QR code.
    """
    if event.pair is None or event.pair in found.rosters or named.meetings[event.pair[0]].group_id is None:
        return
    if event.way == "qr":
        raise refusals.NotInGroup
    if event.pair not in found.marks:
        raise refusals.NotOnRoster


def _recognise_second_use(found: RosterState, event: Event, now: datetime) -> None:
    """Regard the second use of a QR code by one student as a repetition of the first."""
    if event.qr is None or event.pair is None:
        return
    since = now - qr.VALID_FOR - qr.LEEWAY
    earlier = [at for pair, kind, at in found.by_qr if (pair, kind) == (event.pair, event.given["kind"]) and at > since]
    if earlier:
        event.at, event.outcome = max(earlier), "repeated"


def _use_code(session: Session, principal: Principal, named: Named, event: Event, now: datetime) -> None:
    if event.way == "personal_code" and named.personal_code_id is not None:
        personal_codes.use(session, principal, named.personal_code_id, now=now)


def _insert(session: Session, principal: Principal, events: Sequence[Event]) -> None:
    """Insert the events in the order of their ids; one that was inserted meanwhile is a repetition, or refused."""
    first = {event.id: event for event in reversed(events)}
    rows = [_row(principal, event) for event in sorted(first.values(), key=lambda one: str(one.id))]
    written = {row.id for row in writes.insert(session, CheckInEvent, rows, on_conflict="DO NOTHING")}
    missing = [one.id for one in events if one.id is not None and one.id not in written]
    there = people.events_with(session, principal, missing) if missing else {}
    for event in events:
        known = there.get(event.id) if event.id else None
        event.outcome = "created" if event.id in written and first[event.id] is event else "repeated"
        if known is not None and known.fingerprint != event.fingerprint:
            event.refuse(IdTaken())
        elif known is not None:
            event.at = known.at


def _row(principal: Principal, event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "student_id": event.student_id,
        "session_id": event.pair[0] if event.pair else None,
        "local_date": event.day,
        "kind": event.given["kind"],
        "way": event.way,
        "at": event.at,
        "device_id": principal.api_key_id,
        "user_id": principal.user_id,
        "fingerprint": event.fingerprint,
    }


def _shown(event: Event, current: Current) -> dict[str, Any]:
    """Return the result of an event."""
    current_marks, current_visits = current
    return {
        "id": event.id,
        "outcome": event.outcome,
        "kind": event.given.get("kind"),
        "at": event.at if event.given else None,
        "session_id": event.pair[0] if event.pair else None,
        "student_id": event.student_id,
        "student_name": event.name,
        "record": current_marks.get(event.pair) if event.pair else None,
        "visit": current_visits.get(event.student_id) if event.student_id and not event.pair else None,
    }
