"""The application without memoized values: every response that is not cached is read from the database as a whole."""

from campshub.app import create_app
from campshub.core.http import read_routing

read_routing._values = lambda *_: None  # type: ignore[assignment] # noqa: SLF001 - the product has no such switch
app = create_app()
