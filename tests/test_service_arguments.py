"""What services take is what the bodies of requests have: mypy checks the callers, these tests the bodies."""

import ast
from typing import get_type_hints

import pytest
from marshmallow import missing

from campshub.accounts.schemas import organizations as organization_schemas
from campshub.accounts.schemas import roles as role_schemas
from campshub.accounts.schemas import users as user_schemas
from campshub.accounts.service import lifecycle, members, organizations, roles
from campshub.attendance.schemas import codes as code_schemas
from campshub.attendance.schemas import records as record_schemas
from campshub.attendance.schemas import sessions as session_schemas
from campshub.attendance.service import codes, records
from campshub.attendance.service import sessions as attendance_sessions
from campshub.check_ins import schemas as check_in_schemas
from campshub.check_ins.service import events as check_in_events
from campshub.reports.schemas import reports as report_schemas
from campshub.reports.service import schedules
from campshub.students.schemas import bulk as bulk_schemas
from campshub.students.schemas import custom_fields as custom_field_schemas
from campshub.students.schemas import groups as group_schemas
from campshub.students.schemas import students as student_schemas
from campshub.students.service import custom_fields, groups, students
from campshub.workouts.schemas import exercises as exercise_schemas
from campshub.workouts.schemas import logs as log_schemas
from campshub.workouts.schemas import sets as set_schemas
from campshub.workouts.service import exercises, logs, sets
from tests.conftest import ROOT

# A body, the fields of it that a service takes, and those that the service takes as arguments of their own.
BODIES = [
    (organization_schemas.OrganizationPatch, organizations.OrganizationChanges, set()),
    (organization_schemas.OrganizationStatePatch, lifecycle.Plan, {"status"}),
    (role_schemas.RoleIn, roles.NewRole, {"id"}),
    (role_schemas.RolePatch, roles.RoleChanges, set()),
    (user_schemas.UserPatch, members.MemberChanges, {"role", "role_id", "status"}),
    (code_schemas.AttendanceCodeIn, codes.NewCode, {"id"}),
    (code_schemas.AttendanceCodePatch, codes.CodeChanges, set()),
    (record_schemas.AttendanceRecordPatch, records.MarkChanges, {"reason", "recorded_at"}),
    (session_schemas.AttendanceSessionIn, attendance_sessions.NewSession, {"id"}),
    (session_schemas.AttendanceSessionPatch, attendance_sessions.SessionChanges, set()),
    (check_in_schemas.CheckInIn, check_in_events.CheckInFields, set()),
    (group_schemas.GroupIn, groups.NewGroup, {"id", "trainer_ids"}),
    (group_schemas.GroupPatch, groups.GroupChanges, {"trainer_ids"}),
    (group_schemas.EnrolmentPatch, groups.EnrolmentChanges, set()),
    (student_schemas.StudentIn, students.NewStudent, {"id"}),
    (student_schemas.StudentPatch, students.StudentChanges, set()),
    (bulk_schemas.ExternalStudentIn, students.ExternalStudent, set()),
    (custom_field_schemas.CustomFieldIn, custom_fields.NewCustomField, {"id"}),
    (custom_field_schemas.CustomFieldPatch, custom_fields.CustomFieldChanges, set()),
    (exercise_schemas.ExerciseIn, exercises.NewExercise, {"id", "private", "muscles"}),
    (exercise_schemas.ExercisePatch, exercises.ExerciseChanges, {"muscles"}),
    (set_schemas.AppendedSetIn, sets.SetFields, {"id", "log_exercise_id", "exercise_id"}),
    (set_schemas.SetPatch, sets.SetFields, set()),
    (log_schemas.WorkoutLogIn, logs.NewLog, {"id"}),
    (log_schemas.WorkoutLogPatch, logs.LogChanges, set()),
    (report_schemas.ReportScheduleIn, schedules.NewSchedule, {"id", "recipient_ids"}),
    (report_schemas.ReportSchedulePatch, schedules.ScheduleChanges, {"recipient_ids"}),
]


@pytest.mark.parametrize(("schema", "fields", "own"), BODIES, ids=[schema.__name__ for schema, *_ in BODIES])
def test_a_service_takes_the_fields_of_the_body(schema, fields, own):
    loaded = {field.attribute or name: field for name, field in schema().load_fields.items()}

    assert loaded.keys() == get_type_hints(fields).keys() | own
    always = {name for name, field in loaded.items() if field.required or field.load_default is not missing}
    assert fields.__required_keys__ <= always, "a required argument is in every body"


def functions(*layers):
    """Yield the path and the tree of each function in these files of the modules."""
    paths = {path for layer in layers for path in ROOT.glob(f"campshub/*/{layer}*/**/*.py")}
    for path in sorted(paths | {path for layer in layers for path in ROOT.glob(f"campshub/*/{layer}.py")}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield str(path.relative_to(ROOT)), node


def test_no_service_takes_arguments_without_a_type():
    open_ended = [(path, node) for path, node in functions("service") if node.args.kwarg is not None]

    assert len(open_ended) >= len(BODIES) - 2, "the fields of a set are those of two bodies"
    untyped = [(path, f.name) for path, f in open_ended if "Unpack[" not in ast.unparse(f.args.kwarg.annotation)]
    assert untyped == []


def test_the_session_and_the_principal_are_the_first_arguments():
    arguments = {(path, f.name): [a.arg for a in f.args.args] for path, f in functions("service", "queries")}
    both = {where: names for where, names in arguments.items() if {"session", "principal"} <= {*names}}

    assert len(both) > 100
    assert {where: names for where, names in both.items() if names[:2] != ["session", "principal"]} == {}
