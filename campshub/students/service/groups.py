"""Create and change groups, their trainers and enrolments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, true

from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid, UnknownReference
from campshub.core.security.principal import Principal, visible_to
from campshub.students import names
from campshub.students.models import Enrolment, Group, GroupTrainer, Student
from campshub.students.service import places, waiting
from campshub.students.service.trainers import require_trainers

_LEFT = ("withdrawn", "completed")
# The fields of a group that decide whether it has a place.
_PLACES = frozenset({"capacity", "status", "begins_on", "ends_on"})


class GroupCodeTaken(Conflict):
    """Another group has this code."""

    code = "code_taken"
    default_detail = "Another group has this code."
    constraint = "uq_groups_code"
    pointer = "/code"


class GroupExternalIdTaken(Conflict):
    """Another group has this external id."""

    code = "external_id_taken"
    default_detail = "Another group has this external id."
    constraint = "uq_groups_external_id"
    pointer = "/external_id"


GROUPS = creates.Collection(
    Group,
    "/api/groups/{row.id}/",
    (creates.unique(GroupCodeTaken, Group.code), creates.unique(GroupExternalIdTaken, Group.external_id)),
    is_blind=True,
)


class EndsBeforeBegin(Invalid):
    """The last day is before the first day."""

    code = "ends_before_begin"
    default_detail = "The last day is before the first day."
    pointer = "/ends_on"


class GroupEndsBeforeBegin(EndsBeforeBegin):
    """The group's last day is before its first day."""

    default_detail = "The group's last day is before its first day."
    constraint = "ck_groups_ends_after_begin"


class EnrolmentEndsBeforeBegin(EndsBeforeBegin):
    """The enrolment's last day is before its first day."""

    default_detail = "The enrolment's last day is before its first day."
    constraint = "ck_enrolments_ends_after_begin"


class EndRequired(Invalid):
    """An enrolment that has ended needs a last day."""

    code = "end_required"
    default_detail = "An enrolment that has ended needs a last day."
    constraint = "ck_enrolments_left_with_end"
    pointer = "/ends_on"


class AlreadyEnrolled(Conflict):
    """The student is already enrolled in this group on some of these days."""

    code = "already_enrolled"
    default_detail = "The student is already enrolled in this group on some of these days."
    constraint = "ex_enrolments_overlap"


def _overlaps(values: Mapping[str, Any]) -> ColumnElement[bool]:
    """Return the condition that an enrolment overlaps with the values, for the same student and group."""
    last = values.get("ends_on")
    return and_(
        Enrolment.student_id == values["student_id"],
        Enrolment.group_id == values["group_id"],
        Enrolment.status.in_(("active", "completed")),
        true() if last is None else Enrolment.begins_on <= last,
        or_(Enrolment.ends_on.is_(None), Enrolment.ends_on >= values["begins_on"]),
    )


ENROLMENTS = creates.Collection(
    Enrolment,
    "/api/groups/{row.group_id}/enrolments/{row.id}/",
    (creates.UniqueKey(AlreadyEnrolled, _overlaps),),
    is_blind=True,
)


class _GroupFields(TypedDict, total=False):
    """Fields common to creating and changing a group."""

    external_id: str | None
    kind: str
    status: str
    capacity: int | None
    begins_on: date | None
    ends_on: date | None


class NewGroup(_GroupFields):
    """The fields of a new group, without its trainers."""

    code: str
    name: str


class GroupChanges(_GroupFields, total=False):
    """Fields of a group that a change may have, without its trainers."""

    code: str
    name: str


class EnrolmentChanges(TypedDict, total=False):
    """Fields of an enrolment that a change may have."""

    begins_on: date
    ends_on: date | None
    status: str


def create(
    session: Session,
    principal: Principal,
    *,
    id: UUID | None = None,
    trainer_ids: Sequence[UUID] = (),
    **values: Unpack[NewGroup],
) -> tuple[UUID, bool]:
    """Create a group; return its id, and False if an earlier, identical call has created it.

    :raises IdTaken: the id belongs to a group with other content.
    :raises GroupCodeTaken: another group has the code.
    :raises GroupExternalIdTaken: another group has the external id.
    :raises UnknownReference: one of the users is not a trainer in the organization.
    """
    body = {**values, "trainer_ids": sorted(map(str, trainer_ids))}
    row = {**values, **names.group_keys(values["code"], values["name"])}
    group, is_new = creates.create(session, principal, GROUPS, id=id, body=body, row=row)
    if is_new and trainer_ids:  # a new group has no trainers to remove
        _set_trainers(session, principal, group.id, trainer_ids, present={})
    return group.id, is_new


def change(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    expected: Versions,
    trainer_ids: Sequence[UUID] | None = None,
    **changes: Unpack[GroupChanges],
) -> UUID:
    """Change a group; its version covers its trainers too.

    :raises NotFound: the principal sees no such group.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises UnknownReference: one of the users is not a trainer in the organization.
    """
    group = lock(session, principal, Group, group_id, Group.deleted_at.is_(None), expected=expected)
    present = _trainers_of(session, principal, group_id) if trainer_ids is not None else {}
    if trainer_ids is not None and present.keys() != set(trainer_ids):
        group.updated_at = session.unit.now
    for name, value in changes.items():
        setattr(group, name, value)
    for name, key in names.group_keys(group.code, group.name).items():
        setattr(group, name, key)
    creates.flush(session, principal, GROUPS, group)
    if trainer_ids is not None:
        _set_trainers(session, principal, group_id, trainer_ids, present=present)
    if changes.keys() & _PLACES:
        waiting.promote(session, group, today=principal.today(session.unit.now))
    return group_id


def delete(session: Session, principal: Principal, *, group_id: UUID, expected: Versions, now: datetime) -> None:
    """Mark a group as deleted; rows that refer to it stay.

    :raises NotFound: the principal sees no such group.
    """
    lock(session, principal, Group, group_id, Group.deleted_at.is_(None), expected=expected).deleted_at = now


def undelete(session: Session, principal: Principal, *, group_id: UUID) -> UUID:
    """Undelete a group.

    :raises NotFound: the principal sees no such group.
    """
    lock(session, principal, Group, group_id).deleted_at = None
    return group_id


def _trainers_of(session: Session, principal: Principal, group_id: UUID) -> dict[UUID, GroupTrainer]:
    """Return a group's trainers by their users' ids."""
    own = GroupTrainer.organization_id == principal.organization_id
    found = session.scalars(select(GroupTrainer).where(own, GroupTrainer.group_id == group_id))
    return {trainer.user_id: trainer for trainer in found}


def _set_trainers(
    session: Session,
    principal: Principal,
    group_id: UUID,
    trainer_ids: Sequence[UUID],
    *,
    present: Mapping[UUID, GroupTrainer],
) -> None:
    wanted = set(trainer_ids)
    new = wanted - present.keys()
    require_trainers(session, principal, trainer_ids, new=new, pointer="/trainer_ids/{}")
    for user_id in present.keys() - wanted:
        session.delete(present[user_id])
    session.add_all(GroupTrainer(group_id=group_id, user_id=user_id) for user_id in new)
    session.flush()


def enrol(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    student_id: UUID,
    begins_on: date,
    ends_on: date | None,
    status: str,
    today: date,
    wait_if_full: bool = False,
    id: UUID | None = None,
) -> tuple[Enrolment, bool]:
    """Enrol a student, or put them on the waiting list; an identical call returns the same enrolment.

    This locks the group's row, so that its last place is assigned once.

    :raises NotFound, UnknownReference: the principal sees no such group or student.
    :raises GroupClosed: the group is archived, or a date is outside its term.
    :raises GroupFull: the group is full on one of the days.
    :raises AlreadyEnrolled: the student is in the group on some of these days.
    """
    group = lock(session, principal, Group, group_id, Group.deleted_at.is_(None))
    ids, days = {"group_id": group_id, "student_id": student_id}, {"begins_on": begins_on, "ends_on": ends_on}
    values = {**ids, "status": status, **days}
    body = values | ({"wait_if_full": True} if wait_if_full else {})
    present = creates.find_created(session, principal, ENROLMENTS, id=id, body=body)
    if present is not None:
        return present, False
    if not _sees_student(session, principal, student_id):
        raise UnknownReference.at("/student_id", "unknown_reference", "No such student.")
    row: dict[str, Any] = {**values, "is_waiting": False}
    term = places.Term(status, begins_on, ends_on)
    try:
        places.require(session, group, student_id, before=None, after=term, today=today)
    except places.GroupFull:
        if not wait_if_full:
            raise
        row |= _on_waiting_list(session, principal, values)
    return creates.create(session, principal, ENROLMENTS, id=id, body=body, row=row)


def _on_waiting_list(session: Session, principal: Principal, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what puts an enrolment on the waiting list; each student is on it once.

    :raises AlreadyEnrolled: the student waits for a place, or is in the group on some of the days.
    """
    waits = and_(
        Enrolment.student_id == values["student_id"], Enrolment.group_id == values["group_id"], Enrolment.is_waiting
    )
    own = Enrolment.organization_id == principal.organization_id
    present = session.scalars(select(Enrolment).where(own, or_(waits, _overlaps(values))).limit(1)).first()
    if present is not None:
        raise ENROLMENTS.conflict(AlreadyEnrolled, present)
    return {"status": "pending", "is_waiting": True}


def change_enrolment(
    session: Session,
    principal: Principal,
    *,
    group_id: UUID,
    enrolment_id: UUID,
    expected: Versions,
    today: date,
    **given: Unpack[EnrolmentChanges],
) -> Enrolment:
    """Change an enrolment's days or status.

    :raises NotFound: the principal sees no such enrolment in the group.
    :raises GroupClosed: it gains days, and the group is archived or a date is outside its term.
    :raises GroupFull: it gains days, and the group is full on one of them.
    """
    group = lock(session, principal, Group, group_id, Group.deleted_at.is_(None))
    own = Enrolment.group_id == group_id
    enrolment = lock(session, principal, Enrolment, enrolment_id, own, expected=expected)
    changes: dict[str, Any] = {**_implied_end(enrolment, given, today), **given}
    before = places.Term(enrolment.status, enrolment.begins_on, enrolment.ends_on)
    after = replace(before, **changes)
    places.require(session, group, enrolment.student_id, before=before, after=after, today=today)
    for name, value in changes.items():
        setattr(enrolment, name, value)
    if enrolment.status != "pending":
        enrolment.is_waiting = False
    creates.flush(session, principal, ENROLMENTS, enrolment)
    if waiting.is_freed(before, after):
        waiting.promote(session, group, today=today)
    return enrolment


def _implied_end(enrolment: Enrolment, changes: EnrolmentChanges, today: date) -> dict[str, date | None]:
    """Return the end date that a new status implies if the caller sends none.

    Leaving ends an enrolment today, unless it ended before. A pending one that is withdrawn ends before it begins, so
    it has no days. A resumed one has no end date.
    """
    status = changes.get("status", enrolment.status)
    has_left, leaves = enrolment.status in _LEFT, status in _LEFT
    if has_left == leaves:
        return {}
    if has_left:
        return {"ends_on": None}
    ends_on = min(enrolment.ends_on or today, today)
    if enrolment.status == "pending" and status == "withdrawn":
        ends_on = min(ends_on, changes.get("begins_on", enrolment.begins_on) - timedelta(days=1))
    return {"ends_on": ends_on}


def _sees_student(session: Session, principal: Principal, student_id: UUID) -> bool:
    seen = select(Student.id).where(
        visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None)
    )
    return session.scalar(seen) is not None
