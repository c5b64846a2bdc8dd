"""The application with one rule taken out: a write drops its pending entries, but raises no stamp.

Served by gunicorn under the checker, which must see it.
"""

from campshub.app import create_app
from campshub.core.freshness.protocol import Begun, Freshness

_end = Freshness.end


def _raises_nothing(freshness: Freshness, begun: Begun, _position: str | None) -> None:
    _end(freshness, begun, None)


Freshness.end = _raises_nothing
app = create_app()
