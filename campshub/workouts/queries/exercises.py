"""Reads of muscles and exercises."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from campshub.core import names
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.names import has_words
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.workouts.models import Exercise, ExerciseMuscle, Muscle
from campshub.workouts.queries.visibility import usable_exercises

MUSCLE_COLUMNS = (Muscle.id, Muscle.key, Muscle.name, Muscle.muscle_group.label("group"), Muscle.side)


def _shares() -> ColumnElement[Any]:
    """Return the muscles of an exercise as JSON, largest share first."""
    row = func.jsonb_build_object("muscle", Muscle.key, "share", ExerciseMuscle.share)
    rows = func.jsonb_agg(aggregate_order_by(row, ExerciseMuscle.share.desc(), Muscle.key))
    return (
        select(func.coalesce(rows, literal([], JSONB)))
        .select_from(ExerciseMuscle)
        .join(
            Muscle,
            and_(Muscle.organization_id == ExerciseMuscle.muscle_owner_id, Muscle.id == ExerciseMuscle.muscle_id),
        )
        .where(
            ExerciseMuscle.organization_id == Exercise.organization_id,
            ExerciseMuscle.exercise_id == Exercise.id,
        )
        .correlate(Exercise)
        .scalar_subquery()
    )


COLUMNS = (
    Exercise.id,
    Exercise.name,
    Exercise.aliases,
    Exercise.equipment,
    Exercise.mechanic,
    Exercise.force,
    Exercise.level,
    Exercise.load_mode,
    Exercise.side,
    Exercise.metrics,
    _shares().label("muscles"),
    Exercise.owner_user_id,
    Exercise.organization_id.label("owner_id"),
    Exercise.licence,
    Exercise.attribution,
    Exercise.deleted_at,
    Exercise.created_at,
    Exercise.updated_at,
    Exercise.version,
)

ORDERS = {"name": (Exercise.sort_name, Exercise.id), "created": (Exercise.id,)}


def list_muscles(session: Session, principal: Principal, *, page: PageRequest) -> Page:
    """List the muscles."""
    return page.read(session, _muscles(principal, page=page))


@prepared
def _muscles(principal: Principal, *, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(MUSCLE_COLUMNS)).where(visible_to(principal, Muscle))
    orders = {"name": (Muscle.name, Muscle.id), "key": (Muscle.key, Muscle.id)}
    return page.ordered(rows, order=orders[page.sort or "name"])


def list_exercises(session: Session, principal: Principal, *, page: PageRequest, **filters: Any) -> Page:
    """List the exercises that the principal may use: the public ones, the organization's and their own."""
    # The words match in any order. This needs no index: the policy's index leaves a few hundred rows.
    words = names.patterns(filters.pop("q", None))
    given = {name: value or None for name, value in filters.items()}
    return page.read(session, _listed(principal, page=page, words=words, **given))


@prepared
def _listed(principal: Principal, *, page: PageRequest, words: Any, **filters: Any) -> AnySelect:
    rows = _usable(principal, page, filters)
    if words is not None:
        rows = rows.where(has_words(Exercise.search_text, words))
    return page.ordered(rows, order=ORDERS[page.sort or "name"])


def _usable(principal: Principal, page: PageRequest, filters: Mapping[str, Any]) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(usable_exercises(principal))
    rows = rows.where(Exercise.deleted_at.is_not(None) if filters.get("deleted") else Exercise.deleted_at.is_(None))
    if filters.get("equipment") is not None:
        rows = rows.where(Exercise.equipment == filters["equipment"])
    if filters.get("mine"):
        rows = rows.where(Exercise.owner_user_id == principal.user_id)
    if filters.get("muscle") is not None:
        rows = rows.where(_works(filters["muscle"]))
    return rows


def _works(key: str) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(ExerciseMuscle)
        .join(
            Muscle,
            and_(Muscle.organization_id == ExerciseMuscle.muscle_owner_id, Muscle.id == ExerciseMuscle.muscle_id),
        )
        .where(
            ExerciseMuscle.organization_id == Exercise.organization_id,
            ExerciseMuscle.exercise_id == Exercise.id,
            Muscle.key == key,
        )
        .correlate(Exercise)
    )


def get_exercise(session: Session, principal: Principal, exercise_id: UUID, *, deleted: bool | None = False) -> AnyRow:
    """Return one exercise; ``deleted=None`` includes deleted ones.

    :raises NotFound: the principal sees no such exercise.
    """
    row = session.execute(_one(principal, exercise_id=exercise_id, deleted=deleted)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, exercise_id: UUID, deleted: bool | None) -> AnySelect:
    statement = select(*COLUMNS).where(usable_exercises(principal), Exercise.id == exercise_id)
    if deleted is not None:
        statement = statement.where(Exercise.deleted_at.is_not(None) if deleted else Exercise.deleted_at.is_(None))
    return statement
