"""Modules above that follow the sessions of groups, in the transactions that create, move and cancel them.

Leave follows them: it excuses absences in sessions that did not exist when it was approved. Code that writes sessions
without ``service.sessions`` must call ``lock_schedule`` before it locks or writes any, ``arrived`` for those that are
new, moved or reinstated, and ``departs`` before it moves or cancels one that has marks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, select

from campshub.attendance.models import AttendanceSession
from campshub.core.db.session import Session

Follower = Callable[[Session, Sequence[Any]], None]
_arrivals: list[Follower] = []
_departures: list[Follower] = []


def on_arrival(follower: Follower) -> Follower:
    """Register a function that is called with the sessions of groups that are new, moved or reinstated."""
    _arrivals.append(follower)
    return follower


def on_departure(follower: Follower) -> Follower:
    """Register a function that is called before sessions of groups are moved or cancelled."""
    _departures.append(follower)
    return follower


def arrived(session: Session, meetings: Iterable[Any]) -> None:
    """Report sessions that are new, moved or reinstated, which the unit of work has locked or created."""
    of_groups = [one for one in meetings if one.group_id is not None and one.status != "cancelled"]
    for follower in _arrivals if of_groups else ():
        follower(session, of_groups)


def departs(session: Session, meeting: AttendanceSession) -> None:
    """Report a locked session that will be moved or cancelled."""
    for follower in _departures if meeting.group_id is not None else ():
        follower(session, [meeting])


def shares_schedule(organization_id: UUID) -> ColumnElement[None]:
    """Return the expression that locks the organization's schedule as ``lock_schedule`` does."""
    return func.pg_advisory_xact_lock_shared(_key(organization_id))


def lock_schedule(session: Session, organization_id: UUID, *, alone: bool = False) -> None:
    """Lock the organization's schedule until the unit of work ends; call it before locking any session.

    Transactions that create sessions share the lock. With ``alone``, none of them is under way: the caller sees every
    session, and later ones see what the caller has written.
    """
    exclusive = func.pg_advisory_xact_lock(_key(organization_id))
    session.execute(select(exclusive if alone else shares_schedule(organization_id)))


def _key(organization_id: UUID) -> ColumnElement[int]:
    return func.hashtextextended(literal(f"schedule:{organization_id}"), 0)
