"""Which server answers a read: a replica that has replayed what the organization last wrote, else the primary."""

import itertools
import time
from dataclasses import replace
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from campshub.core.db import unit as units
from campshub.core.db.freshness import Freshness
from campshub.core.db.session import REPLICA, Unit, db, is_gone

PAUSE_S = 2.0
# A replica ends a query that stands in the way of what it has to replay; the primary has no such conflict.
_CONFLICT = frozenset({"40001", "57014", "57P01"})

Behind = units.Behind
_turn = itertools.count()
_away_until: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def choose(freshness: Freshness, unit: Unit) -> Unit | None:
    """Return the read for a replica, which still has to be asked whether it has replayed enough; None: the primary.

    Where no position is known, the primary is asked for one, so that later reads can go to a replica again.
    """
    names = [name for name in db.engines if name and name.startswith(REPLICA)]
    if not names or unit.organization_id is None or unit.engine is not db.engines[None]:
        return None
    needed = freshness.needed(unit.organization_id)
    if needed is None:
        unit.asks_position = True
        return None
    engine = db.engines[names[next(_turn) % len(names)]]
    return replace(unit, engine=engine, server=REPLICA, needed_lsn=needed) if _is_there(engine) else None


def answered(unit: Unit) -> None:
    """Note that a replica has answered."""
    _away_until.pop(unit.engine, None)


def failed(unit: Unit, error: DBAPIError) -> bool:
    """Tell whether the primary may be asked what a replica has failed to answer; one that is gone is left alone."""
    if is_gone(error):
        _away_until[unit.engine] = time.monotonic() + PAUSE_S
        return True
    return getattr(error.orig, "sqlstate", None) in _CONFLICT


def _is_there(engine: Engine) -> bool:
    """Tell whether to ask a replica: after a failure one read tries it every two seconds, the others go past it."""
    until = _away_until.get(engine)
    if until is None:
        return True
    now = time.monotonic()
    if now < until:
        return False
    _away_until[engine] = now + PAUSE_S
    return True
