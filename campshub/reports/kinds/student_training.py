"""One student's training of a range of dates by exercise, with the volume of each week."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, case, func, select

from campshub.core.charts import BarChart
from campshub.core.dates import week_start
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, beyond, full_name, kind, student
from campshub.students.queries import students
from campshub.workouts.models import Exercise, WorkoutLog, WorkoutLogExercise, WorkoutSet
from campshub.workouts.queries.logs import exercise_of, same_log
from campshub.workouts.queries.work import ASSISTED, lifts, performed, volume, works

GRAMS_PER_KG = 1000


@kind
class StudentTrainingReport(ReportKind):
    """A student's training history. Warm-ups count as sets but not as volume; sets not performed do not count."""

    name, title = "student_training", "Training history"
    permissions = frozenset({Permission.STUDENTS_READ, Permission.WORKOUTS_READ})
    takes: ClassVar = {"student_id": student()}
    needs = frozenset({"student_id"})
    most_days = 400
    template = "student"
    at_once = 500

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the student and the dates."""
        found = students.get_student(session, principal, arguments.student_id)
        return [f"{full_name(found)} ({found.code})", f"{arguments.first_date} to {arguments.last_date}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of one exercise in a log."""
        del arguments
        return (
            Column("Date", Is.DATE, 22),
            Column("Workout", mm=34),
            Column("Exercise", mm=64),
            Column("Sets", Is.NUMBER, 12),
            Column("Reps", Is.NUMBER, 12),
            Column("Best kg", Is.NUMBER, 18),
            Column("Volume kg", Is.NUMBER, 22),
        )

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next logs, by date, with their exercises; add up each week's volume."""
        logs = session.execute(self._logs(principal, arguments, after)).all()
        if not logs:
            return Part([], None)
        titles = {log.id: log.title for log in logs}
        rows = []
        for row in session.execute(_exercises(principal, arguments, list(titles))):
            monday = week_start(row.local_date)
            sums[monday.isoformat()] = sums.get(monday.isoformat(), 0) + int(row.volume or 0)
            totals = (row.sets, row.reps, _kg(row.best), _kg(row.volume))
            rows.append([row.local_date.isoformat(), titles[row.log_id], row.name, *totals])
        return Part.by_date(rows, logs, self.at_once)

    def chart(self, sums: Sums) -> BarChart | None:
        """Return the volume of each week, by its Monday."""
        bars = [(monday[5:], _kg(grams) or 0) for monday, grams in sorted(sums.items())]
        return BarChart("Volume by week, kg", bars) if bars else None

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        del session, principal
        return "Best kg: the most load, of an assisted exercise the least help. Help is no volume."

    def _logs(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        return (
            select(WorkoutLog.id, WorkoutLog.local_date, WorkoutLog.title)
            .where(visible_to(principal, WorkoutLog), WorkoutLog.deleted_at.is_(None))
            .where(WorkoutLog.student_id == arguments.student_id, *beyond(WorkoutLog, after))
            .where(WorkoutLog.local_date >= arguments.first_date, WorkoutLog.local_date <= arguments.last_date)
            .order_by(WorkoutLog.local_date, WorkoutLog.id)
            .limit(self.at_once)
        )


def _exercises(principal: Principal, arguments: ReportArguments, log_ids: Sequence[UUID]) -> Any:
    """Return the query that aggregates the exercises of logs that the principal sees."""
    entry, one = WorkoutLogExercise, WorkoutSet
    mode, is_work = Exercise.load_mode, works(one)
    most, least = (best(one.load_grams).filter(is_work) for best in (func.max, func.min))
    between = [
        condition
        for model in (WorkoutLog, entry)
        for condition in (model.local_date >= arguments.first_date, model.local_date <= arguments.last_date)
    ]
    of_entry = and_(
        one.organization_id == entry.organization_id,
        one.local_date == entry.local_date,
        one.log_id == entry.log_id,
        one.log_exercise_id == entry.id,
        one.deleted_at.is_(None),
    )
    return (
        select(
            *(entry.local_date, entry.log_id, Exercise.name),
            func.count(one.id).filter(performed(one)).label("sets"),
            func.sum(one.reps).label("reps"),
            case((lifts(mode), most), (mode == ASSISTED, least)).label("best"),
            func.sum(volume(one, mode)).label("volume"),
        )
        .select_from(WorkoutLog)
        .join(entry, same_log(entry))
        .join(Exercise, exercise_of(entry))
        .outerjoin(one, and_(of_entry, one.local_date >= arguments.first_date, one.local_date <= arguments.last_date))
        .where(visible_to(principal, WorkoutLog), WorkoutLog.id.in_(log_ids), *between)
        .group_by(entry.local_date, entry.log_id, entry.id, entry.position, Exercise.name, mode)
        .order_by(entry.local_date, entry.log_id, entry.position)
    )


def _kg(grams: Any) -> float | None:
    return float(grams) / GRAMS_PER_KG if grams is not None else None
