"""The application without one rule: a write drops its pending entries, but raises no stamp.

gunicorn serves it under the checker, which must detect it.
"""

from campshub.app import create_app
from campshub.core.freshness.protocol import Freshness, PendingWrite

_end = Freshness.end


def _raises_nothing(freshness: Freshness, begun: PendingWrite, _position: str | None) -> None:
    _end(freshness, begun, None)


Freshness.end = _raises_nothing
app = create_app()
