"""Schemas of guardians and of their links to students."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validates_schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.students.models import STUDENT_STATUSES

MOST_GUARDIANS = 10
_LOGIN = "The guardian's login; a user may be a guardian and a student."


class _Guardian(fields.In):
    """Fields common to creating and changing a guardian."""

    external_id = fields.Name(allow_none=True)
    user_id = fields.Id(allow_none=True, metadata={"description": _LOGIN})
    email = fields.EmailAddress(allow_none=True)
    phone = fields.Name(allow_none=True, least=0, most=40)


class GuardianIn(_Guardian):
    """A new guardian."""

    example = fields.Example(
        id=fields.example_id("guardian_id"), name="Tara Rao", phone="+91 20 5550 0100", email="tara@example.org"
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second guardian."})
    name = fields.Name(required=True)


class GuardianPatch(_Guardian):
    """Changes of a guardian; omitted fields stay as they are."""

    example = fields.Example(phone="+91 20 5550 0199")

    name = fields.Name()


class GuardianOut(fields.Out):
    """A guardian."""

    id = fields.Id(required=True)
    external_id = fields.Text(required=True, allow_none=True)
    user_id = fields.Id(required=True, allow_none=True)
    name = fields.Text(required=True)
    email = fields.Text(required=True, allow_none=True)
    phone = fields.Text(required=True, allow_none=True)
    deleted_at = ma.AwareDateTime(required=True, allow_none=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class GuardianFilter(fields.Filter):
    """Filters of guardians."""

    q = fields.SearchText(
        load_default=None, most=100, metadata={"description": "Words, each the beginning of a part of the name."}
    )
    phone = fields.Text(
        load_default=None, most=40, least=1, metadata={"description": "The whole number; only its digits count."}
    )
    email = fields.Text(
        load_default=None, most=fields.LONGEST_EMAIL, least=1, metadata={"description": "The whole address."}
    )
    student_id = fields.Id(load_default=None)
    deleted = fields.Boolean(load_default=False, metadata={"description": "List the deleted ones instead."})


class StudentGuardianIn(fields.In):
    """A guardian of a student: an existing one by ``guardian_id``, or one by name.

    By name it is the student's guardian of that name, or the guardian with that name and the same phone number or
    e-mail address, or a new one.
    """

    guardian_id = fields.Id()
    name = fields.Name(metadata={"description": "Required without `guardian_id`."})
    relation = fields.Name(least=0, allow_none=True)
    phone = fields.Name(least=0, most=40, allow_none=True)
    email = fields.EmailAddress(allow_none=True)
    is_primary = fields.Boolean(
        metadata={"description": "The one who is called first; by default the first of the list."}
    )
    may_pick_up = fields.Boolean(metadata={"description": "By default false for a new link."})
    receives_notifications = fields.Boolean(metadata={"description": "By default true for a new link."})

    @validates_schema
    def _names_someone(self, given: Mapping[str, Any], **_options: Any) -> None:
        if "guardian_id" not in given and "name" not in given:
            raise ValidationError("A guardian without guardian_id needs a name.", "name")


class StudentGuardianOut(fields.Out):
    """A guardian of a student, with their link."""

    guardian_id = fields.Id(required=True)
    name = fields.Text(required=True)
    relation = fields.Text(required=True, allow_none=True)
    phone = fields.Text(required=True, allow_none=True)
    email = fields.Text(required=True, allow_none=True)
    is_primary = ma.Boolean(required=True)
    may_pick_up = ma.Boolean(required=True)
    receives_notifications = ma.Boolean(required=True)


class StudentGuardiansIn(fields.In):
    """All guardians of a student, in their order."""

    example = fields.Example(
        guardians=[
            {"guardian_id": fields.example_id("guardian_id"), "relation": "father", "may_pick_up": True},
            {"name": "Mira Rao", "relation": "mother", "phone": "+91 20 5550 0101"},
        ]
    )

    guardians = fields.BoundedList(ma.Nested(StudentGuardianIn), most=MOST_GUARDIANS, required=True)


class StudentGuardiansOut(fields.Out):
    """All guardians of a student, and the version of the student."""

    student_id = fields.Id(required=True)
    guardians = ma.List(fields.Stored(StudentGuardianOut), required=True)
    version = ma.Integer(required=True)


class GuardianStudentOut(fields.Out):
    """A student of a guardian, with the guardian's link."""

    id = fields.Id(required=True)
    code = fields.Text(required=True)
    given_name = fields.Text(required=True)
    family_name = fields.Text(required=True)
    preferred_name = fields.Text(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=STUDENT_STATUSES)
    relation = fields.Text(required=True, allow_none=True)
    is_primary = ma.Boolean(required=True)
    may_pick_up = ma.Boolean(required=True)
    receives_notifications = ma.Boolean(required=True)
