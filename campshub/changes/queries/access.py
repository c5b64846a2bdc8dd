"""What a copy depends on besides its rows: the database, its running transactions, and what the caller may see."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson
from sqlalchemy import Text, case, cast, func, null, select

from campshub.accounts.models import Organization
from campshub.attendance.models import AttendanceCode
from campshub.changes.models import ChangeSet
from campshub.changes.queries.feeds import CODES, STUDENTS, WORKOUT_LOGS, Feed
from campshub.changes.windows import Window
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.session import Session
from campshub.core.errors import Unavailable
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import CustomField, Enrolment, Group, Student


@dataclass(frozen=True)
class Present:
    """The state of the database at the beginning of a request."""

    database: str
    window: Window
    on: date
    access: str


def present(session: Session, principal: Principal, feeds: Sequence[Feed]) -> Present:
    """Read the state with one statement, and so in one snapshot.

    :raises Unavailable: the server is a standby, whose snapshots do not name the running transactions.
    """
    watched = sorted({name for feed in feeds for name in feed.watched(principal)})
    row = session.execute(
        select(
            case((func.pg_is_in_recovery(), null()), else_=func.server_identity()).label("database"),
            cast(func.pg_current_snapshot(), Text).label("snapshot"),
            func.greatest(0, *(_latest(principal, name) for name in watched)).label("latest"),
            func.current_date().label("on"),
            *(fact.label(f"fact_{number}") for number, fact in enumerate(_facts(principal, feeds))),
        )
    ).one()
    if row.database is None:
        raise Unavailable
    return Present(row.database, Window.of(row.snapshot, row.latest), row.on, _digest(principal, list(row)[4:]))


def _latest(principal: Principal, name: str) -> Any:
    """Return the query of the last visible change set of a feed; its transaction is committed and flushed."""
    return (
        select(ChangeSet.transaction_id)
        .where(visible_to(principal, ChangeSet), ChangeSet.entity == name)
        .order_by(ChangeSet.transaction_id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _facts(principal: Principal, feeds: Sequence[Feed]) -> list[Any]:
    """Return what decides which rows the principal sees, as lists of texts.

    Trainers: their groups. Clients and guardians: their students, and these students' enrolments, on whose dates they
    see the sessions of their groups; of training, also whether guardians see it. A custom field may be shown, hidden or
    archived, which changes no student. The codes of the platform have no change sets in the organization.
    """
    facts = []
    if principal.scope is Scope.GROUPS:
        facts.append(_list(principal, Group, Group.id))
    if principal.scope is Scope.OWN:
        facts.append(_list(principal, Student, Student.id, Student.left_on))
        facts.append(
            _list(principal, Enrolment, Enrolment.group_id, Enrolment.begins_on, Enrolment.ends_on, Enrolment.status)
        )
        if WORKOUT_LOGS in feeds:
            shown = cast(Organization.guardians_see_training, Text)
            own = Organization.id == principal.organization_id
            facts.append(select(func.array_agg(shown)).where(own).scalar_subquery())
    if STUDENTS in feeds:
        facts.append(_list(principal, CustomField, CustomField.key, CustomField.is_archived))
    if CODES in feeds:
        shared = AttendanceCode.organization_id == PLATFORM_ID
        facts.append(_list(principal, AttendanceCode, AttendanceCode.id, AttendanceCode.version, where=(shared,)))
    return facts


def _list(principal: Principal, model: Any, *columns: Any, where: Sequence[Any] = ()) -> Any:
    parts = [part for column in columns for part in (cast(column, Text), "|")]
    text = func.concat(*parts)
    return select(func.array_agg(text)).where(visible_to(principal, model), *where).scalar_subquery()


def _digest(principal: Principal, facts: list[Any]) -> str:
    """Return a hash of the grant and the facts; callers with the scope of the organization share it."""
    user = None if principal.scope is Scope.ALL else principal.user_id
    content = [principal.scope, sorted(principal.permissions), user, [sorted(fact or ()) for fact in facts]]
    return hashlib.blake2b(orjson.dumps(content), digest_size=12).hexdigest()
