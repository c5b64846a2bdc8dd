"""Making the demo: organization by organization, each in a few COPYs, the same for the same seed and day."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from campshub.accounts.queries import signing_in as queries
from campshub.accounts.service import organizations as accounts
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Conflict
from campshub.core.security.passwords import hash_password
from campshub.demo import people, presence, training

WORKOUT_DAYS = 60  # of the last days, how many have workout logs
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Size:
    """How much to make; ``students`` and ``days`` are for each organization."""

    organizations: int
    students: int
    days: int
    seed: int

    @property
    def steps(self) -> int:
        """How many steps the making reports, all in all."""
        return self.organizations * (3 + self.days + min(self.days, WORKOUT_DAYS))


def seed(size: Size, *, now: datetime, password_cost: int, progress: Progress) -> list[dict[str, Any]]:
    """Make the demo's organizations; return each one's id and its admin's sign-in, with a password made up now.

    :raises Conflict: a demo is there already.
    """
    password = f"demo-{secrets.token_urlsafe(9)}"
    password_hash = hash_password(password, cost=password_cost)
    signs = []
    for number in range(size.organizations):
        kind = people.KINDS[number % len(people.KINDS)]
        if number >= len(people.KINDS):
            kind = kind.numbered(number // len(people.KINDS) + 1)
        place = people.DemoPlace(
            id=new_id(),
            kind=kind,
            today=now.astimezone(ZoneInfo(kind.time_zone)).date(),
            days=size.days,
            dice=random.Random(f"{size.seed}:{number}"),  # noqa: S311 - dice, not secrets
        )
        with unit_of_work(system=True, organization_id=place.id) as session:
            _fill(session, place, size, password_hash, now, progress)
        signs.append({"email": f"admin@{kind.domain}", "password": password, "organization_id": place.id})
    return signs


def _fill(
    session: Session, place: people.DemoPlace, size: Size, password_hash: str, now: datetime, progress: Progress
) -> None:
    kind = place.kind
    accounts.create_organization(
        session, organization_id=place.id, name=kind.name, time_zone=kind.time_zone, currency=kind.currency
    )
    people.make_staff(session, place, password_hash=password_hash, now=now)
    progress(kind.name, 1)
    people.make_groups(session, place, max(1, size.students // people.GROUP_SIZE))
    progress(kind.name, 1)
    people.make_students(session, place, size.students)
    progress(kind.name, 1)
    presence.make_history(session, place, now=now, progress=progress)
    training.make_history(session, place, days=min(size.days, WORKOUT_DAYS), now=now, progress=progress)


def refuse_a_second(session: Session) -> None:
    """Refuse where a demo is there already.

    :raises Conflict: its first admin can sign in.
    """
    if queries.credentials_of(session, f"admin@{people.KINDS[0].domain}") is not None:
        raise Conflict("The demo is there already; a new one needs an empty database.")
