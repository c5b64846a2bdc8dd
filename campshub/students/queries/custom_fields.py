"""Reads of custom fields: the definitions, who sees them, and filters by their values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Text, and_, func, literal, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, Invalid, NotFound
from campshub.core.memoized import everyone, memoized
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visibility, visible_to
from campshub.students.models import CustomField, Student
from campshub.students.values import Definition, Unreadable, value_of_text

COLUMNS = (
    CustomField.id,
    CustomField.key,
    CustomField.label,
    CustomField.type,
    CustomField.is_required,
    CustomField.choices,
    CustomField.visible_to,
    CustomField.is_personal,
    CustomField.position,
    CustomField.is_archived,
    CustomField.created_at,
    CustomField.updated_at,
    CustomField.version,
)
# The audience that callers of a scope belong to; those of the scope ``all`` see every field.
AUDIENCE_OF = {Scope.GROUPS: "trainers", Scope.OWN: "student"}
_NO_KEYS: Any = literal([], ARRAY(Text))

_DEFINING = (
    CustomField.key,
    CustomField.type,
    CustomField.is_required,
    CustomField.choices,
    CustomField.visible_to,
)

# Keys of custom fields, each with the text of the wanted value.
Conditions = Sequence[tuple[str, str]]

for _scope, _audience in AUDIENCE_OF.items():

    @visibility(CustomField, _scope)
    def _shown_to_audience(_principal: Principal, audience: str = _audience) -> ColumnElement[bool]:
        return and_(~CustomField.is_archived, literal(audience, Text) == CustomField.visible_to.any_())


def visible_values(principal: Principal) -> ColumnElement[Any]:
    """Return the values of a student's custom fields without those of archived and of hidden fields.

    The hidden keys are read once for each statement, so the values and the definitions are of the same moment.
    """
    hidden = select(func.array_agg(CustomField.key)).where(
        CustomField.organization_id == principal.organization_id, ~_is_shown(principal)
    )
    keys = func.coalesce(hidden.scalar_subquery(), _NO_KEYS, type_=ARRAY(Text))
    return Student.custom_fields.op("-", return_type=JSONB)(keys).label("custom_fields")


def _is_shown(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that values of a field are shown to the principal."""
    audience = AUDIENCE_OF.get(principal.scope)
    in_audience = true() if audience is None else literal(audience, Text) == CustomField.visible_to.any_()
    return and_(~CustomField.is_archived, in_audience)


def list_custom_fields(session: Session, principal: Principal, *, archived: bool, page: PageRequest) -> Page:
    """List the custom fields that the principal sees, by position; with ``archived`` the archived ones instead."""
    return page.read(session, _listed(principal, archived=archived, page=page))


@prepared
def _listed(principal: Principal, *, archived: bool, page: PageRequest) -> AnySelect:
    is_listed = CustomField.is_archived if archived else ~CustomField.is_archived
    rows = select(*page.choose(COLUMNS)).where(visible_to(principal, CustomField), is_listed)
    return page.ordered(rows, order=(CustomField.position, CustomField.id))


def get_custom_field(session: Session, principal: Principal, custom_field_id: UUID) -> AnyRow:
    """Return one custom field.

    :raises NotFound: the principal sees no such field.
    """
    row = session.execute(_one(principal, custom_field_id=custom_field_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, custom_field_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(visible_to(principal, CustomField), CustomField.id == custom_field_id)


@memoized(tags=("custom_fields",), key=everyone)
def _definitions(session: Session, principal: Principal) -> list[dict[str, Any]]:
    """Return the definitions of all custom fields that are not archived."""
    rows = session.execute(_defined(principal))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


@prepared
def _defined(principal: Principal) -> AnySelect:
    return select(*_DEFINING).where(CustomField.organization_id == principal.organization_id, ~CustomField.is_archived)


def definitions(session: Session, principal: Principal) -> dict[str, Definition]:
    """Return the definitions that the principal sees, by key."""
    return seen_by(principal, (Definition(**row) for row in _definitions(session, principal)))


def definitions_for_writing(session: Session, principal: Principal) -> dict[str, Definition]:
    """Return the definitions that the principal may write, by key; they cannot change until the unit of work ends."""
    return read_locked(principal, session.scalar(select(locked_definitions(principal))))


def locked_definitions(principal: Principal) -> Any:
    """Return the definitions as one column, which locks them; a statement that reads something else may have it too."""
    own = CustomField.organization_id == principal.organization_id
    rows = select(*_DEFINING).where(own, ~CustomField.is_archived).order_by(CustomField.id)
    locked = rows.with_for_update(read=True).cte("locked")
    return select(func.json_agg(locked.table_valued())).scalar_subquery()


def read_locked(principal: Principal, column: Any) -> dict[str, Definition]:
    """Return the definitions that the principal may write, by key, from the column of ``locked_definitions``."""
    return seen_by(principal, (Definition(**row) for row in column or ()))


def seen_by(principal: Principal, found: Iterable[Definition]) -> dict[str, Definition]:
    """Return the definitions that the principal sees, by key."""
    audience = AUDIENCE_OF.get(principal.scope)
    return {one.key: one for one in found if audience is None or audience in one.visible_to}


def matching_values(session: Session, principal: Principal, conditions: Conditions) -> str:
    """Return the JSON object that a student's values contain if they meet all conditions.

    :raises Invalid: a condition names no custom field that the principal sees, or no value of it.
    """
    found = definitions(session, principal)
    wanted: dict[str, Any] = {}
    for key, text in conditions:
        definition = found.get(key)
        if definition is None:
            raise Invalid.of([FieldError("/custom", "unknown", f"No custom field has the key {key}.")])
        try:
            wanted[key] = value_of_text(definition, text)
        except Unreadable as error:
            raise Invalid.of([FieldError("/custom", "invalid", f"{key}: {error}")]) from error
    return orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS).decode()


def shown_values(session: Session, principal: Principal, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a student's values that the principal may see; without values nothing is read."""
    found = definitions(session, principal) if values else {}
    return {key: value for key, value in values.items() if key in found}
