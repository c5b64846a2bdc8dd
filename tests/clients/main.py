"""The same steps as main.ts in Python, with the client of openapi-python-client; checked by mypy --strict."""

import json
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from generated_client import AuthenticatedClient, Client
from generated_client.api.attendance_sessions import create_attendance_session, mark_attendance
from generated_client.api.audit import list_audit_entries
from generated_client.api.auth import sign_in
from generated_client.api.exercises import list_exercises
from generated_client.api.groups import list_group_roster, list_groups
from generated_client.api.jobs import get_job
from generated_client.api.reports import create_report, download_report, get_report
from generated_client.api.students import create_student, list_students, update_student
from generated_client.api.workout_logs import create_workout_log, create_workout_set
from generated_client.models import (
    AddressIn,
    AppendedSetIn,
    AppendedSetInLoadUnitType0,
    AttendanceSession,
    AttendanceSessionIn,
    AuditEntryPage,
    CreateStudentConflictProblem,
    Download,
    ExercisePage,
    GroupBriefPage,
    Job,
    LoggedExerciseIn,
    MarkIn,
    MarksIn,
    MarksResult,
    NewReport,
    Report,
    ReportIn,
    ReportInFormat,
    ReportInKind,
    ReportParametersIn,
    ReportParametersInPeriod,
    RosterRowPage,
    Student,
    StudentBriefPage,
    StudentIn,
    StudentPatch,
    StudentPatchStatus,
    Token,
    TokenIn,
    WorkoutLog,
    WorkoutLogIn,
    WorkoutSet,
    WorkoutSetIn,
    WorkoutSetInLoadUnitType0,
)
from generated_client.types import UNSET, File

Shown = TypeVar("Shown")


def ok(response: object, kind: type[Shown]) -> Shown:
    """Return a response of the expected kind; anything else is a problem."""
    if not isinstance(response, kind):
        raise TypeError(f"not {kind.__name__}: {response}")
    return response


state = json.loads(Path(os.environ.get("STATE", ".devstack/state.json")).read_text())
base_url, account = state["base_url"], state["demo"]
with Client(base_url=base_url) as anyone:
    tokens = ok(sign_in.sync(client=anyone, body=TokenIn(account["email"], account["password"])), Token)
api = AuthenticatedClient(base_url, tokens.access_token)

# page through all students
ids: list[uuid.UUID] = []
cursor: str | None = None
while True:
    page = ok(list_students.sync(client=api, limit=20, cursor=cursor or UNSET), StudentBriefPage)
    ids += [student.id for student in page.items]
    cursor = page.next_cursor
    if cursor is None:
        break
print("students", len(ids), len(set(ids)))

# create twice with a client id
student_id = uuid.uuid4()
body = StudentIn(
    id=student_id,
    code=f"P-{student_id.hex[:8]}",
    given_name="Ada",
    family_name="Client",
    address=AddressIn(locality="Pune"),
)
one, two = (create_student.sync_detailed(client=api, body=body) for _ in range(2))
made = ok(one.parsed, Student)
print("created", one.status_code.value, two.status_code.value, made.address and made.address.locality, made.status)

# a refusal is identified by its code
clash = create_student.sync(client=api, body=StudentIn(code=made.code, given_name="Ada", family_name="Client"))
print("refused", ok(clash, CreateStudentConflictProblem).code)

# PATCH with the result of a GET, with If-Match
changes = StudentPatch(status=StudentPatchStatus(made.status), preferred_name="Ada")
patched = update_student.sync_detailed(student_id, client=api, body=changes, if_match=one.headers["etag"])
print("patched", patched.status_code.value)

# register
group = ok(list_groups.sync(client=api, limit=1), GroupBriefPage).items[0]
a, b = ok(list_group_roster.sync(group.id, client=api, limit=2), RosterRowPage).items
now = datetime.now(UTC)
meeting = AttendanceSessionIn(now.date(), group_id=group.id, slot=f"py {time.time_ns()}"[:40])
session = ok(create_attendance_session.sync(client=api, body=meeting), AttendanceSession)
marks = MarksIn(records=[MarkIn(a.id, "absent"), MarkIn(b.id, "late")], rest="present")
marked = ok(mark_attendance.sync(session.id, client=api, body=marks), MarksResult)
print("marked", marked.summary.error, marked.results[0].outcome)

# workout
exercise = ok(list_exercises.sync(client=api, q="squat", limit=1), ExercisePage).items[0]
first = WorkoutSetIn(reps=5, load="225", load_unit=WorkoutSetInLoadUnitType0.LB)
workout = WorkoutLogIn(now, student_id=a.id, exercises=[LoggedExerciseIn(exercise.id, sets=[first])])
log = ok(create_workout_log.sync(client=api, body=workout), WorkoutLog)
unit = AppendedSetInLoadUnitType0.LB
appended = AppendedSetIn(log_exercise_id=log.exercises[0].id, reps=4, load="225", load_unit=unit)
print("set", ok(create_workout_set.sync(log.id, client=api, body=appended), WorkoutSet).load_unit)

# report
parameters = ReportParametersIn(group_id=group.id, period=ReportParametersInPeriod.THIS_MONTH)
order = ReportIn(ReportInKind.ATTENDANCE_REGISTER, ReportInFormat.PDF, parameters)
report_id = ok(create_report.sync(client=api, body=order), NewReport).id
report = ok(get_report.sync(report_id, client=api), Report)
for _ in range(200):
    if report.state == "ready":
        break
    time.sleep(0.3)
    report = ok(get_report.sync(report_id, client=api), Report)
job = ok(get_job.sync(report.job_id, client=api), Job)
print("report", report.parameters.group_id == group.id, job.result is not None and job.result.report_id == report_id)
link = ok(report.download, Download).url
with Client(base_url=base_url, headers={"Accept": "application/octet-stream"}) as anyone:
    file = ok(download_report.sync(report_id, client=anyone, token=link.partition("token=")[2]), File)
print("file", file.payload.read(5))

# audit
change = ok(
    list_audit_entries.sync(client=api, entity="students", entity_id=student_id, limit=1), AuditEntryPage
).items[0]
print("audit", change.entity, type(change.after).__name__)
