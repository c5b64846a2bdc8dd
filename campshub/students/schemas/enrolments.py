"""Schemas of enrolments across groups, of the groups of a student, and of calls with many enrolments."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validates_schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows
from campshub.students.models import ENROLMENT_STATUSES, GROUP_KINDS, GROUP_STATUSES

MOST_ROWS = 2_000
_STUDENT = ("student_id", "student_code", "student_external_id")
_GROUP = ("group_id", "group_code", "group_external_id")


class EnrolmentsFilter(fields.Filter):
    """Filters of enrolments."""

    student_id = fields.Id(load_default=None)
    group_id = fields.Id(load_default=None)
    status = fields.Text(load_default=None, one_of=ENROLMENT_STATUSES)
    on = fields.LocalDate(
        load_default=None, metadata={"description": "Only those by which the student is in the group on this date."}
    )
    updated_from = fields.UpdatedFrom()


class StudentGroupFilter(fields.Filter):
    """The date of a student's groups."""

    on = fields.LocalDate(load_default=None, metadata={"description": "Default: today."})


class StudentGroupOut(fields.Out):
    """A group of a student, with the enrolment that began last."""

    id = fields.Id(required=True, metadata={"description": "The group's id."})
    code = fields.Text(required=True)
    name = fields.Text(required=True)
    kind = fields.Text(required=True, one_of=GROUP_KINDS)
    status = fields.Text(required=True, one_of=GROUP_STATUSES, metadata={"description": "Of the group."})
    enrolment_id = fields.Id(required=True)
    begins_on = ma.Date(required=True, metadata={"description": "Of the enrolment."})
    ends_on = ma.Date(required=True, allow_none=True)


class BulkEnrolmentIn(fields.In):
    """A student's time in a group; one property names the student, and one the group."""

    id = fields.Id(metadata={"description": "Your own id (UUID version 7)."})
    student_id = fields.Id()
    student_code = fields.Name(most=64)
    student_external_id = fields.Name()
    group_id = fields.Id()
    group_code = fields.Name(most=64)
    group_external_id = fields.Name()
    begins_on = fields.LocalDate(required=True)
    ends_on = fields.LocalDate(load_default=None, allow_none=True)
    status = fields.Text(one_of=("pending", "active"), load_default="active")

    @validates_schema(skip_on_field_errors=False)
    def _names_one_of_each(self, given: Mapping[str, Any], **_options: Any) -> None:
        for names in (_STUDENT, _GROUP):
            if sum(name in given for name in names) != 1:
                raise ValidationError(f"Send exactly one of {', '.join(names)}.", names[0])


class EnrolmentsIn(fields.In):
    """Many enrolments."""

    example = fields.Example(
        enrolments=[
            {
                "student_id": fields.example_id("student_id"),
                "group_id": fields.example_id("group_id"),
                "begins_on": "2024-01-05",
                "ends_on": "2024-06-30",
            }
        ]
    )

    enrolments = Rows(BulkEnrolmentIn, most=MOST_ROWS, required=True)
    dry_run = fields.Boolean(
        load_default=False, metadata={"description": "Return the results without enrolling anyone."}
    )


class EnrolmentResultOut(fields.Out):
    """The result of one row."""

    index = ma.Integer(required=True, metadata={"description": "The row's index in the body, from 0."})
    outcome = fields.Text(required=True, one_of=("created", "unchanged", "error"))
    id = fields.Id(required=True, allow_none=True, metadata={"description": "The enrolment's id."})
    student_id = fields.Id(required=True, allow_none=True)
    group_id = fields.Id(required=True, allow_none=True)
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class EnrolmentsSummaryOut(fields.Out):
    """The number of rows by outcome."""

    created = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    error = ma.Integer(required=True)


class EnrolmentsResultOut(fields.Out):
    """The result of each row."""

    results = ma.List(ma.Nested(EnrolmentResultOut), required=True)
    summary = ma.Nested(EnrolmentsSummaryOut, required=True)
    dry_run = fields.Boolean(required=True)
