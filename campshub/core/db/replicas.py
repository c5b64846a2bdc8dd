"""Which server answers a read: a replica that has replayed what the organization last wrote, else the primary."""

import itertools
from dataclasses import replace

from campshub.core.db.freshness import Freshness
from campshub.core.db.session import Unit, db

PRIMARY = "primary"
REPLICA = "replica"

_turn = itertools.count()


def choose(freshness: Freshness, unit: Unit) -> str:
    """Put a read-only unit on a replica where one may answer; return the kind of server.

    The statement that sets the tenant asks the replica itself whether it has replayed the position.
    """
    names = [name for name in db.engines if name and name.startswith(REPLICA)]
    if not names or unit.organization_id is None:
        return PRIMARY
    needed = freshness.needed(unit.organization_id)
    if needed is None:
        return PRIMARY
    unit.engine = db.engines[names[next(_turn) % len(names)]]
    unit.needed_lsn = needed
    return REPLICA


def on_primary(unit: Unit) -> Unit:
    """Return the same unit for the primary."""
    return replace(unit, engine=db.engines[None], needed_lsn=None, entered=None)
