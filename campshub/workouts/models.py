"""Muscles, exercises, workout logs and their rollups."""

import uuid
from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    KEY,
    PERSONAL,
    PLATFORM_ID,
    CreatedByClient,
    MonthlyTenantBase,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)
from campshub.core.rollups.definition import RollupBase, StaleBase
from campshub.workouts.ownership import RESERVED_IDS
from campshub.workouts.weights import UNITS

SIDES_OF_BODY = ("front", "back")
MUSCLE_GROUPS = ("arms", "back", "chest", "core", "legs", "neck", "shoulders")
EQUIPMENT = (
    "band",
    "barbell",
    "bodyweight",
    "cable",
    "cardio_machine",
    "dumbbell",
    "ez_bar",
    "kettlebell",
    "landmine",
    "machine",
    "medicine_ball",
    "other",
    "plate",
    "sled",
    "smith_machine",
    "suspension",
    "trap_bar",
    "weighted_vest",
)
MECHANICS = ("compound", "isolation")
FORCES = ("push", "pull", "static", "rotation", "locomotion")
LEVELS = ("beginner", "intermediate", "advanced")
LOAD_MODES = ("external", "bodyweight_plus", "assisted", "none")
SIDES = ("both", "one")
METRICS = ("reps", "load", "duration", "distance")
SET_TYPES = ("normal", "warm_up", "drop", "failure", "amrap", "back_off", "rest_pause", "cluster")

MONTHLY = {"postgresql_partition_by": "RANGE (local_date)"}
# A weight as entered: stored as text, because as a number 82.50 would come back as 82.5.
WEIGHT_PATTERN = r"^[0-9]{1,4}(\.[0-9]{1,3})?$"


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN {values}", name=column)


def _own_or_platform(column: str) -> CheckConstraint:
    """Return a constraint that the owner of a referenced row is the organization itself or the platform."""
    return CheckConstraint(f"{column} IN (organization_id, '{PLATFORM_ID}')", name=column)


def _shared_reference(name: str, table: str) -> ForeignKeyConstraint:
    """Return a reference to a table with shared rows; a separate column holds the owner of the row."""
    return ForeignKeyConstraint([f"{name}_owner_id", f"{name}_id"], [f"{table}.organization_id", f"{table}.id"])


def _of_log(column: str) -> ForeignKeyConstraint:
    """Return the reference of a row to its log's locator, which stays when a month is detached.

    The key includes the date and the student, so a row always has those of its log. PostgreSQL checks it at the end of
    a statement, so one statement that changes the locator and all its rows moves a log.
    """
    return ForeignKeyConstraint(
        ["organization_id", column, "local_date", "student_id"],
        [f"workout_log_ids.{name}" for name in ("organization_id", "id", "local_date", "student_id")],
    )


def _weight(name: str) -> CheckConstraint:
    """Return a constraint that the three columns of a weight (as entered, unit, grams) are all set or all NULL."""
    return CheckConstraint(
        f"num_nulls({name}, {name}_unit, {name}_grams) IN (0, 3) AND {name} ~ '{WEIGHT_PATTERN}'"
        f" AND {name}_unit IN {UNITS} AND {name}_grams >= 0",
        name=name,
    )


class Muscle(TenantBase):
    """A muscle or muscle group by which training is counted; a seeded row of the platform."""

    __tablename__ = "muscles"
    __tag__ = "exercises"
    __table_args__ = (
        tenant_unique("key"),
        CheckConstraint(RESERVED_IDS, name="reserved_id"),
        _one_of("muscle_group", MUSCLE_GROUPS),
        _one_of("side", SIDES_OF_BODY),
    )

    key: Mapped[str]
    name: Mapped[str]
    muscle_group: Mapped[str]
    side: Mapped[str]


class Exercise(TenantBase, CreatedByClient):
    """An exercise of the platform, of an organization, or of one user (``owner_user_id``)."""

    __tablename__ = "exercises"
    __tag__ = "exercises"
    __table_args__ = (
        CheckConstraint(RESERVED_IDS, name="reserved_id"),
        # Names are unique in the organization's list and in each user's; deleted exercises do not count.
        Index(
            "uq_exercises_name",
            "organization_id",
            "owner_user_id",
            "sort_name",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        ForeignKeyConstraint(
            ["organization_id", "owner_user_id"], ["memberships.organization_id", "memberships.user_id"]
        ),
        _one_of("equipment", EQUIPMENT),
        _one_of("mechanic", MECHANICS),
        _one_of("force", FORCES),
        _one_of("level", LEVELS),
        _one_of("load_mode", LOAD_MODES),
        _one_of("side", SIDES),
        CheckConstraint(f"metrics <@ ARRAY{list(METRICS)} AND cardinality(metrics) > 0", name="metrics"),
        tenant_index("owner_user_id"),
        tenant_index("sort_name", "id"),
    )

    owner_user_id: Mapped[uuid.UUID | None]
    name: Mapped[str]
    sort_name: Mapped[str] = mapped_column(KEY)  # the folded sort key
    search_text: Mapped[str] = mapped_column(KEY)  # the search key: folded name and aliases
    aliases: Mapped[list[str]]
    equipment: Mapped[str]
    mechanic: Mapped[str | None]
    force: Mapped[str | None]
    level: Mapped[str | None]
    load_mode: Mapped[str]
    side: Mapped[str]
    metrics: Mapped[list[str]]
    licence: Mapped[str | None]
    attribution: Mapped[str | None]
    deleted_at: Mapped[datetime | None]


class ExerciseMuscle(TenantBase):
    """A muscle's share in an exercise: 1 for the target muscle, less for assisting ones."""

    __tablename__ = "exercise_muscles"
    __tag__ = "exercises"
    __table_args__ = (
        tenant_unique("exercise_id", "muscle_owner_id", "muscle_id", name="uq_exercise_muscles_muscle"),
        tenant_foreign_key("exercise_id", "exercises", ondelete="CASCADE"),
        _shared_reference("muscle", "muscles"),
        _own_or_platform("muscle_owner_id"),
        CheckConstraint("share > 0 AND share <= 1", name="share"),
        Index(None, "muscle_owner_id", "muscle_id"),
    )

    exercise_id: Mapped[uuid.UUID]
    muscle_owner_id: Mapped[uuid.UUID]
    muscle_id: Mapped[uuid.UUID]
    share: Mapped[float] = mapped_column(Float)


class WorkoutLogId(TenantBase, CreatedByClient):
    """The locator of a log: finds its date by its id, or by the id that its source gave it."""

    __tablename__ = "workout_log_ids"
    __tag__ = "workouts"
    __person__: ClassVar[str] = "student_id"
    __audited__: ClassVar[bool] = False  # the log has its own entry
    __table_args__ = (
        tenant_foreign_key("student_id", "students"),
        UniqueConstraint("organization_id", "id", "local_date", "student_id", name="uq_workout_log_ids_place"),
        # Makes a sync repeatable; NULLs are distinct, so any number of logs may have no external id.
        Index("uq_workout_log_ids_external_id", "organization_id", "student_id", "source", "external_id", unique=True),
    )

    local_date: Mapped[date]
    student_id: Mapped[uuid.UUID]
    source: Mapped[str]
    external_id: Mapped[str | None]


class WorkoutLog(MonthlyTenantBase):
    """One workout, with the local date where the person trained."""

    __tablename__ = "workout_logs"
    __tag__ = "workouts"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        _of_log("id"),
        CheckConstraint("ended_at >= started_at", name="ended_after_start"),
        _weight("body_weight"),
        tenant_index("student_id", "local_date", "id"),
        tenant_index(
            "local_date", "id", name="ix_workout_logs_deleted", postgresql_where=text("deleted_at IS NOT NULL")
        ),
        MONTHLY,
    )

    student_id: Mapped[uuid.UUID]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    time_zone: Mapped[str]
    title: Mapped[str | None] = mapped_column(info=PERSONAL)
    note: Mapped[str | None] = mapped_column(info=PERSONAL)
    body_weight: Mapped[str | None] = mapped_column(info=PERSONAL)
    body_weight_unit: Mapped[str | None] = mapped_column(info=PERSONAL)
    body_weight_grams: Mapped[int | None] = mapped_column(info=PERSONAL)
    source: Mapped[str]
    external_id: Mapped[str | None]
    deleted_at: Mapped[datetime | None]


class WorkoutLogExercise(MonthlyTenantBase):
    """An exercise at a position in a log; exercises with the same ``superset`` number were done in turn."""

    __tablename__ = "workout_log_exercises"
    __tag__ = "workouts"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        _of_log("log_id"),
        _shared_reference("exercise", "exercises"),
        _own_or_platform("exercise_owner_id"),
        # Concurrent appends cannot take the same position. (``student_id`` is here for the reference to the log.)
        tenant_unique("local_date", "log_id", "student_id", "position", name="uq_workout_log_exercises_position"),
        Index(None, "exercise_owner_id", "exercise_id"),
        MONTHLY,
    )

    log_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    exercise_owner_id: Mapped[uuid.UUID]
    exercise_id: Mapped[uuid.UUID]
    position: Mapped[int]
    superset: Mapped[int | None]
    note: Mapped[str | None] = mapped_column(info=PERSONAL)


class WorkoutSet(MonthlyTenantBase, CreatedByClient):
    """One set. It repeats log, student and exercise, because progress is read by them.

    The exercise is that of the set's ``WorkoutLogExercise``, which holds the foreign key.

    A deleted set stays in the table with its position, so that a late retry of its append does not restore it, and the
    sum of the versions of a log's rows only increases.
    """

    __tablename__ = "workout_sets"
    __tag__ = "workouts"
    __person__: ClassVar[str] = "student_id"
    __table_args__ = (
        _of_log("log_id"),
        _own_or_platform("exercise_owner_id"),
        _one_of("type", SET_TYPES),
        _weight("load"),
        CheckConstraint("num_nonnulls(reps, load_grams, seconds, metres) > 0", name="says_something"),
        CheckConstraint("reps >= 0 AND seconds >= 0 AND metres >= 0 AND rest_seconds >= 0", name="not_negative"),
        # Concurrent appends cannot take the same position.
        tenant_unique(
            "local_date", "log_id", "student_id", "log_exercise_id", "position", name="uq_workout_sets_position"
        ),
        tenant_index("student_id", "exercise_id", "local_date"),
        tenant_index("exercise_id", "local_date", "log_id"),
        MONTHLY,
    )

    log_id: Mapped[uuid.UUID]
    log_exercise_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    exercise_owner_id: Mapped[uuid.UUID]
    exercise_id: Mapped[uuid.UUID]
    position: Mapped[int]
    type: Mapped[str] = mapped_column(default="normal", server_default="normal")
    reps: Mapped[int | None]
    load: Mapped[str | None]
    load_unit: Mapped[str | None]
    load_grams: Mapped[int | None]
    seconds: Mapped[int | None]
    metres: Mapped[int | None]
    rir: Mapped[float | None] = mapped_column(Float)
    rest_seconds: Mapped[int | None]
    done_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class WorkoutWeek(RollupBase):
    """The aggregates of a student's sets of an exercise in a week, which begins on a Monday.

    A week in two months has a row for each, so that a row is counted from one partition; reads combine them.
    """

    __tablename__ = "workout_weeks"
    __tag__ = "workouts"
    __table_args__ = (
        tenant_index("week", "student_id", "exercise_id"),
        tenant_index("exercise_id", "week"),
    )

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    week: Mapped[date] = mapped_column(primary_key=True)
    exercise_owner_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    exercise_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    sets: Mapped[int]
    # The columns below count only performed sets without warm-ups. They are stored for every load mode, and reads
    # choose by the exercise's current mode, so correcting the mode needs no recount.
    working_sets: Mapped[int]
    reps: Mapped[int] = mapped_column(BigInteger)
    volume_grams: Mapped[int] = mapped_column(BigInteger)
    heaviest_grams: Mapped[int | None]
    most_reps: Mapped[int | None]
    # The set with the best estimated one-repetition maximum (1RM), from the load.
    best_1rm_grams: Mapped[int | None] = mapped_column(BigInteger)
    best_load_grams: Mapped[int | None] = mapped_column(BigInteger)
    best_reps: Mapped[int | None] = mapped_column(BigInteger)
    # The same from body weight and load together, of logs with a body weight.
    total_1rm_grams: Mapped[int | None] = mapped_column(BigInteger)
    total_body_grams: Mapped[int | None] = mapped_column(BigInteger)
    total_load_grams: Mapped[int | None] = mapped_column(BigInteger)
    total_reps: Mapped[int | None] = mapped_column(BigInteger)
    # The set with the least load, which is assistance; of several, the one with the most reps (0 if not given).
    least_grams: Mapped[int | None] = mapped_column(BigInteger)
    least_reps: Mapped[int | None] = mapped_column(BigInteger)


class WorkoutWeekStale(StaleBase):
    """A student's month whose weeks must be counted again."""

    __tablename__ = "workout_weeks_stale"
    __tag__ = "workouts"

    student_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
