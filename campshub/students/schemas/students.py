"""Schemas of students."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validates_schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.http.schemas.pages import FieldNames
from campshub.students.models import STUDENT_STATUSES
from campshub.students.queries.included import NAMES
from campshub.students.schemas.custom_fields import Conditions, CustomValues
from campshub.students.schemas.guardians import MOST_GUARDIANS, StudentGuardianIn, StudentGuardianOut

_FEW = 10
_ONE_NAME = "May be empty for a person with one name: the given or the family name is enough."


class AddressIn(fields.In):
    """A postal address."""

    lines = fields.BoundedList(fields.Name(least=0), most=4)
    locality = fields.Name(least=0)
    region = fields.Name(least=0)
    postal_code = fields.Name(least=0, most=20)
    country = fields.Text(most=2, least=2, metadata={"description": "ISO 3166-1, two letters."})


class ContactIn(fields.In):
    """An emergency contact."""

    name = fields.Name(required=True)
    relation = fields.Name(least=0)
    phone = fields.Name(least=0, most=40)
    email = fields.EmailAddress()


class _Student(fields.In):
    """Fields common to creating and changing a student."""

    external_id = fields.Name(allow_none=True)
    user_id = fields.Id(allow_none=True, metadata={"description": "The student's own login."})
    preferred_name = fields.Name(allow_none=True)
    date_of_birth = fields.LocalDate(allow_none=True)
    gender = fields.Name(allow_none=True, least=0)
    email = fields.EmailAddress(allow_none=True)
    phone = fields.Name(allow_none=True, least=0, most=40)
    address = ma.Nested(AddressIn, allow_none=True)
    custom_fields = CustomValues(
        metadata={"description": "Values by the keys of `/api/students/custom-fields/`; null removes one."}
    )
    joined_on = fields.LocalDate(allow_none=True)
    left_on = fields.LocalDate(allow_none=True)
    medical_note = fields.Note(
        allow_none=True, most=fields.LONG, metadata={"description": "Stored encrypted; read at its own URL."}
    )

    @validates_schema
    def _leaves_after_joining(self, given: Mapping[str, Any], **_options: Any) -> None:
        joined_on, left_on = given.get("joined_on"), given.get("left_on")
        if joined_on and left_on and left_on < joined_on:
            raise ValidationError("The date is before the student joined.", "left_on")


class StudentIn(_Student):
    """A new student."""

    example = fields.Example(
        id=fields.example_id("student_id"),
        code="S-100",
        given_name="Ada",
        family_name="Rao",
        date_of_birth="2014-05-17",
        address={"locality": "Pune", "country": "IN"},
        guardians=[{"name": "Ravi Rao", "relation": "father", "phone": "+91 20 5550 0100"}],
        tags=["bus 4"],
        medical_note="Nuts.",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second student."})
    code = fields.Name(required=True, most=64)
    given_name = fields.Name(load_default="", least=0, metadata={"description": _ONE_NAME})
    family_name = fields.Name(load_default="", least=0, metadata={"description": _ONE_NAME})
    emergency_contacts = fields.BoundedList(ma.Nested(ContactIn), load_default=list, most=_FEW)
    guardians = fields.BoundedList(ma.Nested(StudentGuardianIn), load_default=list, most=MOST_GUARDIANS)
    tags = fields.BoundedList(fields.Name(most=64), load_default=list, most=50)
    status = fields.Text(one_of=STUDENT_STATUSES, load_default="active")

    @validates_schema
    def _has_a_name(self, given: Mapping[str, Any], **_options: Any) -> None:
        if not given["given_name"] and not given["family_name"]:
            raise ValidationError("A student needs a given name, a family name, or both.", "given_name")


class StudentPatch(_Student):
    """Changes of a student; omitted fields stay as they are."""

    example = fields.Example(preferred_name="Adi", tags=["bus 4", "swim team"])

    code = fields.Name(most=64)
    given_name = fields.Name(least=0, metadata={"description": _ONE_NAME})
    family_name = fields.Name(least=0, metadata={"description": _ONE_NAME})
    emergency_contacts = fields.BoundedList(ma.Nested(ContactIn), most=_FEW)
    guardians = fields.BoundedList(ma.Nested(StudentGuardianIn), most=MOST_GUARDIANS)
    tags = fields.BoundedList(fields.Name(most=64), most=50)
    status = fields.Text(one_of=STUDENT_STATUSES)


class AddressOut(fields.Out):
    """A postal address, as it was entered."""

    lines = ma.List(fields.Text())
    locality = fields.Text()
    region = fields.Text()
    postal_code = fields.Text()
    country = fields.Text(metadata={"description": "ISO 3166-1, two letters."})


class ContactOut(fields.Out):
    """An emergency contact, as it was entered."""

    name = fields.Text(required=True)
    relation = fields.Text()
    phone = fields.Text()
    email = fields.Text()


class StudentPresentOut(fields.Out):
    """A student without contacts and address."""

    id = fields.Id(required=True)
    code = fields.Text(required=True)
    external_id = fields.Text(required=True, allow_none=True)
    user_id = fields.Id(required=True, allow_none=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    date_of_birth = ma.Date(required=True, allow_none=True)
    gender = fields.Text(required=True, allow_none=True)
    email = fields.Text(required=True, allow_none=True)
    phone = fields.Text(required=True, allow_none=True)
    photo_id = fields.Id(
        required=True, allow_none=True, metadata={"description": "It changes with the photo; see `photo/`."}
    )
    tags = ma.List(fields.Text(), required=True)
    custom_fields = ma.Dict(
        required=True,
        metadata={"description": "Values of the custom fields that you see; a field without a value is left out."},
    )
    status = fields.Text(required=True, one_of=STUDENT_STATUSES)
    joined_on = ma.Date(required=True, allow_none=True)
    left_on = ma.Date(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class StudentBriefOut(StudentPresentOut):
    """A student in a list, without contacts and address."""

    has_medical_note = fields.Boolean(metadata={"description": "Only with `include=has_medical_note`."})
    last_seen_on = ma.Date(
        allow_none=True,
        metadata={"description": "Only with `include=last_seen_on`: the last day with a mark that counts as attended."},
    )


class StudentOut(StudentPresentOut):
    """A student."""

    address = fields.Stored(AddressOut, required=True, allow_none=True)
    emergency_contacts = ma.List(fields.Stored(ContactOut), required=True)
    guardians = ma.List(fields.Stored(StudentGuardianOut), required=True)


class Included(FieldNames):
    """Names of properties that only callers who ask for them get."""

    def __init__(self, **options: Any) -> None:
        super().__init__({name: name for name in NAMES}, **options)

    def _deserialize(self, *arguments: Any, **options: Any) -> Any:
        # In an order of their own, because cursors are bound to the filters.
        return tuple(sorted(super()._deserialize(*arguments, **options)))


class StudentFilter(fields.Filter):
    """Filters of students."""

    q = fields.SearchText(
        load_default=None, most=100, metadata={"description": "Part of a name or code; tolerates a typo."}
    )
    status = fields.Text(load_default=None, one_of=STUDENT_STATUSES)
    group_id = fields.Id(load_default=None, metadata={"description": "In this group today."})
    trainer_id = fields.Id(load_default=None, metadata={"description": "Today in a group of this trainer."})
    code = fields.Text(load_default=None, most=64, metadata={"description": "Exactly this code."})
    external_id = fields.Text(load_default=None, metadata={"description": "Exactly this external id."})
    phone = fields.Text(load_default=None, most=40, metadata={"description": "Exactly as it was entered."})
    email = fields.Text(load_default=None, metadata={"description": "Exactly as it was entered."})
    guardian = fields.Id(load_default=None, metadata={"description": "The id of one of their guardians."})
    tag = fields.Text(load_default=None, most=64)
    custom = Conditions(
        load_default=None,
        metadata={
            "description": "Values of custom fields, such as `shirt_size:M`; several separated by commas must all"
            " match. A choice of several matches if the student has it. A comma or backslash in a value is escaped by"
            " a backslash."
        },
    )
    joined_from = fields.LocalDate(load_default=None)
    joined_to = fields.LocalDate(load_default=None)
    updated_from = fields.UpdatedFrom()
    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})
    include = Included(
        load_default=None,
        metadata={
            "description": "A comma-separated list of properties that are left out otherwise: `has_medical_note`"
            " (needs `medical:read`), `last_seen_on` (needs `attendance:read`; of the marks that you see, of the last"
            " 400 days)."
        },
    )


class MedicalNoteOut(fields.Out):
    """A student's medical note."""

    student_id = fields.Id(required=True)
    medical_note = fields.Text(required=True, allow_none=True)


class StatusCountOut(fields.Out):
    """Students of one status."""

    status = fields.Text(required=True, one_of=STUDENT_STATUSES)
    count = ma.Integer(required=True)


class MonthCountOut(fields.Out):
    """Students who joined in one month."""

    month = fields.Text(required=True, metadata={"description": "YYYY-MM"})
    count = ma.Integer(required=True)


class GroupCountOut(fields.Out):
    """Students who are in one group today."""

    group_id = fields.Id(required=True)
    count = ma.Integer(required=True)


class StudentStatisticsOut(fields.Out):
    """Counts of students."""

    total = ma.Integer(required=True)
    by_status = ma.List(ma.Nested(StatusCountOut), required=True)
    by_month = ma.List(ma.Nested(MonthCountOut), required=True)
    by_group = ma.List(ma.Nested(GroupCountOut), required=True)
