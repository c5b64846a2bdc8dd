"""The addresses that a process has answered lately with an answer that it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campshub.core.http.handler import Handler

MOST = 20_000


@dataclass(frozen=True, slots=True)
class Address:
    """A path with its parameters: which handler answers it, and what stands for it in an answer's key."""

    handler: Handler
    route: str
    digest: str


class Addresses:
    """The addresses that are known, by the bytes of the request; ``front`` looks them up."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Address] = {}

    def get(self, environ: Mapping[str, Any]) -> Address | None:
        """Return what is known of a request's address."""
        return self._known.get((environ["PATH_INFO"], environ["QUERY_STRING"]))

    def learn(self, environ: Mapping[str, Any], address: Address) -> None:
        """Remember an address."""
        if len(self._known) >= MOST:
            self._known.clear()  # someone asks for ever new ones; the common ones are soon back
        self._known[environ["PATH_INFO"], environ["QUERY_STRING"]] = address

    def __len__(self) -> int:
        return len(self._known)
