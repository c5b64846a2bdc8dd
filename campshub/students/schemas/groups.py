"""Schemas of groups, enrolments and rosters."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.students.models import ENROLMENT_STATUSES, GROUP_KINDS, GROUP_STATUSES, STUDENT_STATUSES

_MOST_TRAINERS = 20
_MOST_PLACES = 100_000


class _Group(fields.In):
    """Fields common to creating and changing a group."""

    external_id = fields.Name(allow_none=True, metadata={"description": "The id in another system."})
    capacity = fields.Integer(least=1, most=_MOST_PLACES, allow_none=True)
    begins_on = fields.LocalDate(allow_none=True)
    ends_on = fields.LocalDate(allow_none=True)


class GroupIn(_Group):
    """A new group."""

    example = fields.Example(id=fields.example_id("group_id"), code="SWIM-1", name="Swimming, beginners", capacity=20)

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second group."})
    code = fields.Name(required=True, most=64)
    name = fields.Name(required=True)
    kind = fields.Text(one_of=GROUP_KINDS, load_default="class")
    status = fields.Text(one_of=GROUP_STATUSES, load_default="active")
    trainer_ids = fields.BoundedList(fields.Id(), load_default=list, most=_MOST_TRAINERS)


class GroupPatch(_Group):
    """Changes of a group; omitted fields stay as they are."""

    example = fields.Example(capacity=24)

    code = fields.Name(most=64)
    name = fields.Name()
    kind = fields.Text(one_of=GROUP_KINDS)
    status = fields.Text(one_of=GROUP_STATUSES)
    trainer_ids = fields.BoundedList(fields.Id(), most=_MOST_TRAINERS)


class GroupFilter(fields.Filter):
    """Filters of groups."""

    q = fields.SearchText(load_default=None, most=100, metadata={"description": "Part of the name or code."})
    code = fields.Text(load_default=None, most=64, metadata={"description": "Exactly this code."})
    external_id = fields.Text(load_default=None, metadata={"description": "Exactly this external id."})
    kind = fields.Text(load_default=None, one_of=GROUP_KINDS)
    status = fields.Text(load_default=None, one_of=GROUP_STATUSES)
    trainer_id = fields.Id(load_default=None)
    updated_from = fields.UpdatedFrom()
    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})


class GroupOut(fields.Out):
    """A group in a list."""

    documented_as = "GroupBrief"

    id = fields.Id(required=True)
    code = fields.Text(required=True)
    external_id = fields.Text(required=True, allow_none=True)
    name = fields.Text(required=True)
    kind = fields.Text(required=True, one_of=GROUP_KINDS)
    status = fields.Text(required=True, one_of=GROUP_STATUSES)
    capacity = ma.Integer(required=True, allow_none=True)
    begins_on = ma.Date(required=True, allow_none=True)
    ends_on = ma.Date(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class GroupTrainerOut(fields.Out):
    """A trainer of a group."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)


class GroupWholeOut(GroupOut):
    """A group with its trainers and the number of students who are in it today."""

    documented_as = "Group"

    enrolled = ma.Integer(required=True, metadata={"description": "Students who are in the group today."})
    trainers = ma.List(ma.Nested(GroupTrainerOut), required=True)


class EnrolmentIn(fields.In):
    """A student's time in a group."""

    example = fields.Example(
        id=fields.example_id("enrolment_id"), student_id=fields.example_id("student_id"), begins_on="2026-01-05"
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry enrols no one twice."})
    student_id = fields.Id(required=True)
    begins_on = fields.LocalDate(required=True)
    ends_on = fields.LocalDate(load_default=None, allow_none=True)
    status = fields.Text(one_of=("pending", "active"), load_default="active")
    wait_if_full = fields.Boolean(
        load_default=False,
        metadata={
            "description": "If the group is full on some of the days, put the student on its waiting list: the"
            " enrolment is pending until a place is free."
        },
    )


class EnrolmentPatch(fields.In):
    """Changes of an enrolment."""

    example = fields.Example(begins_on="2026-01-12")

    begins_on = fields.LocalDate()
    ends_on = fields.LocalDate(
        allow_none=True,
        metadata={
            "description": "The last day. If the status becomes withdrawn or completed and it is omitted: today, or"
            " the current end if that is earlier. A withdrawn enrolment that ends before it begins never began."
        },
    )
    status = fields.Text(one_of=ENROLMENT_STATUSES)


class EnrolmentFilter(fields.Filter):
    """Filters of enrolments."""

    status = fields.Text(load_default=None, one_of=ENROLMENT_STATUSES)
    updated_from = fields.UpdatedFrom()


class EnrolmentOut(fields.Out):
    """An enrolment."""

    id = fields.Id(required=True)
    group_id = fields.Id(required=True)
    student_id = fields.Id(required=True)
    begins_on = ma.Date(required=True)
    ends_on = ma.Date(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=ENROLMENT_STATUSES)
    is_waiting = ma.Boolean(required=True, metadata={"description": "Whether it is on the group's waiting list."})
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class WaitingOut(fields.Out):
    """An enrolment on a group's waiting list."""

    id = fields.Id(required=True, metadata={"description": "The enrolment's id."})
    position = ma.Integer(required=True, metadata={"description": "1 is the first."})
    student_id = fields.Id(required=True)
    code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    begins_on = ma.Date(required=True)
    ends_on = ma.Date(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class RosterFilter(fields.Filter):
    """The date of a roster."""

    on = fields.LocalDate(load_default=None, metadata={"description": "Default: today."})


class RosterRowOut(fields.Out):
    """A student on a roster."""

    id = fields.Id(required=True, metadata={"description": "The student's id."})
    code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=STUDENT_STATUSES)
    enrolment_id = fields.Id(required=True)
    begins_on = ma.Date(required=True)
    ends_on = ma.Date(required=True, allow_none=True)
