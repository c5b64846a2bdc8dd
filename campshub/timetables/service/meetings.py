"""Create, change and end the weekly meetings of groups; the sessions follow in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, true

from campshub.core.db import creates
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid
from campshub.core.security.principal import Principal
from campshub.students.models import Group
from campshub.students.service.places import GroupClosed
from campshub.students.service.trainers import require_trainers
from campshub.timetables.models import WeeklyMeeting
from campshub.timetables.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.timetables.service import generation
from campshub.timetables.service.generation import Effects

_DAY = timedelta(days=1)
# What a new version has from the one before, unless the change names it.
_KEPT = ("slot", "weekday", "start_time", "end_time", "weeks", "anchor_date", "place", "trainer_ids", "last_date")


class SlotTaken(Conflict):
    """Another meeting of the group has this slot on this weekday, on some of these dates."""

    code = "slot_taken"
    default_detail = "Another meeting of the group has this slot on this weekday, on some of these dates."
    constraint = "ex_weekly_meetings_slot"
    pointer = "/slot"


class NoLength(Invalid):
    """A meeting cannot end at the time at which it starts."""

    code = "no_length"
    default_detail = "A meeting cannot end at the time at which it starts."
    constraint = "ck_weekly_meetings_has_a_length"
    pointer = "/end_time"


class LastBeforeFirst(Invalid):
    """The last date is before the first date."""

    code = "last_before_first"
    default_detail = "The last date is before the first date."
    pointer = "/last_date"


class FromInPast(Invalid):
    """A schedule can be changed from today on; the past stays as it was."""

    code = "from_in_past"
    default_detail = "A schedule can be changed from today on; the past stays as it was."
    pointer = "/from_date"


class MeetingEnded(Conflict):
    """This version of the meeting has no days from that date on; change the version that has."""

    code = "meeting_ended"
    default_detail = "This version of the meeting has no days from that date on; change the version that has."


def _same_slot(values: Any) -> ColumnElement[bool]:
    """Return the condition that a meeting has the group, weekday, slot and some of the dates of the values."""
    last_date = values.get("last_date")
    return and_(
        WeeklyMeeting.group_id == values["group_id"],
        WeeklyMeeting.weekday == values["weekday"],
        WeeklyMeeting.slot == values["slot"],
        true() if last_date is None else WeeklyMeeting.first_date <= last_date,
        or_(
            WeeklyMeeting.last_date.is_(None),
            and_(WeeklyMeeting.last_date >= values["first_date"], WeeklyMeeting.last_date >= WeeklyMeeting.first_date),
        ),
    )


MEETINGS = creates.Collection(
    WeeklyMeeting,
    "/api/groups/{row.group_id}/meetings/{row.id}/",
    (creates.UniqueKey(SlotTaken, _same_slot),),
)


class _MeetingFields(TypedDict, total=False):
    """Fields common to creating and changing a weekly meeting."""

    slot: str
    weeks: str
    anchor_date: date
    place: str | None
    last_date: date | None


class NewMeeting(_MeetingFields):
    """The fields of a new weekly meeting, without its trainers."""

    weekday: int
    start_time: str
    end_time: str
    first_date: date


class MeetingChanges(_MeetingFields, total=False):
    """Fields of a weekly meeting that a change may have, without its trainers."""

    weekday: int
    start_time: str
    end_time: str


@dataclass
class Changed:
    """A new or ended version of a meeting, and what happened to the sessions."""

    meeting: WeeklyMeeting
    effects: Effects


def create(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    now: datetime,
    id: UUID | None = None,
    trainer_ids: Sequence[UUID] = (),
    **values: Unpack[NewMeeting],
) -> tuple[WeeklyMeeting, bool]:
    """Create a weekly meeting and its sessions of the coming days; an identical call returns the same meeting.

    :raises NotFound: the principal sees no such group.
    :raises GroupClosed: the group is archived.
    :raises SlotTaken: another meeting of the group has the slot.
    :raises NoLength, LastBeforeFirst: the times or dates do not fit.
    :raises UnknownReference: one of the users is not a trainer in the organization.
    """
    window = generation.window_of(session, now)
    group = _lock_group(session, principal, group_id)
    body = {"group_id": group_id, **values, "trainer_ids": sorted(map(str, trainer_ids))}
    row_id = id or new_id()
    row = {
        "slot": values["start_time"],
        "anchor_date": values["first_date"],
        **body,
        "trainer_ids": list(dict.fromkeys(trainer_ids)),
        "series_id": row_id,
    }
    present = creates.find_created(session, principal, MEETINGS, id=id, body=body)
    if present is not None:
        return present, False
    if group.status == "archived":
        raise GroupClosed("The group is archived.")
    _require_fit(row)
    require_trainers(session, principal, trainer_ids, new=trainer_ids, pointer="/trainer_ids/{}")
    meeting, is_new = creates.create(session, principal, MEETINGS, id=row_id, body=body, row=row)
    if is_new:
        generation.create_ahead(session, [group_id], window)
    return meeting, is_new


def change(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    meeting_id: UUID,
    from_date: date,
    expected: Versions,
    now: datetime,
    trainer_ids: Sequence[UUID] | None = None,
    **changes: Unpack[MeetingChanges],
) -> Changed:
    """Change a weekly meeting from a date on: a new version begins then, and this one ends the day before.

    :raises NotFound: the principal sees no such meeting of the group.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises FromInPast: the date is before today.
    :raises MeetingEnded: this version has no days from that date on.
    :raises SlotTaken: another meeting of the group has the slot.
    :raises NoLength, LastBeforeFirst: the times or dates do not fit.
    :raises UnknownReference: one of the users is not a trainer in the organization.
    """
    window, meeting = _lock_for_change(session, principal, group_id, meeting_id, from_date, expected, now)
    kept = {name: getattr(meeting, name) for name in _KEPT}
    begins = max(from_date, meeting.first_date)
    values = {**kept, **changes, "group_id": group_id, "series_id": meeting.series_id, "first_date": begins}
    if trainer_ids is not None:
        new = set(trainer_ids) - set(meeting.trainer_ids)
        require_trainers(session, principal, trainer_ids, new=new, pointer="/trainer_ids/{}")
        values["trainer_ids"] = list(dict.fromkeys(trainer_ids))
    _require_fit(values)
    meeting.last_date = begins - _DAY
    session.flush()  # before the new version, which may have the same slot
    version, _ = creates.create(session, principal, MEETINGS, id=None, body={}, row=values)
    return Changed(version, generation.apply(session, group_id, window, series_id=meeting.series_id))


def end(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    meeting_id: UUID,
    from_date: date,
    expected: Versions,
    now: datetime,
) -> Changed:
    """End a weekly meeting: from a date on it is not planned any more.

    :raises NotFound: the principal sees no such meeting of the group.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises FromInPast: the date is before today.
    :raises MeetingEnded: this version has no days from that date on.
    """
    window, meeting = _lock_for_change(session, principal, group_id, meeting_id, from_date, expected, now)
    meeting.last_date = max(from_date, meeting.first_date) - _DAY
    session.flush()
    return Changed(meeting, generation.apply(session, group_id, window, series_id=meeting.series_id))


def _lock_for_change(
    session: Session,
    principal: Principal,
    group_id: UUID,
    meeting_id: UUID,
    from_date: date,
    expected: Versions,
    now: datetime,
) -> tuple[generation.DaysAhead, WeeklyMeeting]:
    window = generation.window_of(session, now)
    _lock_group(session, principal, group_id)
    own = WeeklyMeeting.group_id == group_id
    meeting = lock(session, principal, WeeklyMeeting, meeting_id, own, expected=expected)
    if from_date < window.today:
        raise FromInPast
    if meeting.last_date is not None and meeting.last_date < max(from_date, meeting.first_date):
        raise MEETINGS.conflict(MeetingEnded, meeting)
    return window, meeting


def _lock_group(session: Session, principal: Principal, group_id: UUID) -> Group:
    """Lock a group, so that no one creates sessions from its schedule while that changes."""
    return lock(session, principal, Group, group_id, Group.deleted_at.is_(None))


def _require_fit(values: Any) -> None:
    if values["start_time"] == values["end_time"]:
        raise NoLength
    if values["last_date"] is not None and values["last_date"] < values["first_date"]:
        raise LastBeforeFirst
