"""An organization whose rows are written without the application, and its expected rollups, computed in Python."""

import random
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from campshub.attendance.queries import rollups as attendance
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import NotFound
from campshub.core.paging import page_request
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import refreshed_together, rollups
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.workouts import catalogue
from campshub.workouts.queries import rollups as workouts
from tests.conftest import Tenant, new_tenant

TODAY = datetime.now(UTC).date()
# Two days of one week, one of another month, and a week that spans two months.
DATES = (TODAY, TODAY - timedelta(days=1), TODAY - timedelta(days=40), TODAY.replace(day=1), TODAY.replace(day=1))
DATES = (*DATES[:4], TODAY.replace(day=1) - timedelta(days=1))
FIRST, LAST = min(DATES).replace(day=1), TODAY
COUNTS_AS = ("present", "late", "left_early", "absent", "excused")
MODES = {
    catalogue.exercise_id(key): mode
    for key, mode in (
        ("back_squat", "external"),
        ("pull_up", "bodyweight_plus"),
        ("assisted_pull_up", "assisted"),
        ("burpee", "none"),
    )
}
EXERCISES = list(MODES)
PLATFORM = uuid.UUID("00000000-0000-7000-8000-000000000000")
_MOVE = "UPDATE {} SET student_id = %s WHERE organization_id = %s AND student_id = %s"
# One statement, because the references between locators and rows are checked at its end.
MOVE_LOGS = (
    f"WITH ids AS ({_MOVE.format('workout_log_ids')}), logs AS ({_MOVE.format('workout_logs')}),"
    f" exercises AS ({_MOVE.format('workout_log_exercises')}) {_MOVE.format('workout_sets')}"
)


def stale_tables() -> list[str]:
    """Return the tables of stale keys; rollups of the same key share one."""
    return [one.stale.__tablename__ for one, *_ in refreshed_together()]


@dataclass
class World:
    """One organization: a trained group, another one and open gym; four students, of whom the trainer sees two."""

    app: Any
    sql: Callable[..., list[Any]]
    tenant: Tenant = field(init=False)
    students: list[uuid.UUID] = field(init=False)
    groups: list[uuid.UUID | None] = field(init=False)
    sessions: dict[tuple[int, date], uuid.UUID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tenant = new_tenant(self.app)
        self.students = [new_id() for _ in range(4)]
        self.groups = [new_id(), new_id(), None]
        org = self.tenant.id
        self.people = {role: self.tenant.someone(role).user_id for role in (Role.ADMIN, Role.TRAINER, Role.CLIENT)}
        for number, student in enumerate(self.students):
            self.do(
                "INSERT INTO students (organization_id, id, code, user_id, given_name, family_name, sort_name,"
                " search_text, emergency_contacts, tags) VALUES (%s, %s, %s, %s, 'A', 'B', 'b a', 'a b', '[]', '{}')",
                *(org, student, f"S{number}", self.people[Role.CLIENT] if number == 0 else None),
            )
        for number, group in enumerate(self.groups[:2]):
            self.do(
                "INSERT INTO groups (organization_id, id, code, name, sort_name, search_text, kind)"
                " VALUES (%s, %s, %s, 'G', 'g', 'g', 'class')",
                *(org, group, f"G{number}"),
            )
        self.do(
            "INSERT INTO group_trainers (organization_id, id, group_id, user_id) VALUES (%s, %s, %s, %s)",
            *(org, new_id(), self.groups[0], self.people[Role.TRAINER]),
        )
        for student in self.students[:2]:
            self.do(
                "INSERT INTO enrolments (organization_id, id, student_id, group_id, begins_on, status)"
                " VALUES (%s, %s, %s, %s, '2020-01-01', 'active')",
                *(org, new_id(), student, self.groups[0]),
            )
        for number, group in enumerate(self.groups):
            for day in set(DATES):
                self.sessions[number, day] = new_id()
                self.do(
                    "INSERT INTO attendance_sessions (organization_id, id, group_id, local_date)"
                    " VALUES (%s, %s, %s, %s)",
                    *(org, self.sessions[number, day], group, day),
                )

    def do(self, statement: str, *parameters: Any) -> int:
        """Run a statement; return how many rows it wrote."""
        return len(self.sql(f"{statement} RETURNING 1", *parameters))

    # Writes ----------------------------------------------------------------------------------------------------------

    def mark(self, student: int, group: int, day: date, counts_as: str, minutes: int | None) -> None:
        self.do(
            "INSERT INTO attendance_records (organization_id, local_date, id, session_id, student_id, group_id, code,"
            " counts_as, in_rate, minutes, source) VALUES (%s, %s, %s, %s, %s, %s, 'c', %s, %s, %s, 'api')"
            " ON CONFLICT (organization_id, local_date, session_id, student_id) DO UPDATE"
            " SET counts_as = excluded.counts_as, in_rate = excluded.in_rate, minutes = excluded.minutes",
            *(self.tenant.id, day, new_id(), self.sessions[group, day], self.students[student], self.groups[group]),
            *(counts_as, counts_as != "excused", minutes),
        )

    def unmark(self, student: int, day: date) -> None:
        self.do(
            "DELETE FROM attendance_records WHERE organization_id = %s AND student_id = %s AND local_date = %s",
            *(self.tenant.id, self.students[student], day),
        )

    def note(self, day: date) -> None:
        """Change a column that is not counted."""
        self.do(
            "UPDATE attendance_records SET note = 'x' WHERE organization_id = %s AND local_date = %s",
            *(self.tenant.id, day),
        )

    def log(
        self, student: int, day: date, sets: list[tuple[int, str, int | None, int | None]], kilograms: int | None = None
    ) -> None:
        """Log sets (exercise, type, repetitions, grams); those without repetitions or load last five seconds."""
        org, log, person = self.tenant.id, new_id(), self.students[student]
        self.do(
            "INSERT INTO workout_log_ids (organization_id, id, local_date, student_id, source)"
            " VALUES (%s, %s, %s, %s, 'api')",
            *(org, log, day, person),
        )
        self.do(
            "INSERT INTO workout_logs (organization_id, local_date, id, student_id, started_at, time_zone, source,"
            " body_weight, body_weight_unit, body_weight_grams) VALUES (%s, %s, %s, %s, %s, 'UTC', 'api', %s, %s, %s)",
            *(org, day, log, person, datetime.now(UTC)),
            *((str(kilograms), "kg", kilograms * 1000) if kilograms is not None else (None, None, None)),
        )
        for number, (exercise, kind, reps, grams) in enumerate(sets):
            weight = (str(grams // 1000), "kg", grams) if grams is not None else (None, None, None)
            self.do(
                "INSERT INTO workout_sets (organization_id, local_date, id, log_id, log_exercise_id, student_id,"
                " exercise_owner_id, exercise_id, position, type, reps, load, load_unit, load_grams, seconds)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                *(org, day, new_id(), log, uuid.UUID(int=exercise), person, PLATFORM, EXERCISES[exercise], number),
                *(kind, reps, *weight, 5 if reps is None and (grams is None or number % 2) else None),
            )

    def edit_sets(self, rng: random.Random) -> None:
        """Change, delete or restore one set."""
        change = rng.choice(
            (
                *("reps = 7", "reps = 0", "deleted_at = now()", "deleted_at = NULL", "type = 'warm_up'", "rir = 1"),
                *("load_grams = 90000", "seconds = 0", "metres = 20"),
            )
        )
        guard = " AND load_grams IS NOT NULL" if "load" in change else ""
        self.do(
            f"UPDATE workout_sets s SET {change} FROM (SELECT local_date, id FROM workout_sets"
            f" WHERE organization_id = %s{guard} ORDER BY md5(id::text || %s) LIMIT 1) c"
            " WHERE s.organization_id = %s AND s.local_date = c.local_date AND s.id = c.id",
            *(self.tenant.id, str(rng.random()), self.tenant.id),
        )

    def edit_logs(self, rng: random.Random) -> None:
        """Delete or restore a log, or change its body weight."""
        weight = "body_weight = '70', body_weight_unit = 'kg', body_weight_grams = 70000"
        change = rng.choice(("deleted_at = now()", "deleted_at = NULL", weight))
        self.do(
            f"UPDATE workout_logs l SET {change} FROM (SELECT local_date, id FROM workout_logs"
            " WHERE organization_id = %s ORDER BY md5(id::text || %s) LIMIT 1) c"
            " WHERE l.organization_id = %s AND l.local_date = c.local_date AND l.id = c.id",
            *(self.tenant.id, str(rng.random()), self.tenant.id),
        )

    def erase_sets(self, day: date) -> None:
        self.do("DELETE FROM workout_sets WHERE organization_id = %s AND local_date = %s", self.tenant.id, day)

    def merge(self, one: int, other: int) -> None:
        """Move a student's marks and logs to another student."""
        pair = self.students[other], self.tenant.id, self.students[one]
        self.do(
            "UPDATE attendance_records r SET student_id = %s WHERE organization_id = %s AND student_id = %s"
            " AND NOT EXISTS (SELECT FROM attendance_records o WHERE o.organization_id = r.organization_id"
            " AND o.local_date = r.local_date AND o.session_id = r.session_id AND o.student_id = %s)",
            *(*pair, self.students[other]),
        )
        self.do(MOVE_LOGS, *pair * 4)

    def refresh_stale(self, most: int = 1_000) -> refresh.RefreshCount:
        """Recompute stale rollups, up to so many stale rows of each."""
        total = refresh.RefreshCount()
        with self.app.app_context(), unit_of_work(system=True) as session:
            for one in rollups().values():
                total += refresh.refresh(session, one, self.tenant.id, most=most)
        return total

    def rebuild(self, day: date) -> refresh.RefreshCount:
        total = refresh.RefreshCount()
        for one in rollups().values():
            with self.app.app_context(), unit_of_work(system=True) as session:
                total += refresh.rebuild(session, one, self.tenant.id, day.replace(day=1))
        return total

    def differences(self) -> list[refresh.Difference]:
        found = []
        with self.app.app_context(), unit_of_work(system=True, read_only=True) as session:
            for step in refresh.steps(session, organization_id=self.tenant.id, first_date=FIRST, last_date=LAST):
                one = rollups()[step.rollup]
                found += refresh.check(session, one, self.tenant.id, step.month, most=10)
        return found

    # What the application reports -------------------------------------------------------------------------------------

    def reported(self, role: Role) -> dict[str, Any]:
        """Return what the application reports to a role."""
        who = Principal(self.people[role], self.tenant.id, role.value, "UTC")
        cursors = self.app.extensions["campshub"].cursors
        page = page_request(limit=200, sort="", cursor=None, only=None, bound_to={}, cursors=cursors)
        months: dict[Any, Any] = {}
        with self.app.app_context(), unit_of_work(organization_id=self.tenant.id, read_only=True) as session:
            fields = {"now": datetime.now(UTC), "page": page}
            dates = {"first_date": FIRST, "last_date": LAST}
            days = attendance.list_group_days(session, who, **fields, **dates)
            for student in self.students:
                try:
                    found = attendance.list_student_months(session, who, student_id=student, **fields, **dates)
                except NotFound:
                    continue
                months |= {(student, row.month): _counts(row) for row in found.rows}
            weeks = workouts.list_weeks(session, who, **fields, first_date=FIRST, last_date=LAST)
            whole = self._whole(session) if role is Role.ADMIN else {}
        return {
            **whole,
            "days": {(row.local_date, row.group_id): _counts(row) for row in days.rows},
            "months": months,
            "weeks": {(row.week, row.student_id, row.exercise_id): tuple(row)[3:15] for row in weeks.rows},
        }

    def _whole(self, session: Any) -> dict[str, Any]:
        """Return the aggregates that no list shows as they are: those by session, and the outcomes of students."""
        of_sessions, of_students = (
            one.current(
                **{
                    name: [model.organization_id == self.tenant.id]
                    for name, model in (("stored", one.model), ("stale", one.stale), ("raw", one.raw))
                }
            )
            for one in (attendance.SESSIONS, attendance.OUTCOMES)
        )
        sessions = session.execute(select(of_sessions)).all()
        outcomes = session.execute(select(of_students)).all()
        return {
            "sessions": {row.session_id: (row.rated, row.attended, row.late, row.minutes) for row in sessions},
            "outcomes": {
                (row.student_id, row.month): (row.outcomes, row.week_ends, row.last_attended_on) for row in outcomes
            },
        }

    def _expected_whole(self) -> dict[str, Any]:
        sessions: dict[Any, list[int]] = defaultdict(lambda: [0] * 4)
        outcomes: dict[Any, list[Any]] = defaultdict(lambda: ["", [0] * 6, None])
        for day, meeting, student, counts_as, in_rate, minutes in self.sql(
            "SELECT local_date, session_id, student_id, counts_as, in_rate, minutes FROM attendance_records"
            " WHERE organization_id = %s ORDER BY local_date, session_id",
            self.tenant.id,
        ):
            is_there = counts_as in ("present", "late", "left_early")
            counts = (in_rate, in_rate and is_there, counts_as == "late", minutes or 0)
            sessions[meeting] = [a + b for a, b in zip(sessions[meeting], counts, strict=True)]
            first = day.replace(day=1)
            found = outcomes[student, first]
            monday = first - timedelta(days=first.weekday())
            if in_rate:
                found[0] += "p" if is_there else "m"
                week = (day - monday).days // 7
                found[1] = [count + (number >= week) for number, count in enumerate(found[1])]
            if is_there:
                found[2] = day
        return {
            "sessions": {key: tuple(counts) for key, counts in sessions.items()},
            "outcomes": {key: tuple(found) for key, found in outcomes.items()},
        }

    def expected(self, role: Role) -> dict[str, Any]:
        """Return what it should report, computed from the rows one by one."""
        students = {Role.ADMIN: self.students, Role.TRAINER: self.students[:2], Role.CLIENT: self.students[:1]}[role]
        days, months = defaultdict(list), defaultdict(list)
        for day, group, student, *mark in self.sql(
            "SELECT local_date, group_id, student_id, counts_as, in_rate, minutes FROM attendance_records"
            " WHERE organization_id = %s",
            self.tenant.id,
        ):
            if role is Role.ADMIN or (role is Role.TRAINER and group == self.groups[0]):
                days[day, group].append(mark)
            shown = role is not Role.TRAINER or group in (self.groups[0], None)
            if student in students and shown:
                months[student, day.replace(day=1)].append(mark)
        return {
            **(self._expected_whole() if role is Role.ADMIN else {}),
            "days": {key: _added_up(marks) for key, marks in days.items()},
            "months": {key: _added_up(marks) for key, marks in months.items()},
            "weeks": self._weeks(students),
        }

    def _weeks(self, students: list[uuid.UUID]) -> dict[Any, Any]:
        weeks = defaultdict(list)
        for day, student, exercise, *one in self.sql(
            "SELECT s.local_date, s.student_id, s.exercise_id, s.type, s.reps, s.load_grams, s.seconds, s.metres,"
            " l.body_weight_grams FROM workout_sets s"
            " JOIN workout_logs l ON l.organization_id = s.organization_id AND l.local_date = s.local_date"
            " AND l.id = s.log_id WHERE s.organization_id = %s AND s.deleted_at IS NULL AND l.deleted_at IS NULL",
            self.tenant.id,
        ):
            if student in students:
                weeks[day - timedelta(days=day.weekday()), student, exercise].append(one)
        return {key: (MODES[key[2]], *_trained(MODES[key[2]], sets)) for key, sets in weeks.items()}


def _counts(row: Any) -> tuple[Any, ...]:
    return (*(getattr(row, name) for name in COUNTS_AS), row.minutes, row.marked, row.rate)


def _added_up(marks: list[Any]) -> tuple[Any, ...]:
    rated = [counts_as for counts_as, in_rate, _ in marks if in_rate]
    attended = sum(one in ("present", "late", "left_early") for one in rated)
    return (
        *(sum(one[0] == name for one in marks) for name in COUNTS_AS),
        sum(one[2] or 0 for one in marks),
        len(marks),
        round(attended * 10_000 / len(rated)) / 10_000 if rated else None,
    )


def _once(grams: int, reps: int) -> int:
    return grams if reps == 1 else grams * (30 + reps) // 30


def _trained(mode: str, sets: list[Any]) -> tuple[Any, ...]:
    work = [
        (reps, grams, body)
        for kind, reps, grams, seconds, metres, body in sets
        if kind != "warm_up" and (reps or (reps is None and (seconds or metres)))
    ]
    loads = [grams for _, grams, _ in work if grams is not None]
    heaviest, best = None, (None, None, None, None, None)
    if mode == "external":
        heaviest = max(loads, default=None)
        found = [(_once(g, r), g, r) for r, g, _ in work if r and g and r <= 12]
        best = (*max(found), None, None) if found else best
    elif mode == "bodyweight_plus":
        heaviest = max(loads, default=None)
        totals = [(_once(b + (g or 0), r), b, g or 0, r) for r, g, b in work if r and b and r <= 12]
        if totals:
            once, body, added, reps = max(totals)
            best = (once, added, reps, body, once - body)
    elif mode == "assisted" and loads:
        heaviest = min(loads)
        best = (None, heaviest, max(r or 0 for r, g, _ in work if g == heaviest) or None, None, None)
    lifted = mode in ("external", "bodyweight_plus")
    return (
        len(sets),
        len(work),
        sum(reps or 0 for reps, *_ in work),
        sum((reps or 0) * (grams or 0) for reps, grams, _ in work) if lifted else 0,
        heaviest,
        max((reps for reps, *_ in work if reps is not None), default=None),
        *best,
    )
