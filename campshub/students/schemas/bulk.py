"""Schemas of calls with many students, and of creates or changes by external id."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.http.schemas.rows import FieldErrorOut, Rows
from campshub.students.schemas.students import StudentIn, StudentPatch, StudentPresentOut

MOST_ROWS = 1_000
MOST_LISTED = 20_000
_KEYS = ("code", "external_id")
_DRY_RUN = "Return the results without changing anything."


class StudentsIn(fields.In):
    """Many students to create, or to change where they exist."""

    example = fields.Example(
        students=[
            {"code": "S-101", "given_name": "Noor", "family_name": "Khan"},
            {"code": "S-102", "given_name": "Mei", "family_name": "Chen"},
        ]
    )

    students = Rows(StudentIn, most=MOST_ROWS, required=True)
    on_existing = fields.Text(
        one_of=("error", "update"),
        load_default="error",
        metadata={
            "description": "Whether a row with a `key` that a student has is an error, or changes the student."
            " Properties that the row omits then stay as they are."
        },
    )
    key = fields.Text(
        one_of=_KEYS, load_default="code", metadata={"description": "With `update`: how a row finds its student."}
    )
    dry_run = fields.Boolean(load_default=False, metadata={"description": _DRY_RUN})


class RowResultOut(fields.Out):
    """The result of one row."""

    index = ma.Integer(required=True, metadata={"description": "The row's index in the body, from 0."})
    outcome = fields.Text(required=True, one_of=("created", "updated", "unchanged", "error"))
    id = fields.Id(
        required=True,
        allow_none=True,
        metadata={
            "description": "The student's id; with `error`, that of the student who has the code, if you see them."
        },
    )
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class RowsSummaryOut(fields.Out):
    """The number of rows by outcome."""

    created = ma.Integer(required=True)
    updated = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    error = ma.Integer(required=True)


class StudentsResultOut(fields.Out):
    """The result of each row."""

    results = ma.List(ma.Nested(RowResultOut), required=True)
    summary = ma.Nested(RowsSummaryOut, required=True)
    dry_run = fields.Boolean(required=True)


class StudentChangeIn(StudentPatch):
    """Changes of one of many students; omitted properties stay as they are."""

    id = fields.Id(required=True)
    version = fields.Integer(
        least=1, metadata={"description": "The version that the row changes; another one is a `conflict`."}
    )


class StudentChangesIn(fields.In):
    """Changes of many students."""

    example = fields.Example(students=[{"id": fields.example_id("student_id"), "tags": ["bus 5"], "phone": "1"}])

    students = Rows(StudentChangeIn, most=MOST_ROWS, least=0, load_default=list)
    dry_run = fields.Boolean(load_default=False, metadata={"description": _DRY_RUN})


class StudentDeletionIn(fields.In):
    """One of many students to delete."""

    id = fields.Id(required=True)
    version = fields.Integer(least=1, metadata={"description": "Another version of the student is a `conflict`."})


class StudentDeletionsIn(fields.In):
    """Many students to delete."""

    example = fields.Example(students=[{"id": fields.example_id("student_id")}], dry_run=True)

    students = Rows(StudentDeletionIn, most=MOST_ROWS, required=True)
    dry_run = fields.Boolean(load_default=False, metadata={"description": _DRY_RUN})


class _ChangeResultOut(fields.Out):
    """The result of a row that changes an existing student."""

    index = ma.Integer(required=True, metadata={"description": "The row's index in the body, from 0."})
    id = fields.Id(required=True, allow_none=True)
    version = ma.Integer(
        required=True, allow_none=True, metadata={"description": "The student's version after the call."}
    )
    present = ma.Nested(
        StudentPresentOut, required=True, allow_none=True, metadata={"description": "With `conflict`: the student."}
    )
    errors = ma.List(ma.Nested(FieldErrorOut), required=True)


class ChangeResultOut(_ChangeResultOut):
    """The result of a row that changes a student."""

    outcome = fields.Text(required=True, one_of=("updated", "unchanged", "conflict", "error"))


class ChangesSummaryOut(fields.Out):
    """The number of rows by outcome."""

    updated = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    conflict = ma.Integer(required=True)
    error = ma.Integer(required=True)


class ChangesResultOut(fields.Out):
    """The result of each row."""

    results = ma.List(ma.Nested(ChangeResultOut), required=True)
    summary = ma.Nested(ChangesSummaryOut, required=True)
    dry_run = fields.Boolean(required=True)


class DeletionResultOut(_ChangeResultOut):
    """The result of a row that deletes a student."""

    outcome = fields.Text(required=True, one_of=("deleted", "unchanged", "conflict", "error"))


class DeletionsSummaryOut(fields.Out):
    """The number of rows by outcome."""

    deleted = ma.Integer(required=True)
    unchanged = ma.Integer(required=True)
    conflict = ma.Integer(required=True)
    error = ma.Integer(required=True)


class DeletionsResultOut(fields.Out):
    """The result of each row."""

    results = ma.List(ma.Nested(DeletionResultOut), required=True)
    summary = ma.Nested(DeletionsSummaryOut, required=True)
    dry_run = fields.Boolean(required=True)


class ExternalStudentIn(StudentPatch):
    """A student of another system; omitted properties of an existing student stay as they are."""

    example = fields.Example(code="S-103", given_name="Ines", family_name="Costa", joined_on="2026-01-05")

    class Meta:
        """The external id is part of the URL."""

        exclude = ("external_id",)

    id = fields.Id(metadata={"description": "The id of a new student; an existing one keeps theirs."})
    code = fields.Name(required=True, most=64)


class LeaversIn(fields.In):
    """The full list of another system."""

    example = fields.Example(key="external_id", values=["sis-1001", "sis-1002"], max_removed=10, dry_run=True)

    key = fields.Text(one_of=_KEYS, required=True)
    values = fields.BoundedList(fields.Name(most=200), most=MOST_LISTED, required=True)
    max_removed = fields.Integer(
        most=MOST_ROWS, required=True, metadata={"description": "If more are missing, nothing is changed (409)."}
    )
    left_on = fields.LocalDate(load_default=None, allow_none=True, metadata={"description": "Default: today."})
    dry_run = fields.Boolean(load_default=False, metadata={"description": _DRY_RUN})


class LeaverOut(fields.Out):
    """A student who is missing from the list."""

    id = fields.Id(required=True)
    code = fields.Text(required=True)
    external_id = fields.Text(required=True, allow_none=True)
    left_on = ma.Date(required=True)
    version = ma.Integer(required=True)


class LeaversOut(fields.Out):
    """The students who are missing from the list."""

    students = ma.List(ma.Nested(LeaverOut), required=True)
    removed = ma.Integer(required=True)
    dry_run = fields.Boolean(required=True)
